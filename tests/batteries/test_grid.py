"""Every rule with every parametrization and every transform.

A seeded sample of the cells runs in `make test`, all of them under `slow`. The cells are read from
the public API, so a new method joins by offering `examples()`.
"""

import itertools
import random
from functools import lru_cache
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxlearn.core import FROZEN, make_state, make_step, reparametrize
from jaxlearn.models.tiny import tiny_batch
from jaxlearn.runtime import checkpoint
from jaxlearn.transforms.sparsity import mask_params, masks
from tests.batteries.discover import PARAMETRIZATIONS, RULES, TRANSFORMS
from tests.runtime.toy import bits

CELLS = sorted(itertools.product(RULES, PARAMETRIZATIONS, TRANSFORMS))


def sample(size: int, seed: int = 0) -> list[tuple[str, str, str]]:
    """One cell of every parametrization, then any others."""
    choose = random.Random(seed)
    first = [choose.choice([c for c in CELLS if c[1] == p]) for p in sorted(PARAMETRIZATIONS)]
    rest = [c for c in CELLS if c not in first]
    return first + choose.sample(rest, min(len(rest), size - len(first)))


SAMPLE = sample(10)
BATCH = tiny_batch()
STEPS = 60
"""Rules with fixed feedback first turn their weights towards it; their loss may rise meanwhile."""


@lru_cache(maxsize=len(SAMPLE))
def compiled(rule_name: str, parametrization_name: str, transform_name: str):
    """A cell's start from a key and its step, compiled once for all tests of the sample."""
    rule = reparametrize(RULES[rule_name], PARAMETRIZATIONS[parametrization_name])
    tx = TRANSFORMS[transform_name]
    return jax.jit(lambda key: make_state(rule, tx, key, BATCH)), jax.jit(make_step(rule, tx))


def check(*cell: str) -> None:
    """Train one cell: one compilation, a falling loss, exact masks, untouched frozen leaves."""
    start, step = compiled(*cell)
    state = start(jax.random.key(0))
    state = state._replace(params=mask_params(state.params, state.opt_state))
    frozen = jax.tree.map(np.asarray, state.state[FROZEN])
    losses = []
    for _ in range(STEPS):
        state, metrics = step(state, BATCH)
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


def check_resuming(folder: Path, *cell: str) -> None:
    """Save one cell at step 3 of 6 and go on from what is read: every leaf is bit for bit equal."""
    start, step = compiled(*cell)

    def three_more(state):
        for _ in range(3):
            state, _ = step(state, BATCH)
        return state

    halfway = three_more(start(jax.random.key(0)))
    checkpoint.save(folder, 3, halfway)
    straight = three_more(halfway)
    # another seed's start has the shapes, and none of the values
    saved = checkpoint.restore(folder, lambda notes: start(jax.random.key(1)))
    assert bits(saved.tree) == bits(halfway) != bits(straight)
    assert bits(three_more(saved.tree)) == bits(straight)


@pytest.mark.parametrize("cell", SAMPLE, ids="-".join)
def test_sampled_cells_train(cell):
    check(*cell)


@pytest.mark.parametrize("cell", SAMPLE, ids="-".join)
def test_sampled_cells_resume(cell, tmp_path):
    check_resuming(tmp_path, *cell)


@pytest.mark.slow
@pytest.mark.parametrize("cell", [c for c in CELLS if c not in SAMPLE], ids="-".join)
def test_all_other_cells_train_and_resume(cell, tmp_path):
    check(*cell)
    check_resuming(tmp_path, *cell)


def test_the_sample_touches_every_kind():
    rules, parametrizations, _ = map(set, zip(*SAMPLE, strict=True))
    assert len(rules) >= min(len(RULES), 6)
    assert parametrizations == set(PARAMETRIZATIONS)
