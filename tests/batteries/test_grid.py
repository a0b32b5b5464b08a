"""Every rule with every parametrization and every transform.

A seeded sample of the cells runs in `make test`, all of them under `slow`. The cells are read from
the public API, so a new method joins by offering `examples()`.
"""

import itertools
import random

import jax
import numpy as np
import pytest

from jaxlearn.core import FROZEN, make_state, make_step, reparametrize
from jaxlearn.models.tiny import tiny_batch
from jaxlearn.transforms.sparsity import mask_params, masks
from tests.batteries.discover import PARAMETRIZATIONS, RULES, TRANSFORMS

CELLS = sorted(itertools.product(RULES, PARAMETRIZATIONS, TRANSFORMS))


def sample(size: int, seed: int = 0) -> list[tuple[str, str, str]]:
    """One cell of every parametrization, then any others."""
    choose = random.Random(seed)
    first = [choose.choice([c for c in CELLS if c[1] == p]) for p in sorted(PARAMETRIZATIONS)]
    rest = [c for c in CELLS if c not in first]
    return first + choose.sample(rest, min(len(rest), size - len(first)))


SAMPLE = sample(10)
STEPS = 60
"""Rules with fixed feedback first turn their weights towards it; their loss may rise meanwhile."""


def check(rule_name: str, parametrization_name: str, transform_name: str) -> None:
    """Train one cell: one compilation, a falling loss, exact masks, untouched frozen leaves."""
    rule = reparametrize(RULES[rule_name], PARAMETRIZATIONS[parametrization_name])
    tx, batch = TRANSFORMS[transform_name], tiny_batch()
    state = jax.jit(lambda key: make_state(rule, tx, key, batch))(jax.random.key(0))
    state = state._replace(params=mask_params(state.params, state.opt_state))
    frozen = jax.tree.map(np.asarray, state.state[FROZEN])
    step, losses = jax.jit(make_step(rule, tx)), []
    for _ in range(STEPS):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
        assert_masked(state)
    assert step._cache_size() == 1
    assert np.mean(losses[-5:]) < np.mean(losses[:2]), losses
    jax.tree.map(np.testing.assert_array_equal, state.state[FROZEN], frozen)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


def assert_masked(state) -> None:
    """Weights off the transform's mask, if it has one, are exactly zero."""
    mask = masks(state.opt_state)

    def check(m, w) -> None:
        assert m is None or not np.any(np.asarray(w)[~np.asarray(m)])

    if mask is not None:
        jax.tree.map(check, mask, state.params, is_leaf=lambda m: m is None)


@pytest.mark.parametrize("cell", SAMPLE, ids="-".join)
def test_sampled_cells_train(cell):
    check(*cell)


@pytest.mark.slow
@pytest.mark.parametrize("cell", [c for c in CELLS if c not in SAMPLE], ids="-".join)
def test_all_other_cells_train(cell):
    check(*cell)


def test_the_sample_touches_every_kind():
    rules, parametrizations, _ = map(set, zip(*SAMPLE, strict=True))
    assert len(rules) >= min(len(RULES), 6)
    assert parametrizations == set(PARAMETRIZATIONS)
