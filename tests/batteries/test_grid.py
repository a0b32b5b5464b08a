"""Every rule with every parametrization and every transform.

A seeded sample of the cells runs in `make test`, all of them under `slow`. The cells are read from
the public API, so a new method joins by offering `examples()`.
"""

import itertools
import random

import jax
import jax.numpy as jnp
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
    step = make_step(rule, tx)

    def begin(key):
        state = make_state(rule, tx, key, batch)
        return state._replace(params=mask_params(state.params, state.opt_state))

    def one(state, _):
        state, metrics = step(state, batch)
        return state, (metrics["loss"], off_mask(state))

    @jax.jit
    def run(key):
        first = begin(key)
        last, seen = jax.lax.scan(one, first, length=STEPS)
        finite = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(last.params)]
        return first.state[FROZEN], last.state[FROZEN], jnp.all(jnp.array(finite)), *seen

    first, last, finite, losses, off = run(jax.random.key(0))
    assert finite
    assert np.mean(losses[-5:]) < np.mean(losses[:2]), losses
    assert not off.any(), "weights off the mask are exactly zero"
    jax.tree.map(np.testing.assert_array_equal, first, last)
    # a step compiles once: it takes what it returns, in every leaf the same kind
    state = jax.eval_shape(begin, jax.random.key(0))
    assert kinds(jax.eval_shape(step, state, batch)[0]) == kinds(state)


def kinds(state) -> list[tuple]:
    """All that a compiled program depends on."""
    return [(leaf.shape, leaf.dtype, leaf.weak_type) for leaf in jax.tree.leaves(state)]


def off_mask(state) -> jax.Array:
    """How many weights are not zero though the transform's mask, if it has one, is."""
    mask = masks(state.opt_state)
    if mask is None:
        return jnp.int32(0)
    count = lambda m, w: 0 if m is None else jnp.sum(~m & (w != 0))
    counts = jax.tree.map(count, mask, state.params, is_leaf=lambda m: m is None)
    return jnp.int32(sum(jax.tree.leaves(counts)))


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
