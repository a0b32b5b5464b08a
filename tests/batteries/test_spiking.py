"""Every rule over dense layers teaches a spiking network as well, through `over_time`."""

import jax
import numpy as np
import optax
import pytest

from experiments.parts.local_rules import RULES, Setting
from jaxlearn.core import make_state, make_step, over_time
from jaxlearn.models.spiking_mlp import spiking_mlp_blocks
from jaxlearn.models.tiny import FEATURES, tiny_batch

WIDTH, T, STEPS = 24, 3, 40
NOT_FOR_SPIKES = {
    "PhyLL, digital": "it brings layers of its own, which have no neurons",
    "forward-forward, unsupervised": "its negatives are mixed images",
    "tpSGD, l1": "with codes between 0 and 1 the sign of a spike's residual says only what it was",
}
IN_CI = ("greedy", "tpSGD, l2", "direct feedback alignment", "greedy with MAN")


def check(name: str) -> None:
    """The loss of a sequence falls, with one compilation, and neurons fire and rest."""
    *blocks, readout = spiking_mlp_blocks(10, widths=(WIDTH, WIDTH))
    setting = Setting(blocks, readout, WIDTH, FEATURES, loop=False)
    rule, tx, batch = over_time(RULES[name](setting), T), optax.adam(3e-3), tiny_batch()
    state = jax.jit(lambda key: make_state(rule, tx, key, batch))(jax.random.key(0))
    step, losses = jax.jit(make_step(rule, tx)), []
    for _ in range(STEPS):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    assert step._cache_size() == 1
    assert "sequence" not in state.state
    assert np.mean(losses[-5:]) < np.mean(losses[:2]), losses


@pytest.mark.parametrize("name", IN_CI)
def test_a_spiking_network_learns(name):
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in RULES if n not in (*IN_CI, *NOT_FOR_SPIKES)])
def test_every_other_rule_teaches_a_spiking_network(name):
    check(name)
