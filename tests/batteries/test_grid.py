"""Every rule with every parametrization and every transform.

A seeded sample of the cells runs in `make test`, all of them under `slow`. The cells are read from
the public API, so a new method joins by offering `examples()`.
"""

import itertools
import random
from functools import lru_cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn import parametrizations, transforms
from jaxlearn.core import FROZEN, make_state, make_step, reparametrize
from jaxlearn.models.tiny import tiny_batch
from jaxlearn.runtime import checkpoint
from jaxlearn.transforms.sparsity import mask_params, masks
from tests.batteries.discover import (
    FIRST,
    PARAMETRIZATIONS,
    RULES,
    TRANSFORMS,
)
from tests.batteries.rooms import first_examples
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
STEPS, TURNS = 100, 4
"""How long the loss has to fall, and how often as long where a rule holds frozen leaves of its own:
with fixed feedback weights first turn towards it, and the loss rises meanwhile."""


@lru_cache(maxsize=len(SAMPLE))
def compiled(rule_name: str, parametrization_name: str, transform_name: str):
    """A cell's start from a key and a number of its steps, compiled once for all tests."""
    rule = reparametrize(RULES[rule_name], PARAMETRIZATIONS[parametrization_name])
    tx = TRANSFORMS[transform_name]
    step = jax.jit(make_step(rule, tx))

    def start(key):
        state = make_state(rule, tx, key, BATCH)
        return state._replace(params=mask_params(state.params, state.opt_state))

    def take(state, n):
        def one(i, carry):
            state, losses, off = carry
            state, metrics = step(state, BATCH)
            return state, losses.at[i].set(metrics["loss"]), off + off_mask(state)

        return jax.lax.fori_loop(0, n, one, (state, jnp.zeros(STEPS), jnp.int32(0)))

    # a step compiles once: it takes what it returns, in every leaf the same kind
    state = jax.eval_shape(start, jax.random.key(0))
    assert kinds(jax.eval_shape(step, state, BATCH)[0]) == kinds(state)
    return jax.jit(start), jax.jit(take)


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


def check(*cell: str) -> None:
    """Train one cell: a falling loss, exact masks after every step, untouched frozen leaves."""
    start, take = compiled(*cell)
    first = start(jax.random.key(0))
    last, losses = first, []
    for _ in range(TURNS if jax.tree.leaves(first.state[FROZEN]["inner"]) else 1):
        last, found, off = take(last, STEPS)
        losses += np.asarray(found).tolist()
        assert off == 0, "weights off the mask are exactly zero"
        if np.mean(losses[-5:]) < np.mean(losses[:2]):
            break
    assert np.mean(losses[-5:]) < np.mean(losses[:2]), losses
    jax.tree.map(np.testing.assert_array_equal, first.state[FROZEN], last.state[FROZEN])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(last.params))


def check_resuming(folder: Path, *cell: str) -> None:
    """Save one cell at step 3 of 6 and go on from what is read: every leaf is bit for bit equal."""
    start, take = compiled(*cell)
    three_more = lambda state: take(state, 3)[0]
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


METHODS = set(
    itertools.product(
        FIRST,
        first_examples(parametrizations),
        ("sgd", "adam", *first_examples(transforms)),
    )
)
"""One example of every method; the other cells are of their variants."""


@pytest.mark.slow
@pytest.mark.parametrize("cell", sorted(METHODS - {*SAMPLE}), ids="-".join)
def test_all_cells_of_methods_train_and_resume(cell, tmp_path):
    check(*cell)
    check_resuming(tmp_path, *cell)


@pytest.mark.slow
@pytest.mark.parametrize("cell", sorted({*CELLS} - METHODS - {*SAMPLE}), ids="-".join)
def test_all_cells_of_variants_train(cell):
    check(*cell)


def test_the_sample_touches_every_kind():
    rules, parametrizations, _ = map(set, zip(*SAMPLE, strict=True))
    assert len(rules) >= min(len(RULES), 6)
    assert parametrizations == set(PARAMETRIZATIONS)
