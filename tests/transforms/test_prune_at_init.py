"""Masks at initialisation: seeds of their own, what is kept, and static from then on."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlearn.models.tiny import tiny_batch, tiny_stack
from jaxlearn.objectives import cross_entropy
from jaxlearn.procedures.seeds import over_seeds, seed_of
from jaxlearn.rules import backprop
from jaxlearn.transforms.prune_at_init import prune_at_init
from jaxlearn.transforms.sparsity import check_zeros, masks
from jaxlearn.transforms.sparsity.distributions import budget
from jaxlearn.transforms.sparsity.keep import keep
from jaxlearn.transforms.sparsity.scores import gradient_of, grasp, magnitude, snip
from jaxlearn.transforms.sparsity.synflow import synflow

RULE, BATCH = backprop(tiny_stack(), cross_entropy), tiny_batch()
SCORES = {
    "snip": (snip(gradient_of(RULE, BATCH)), 1),
    "grasp": (grasp(gradient_of(RULE, BATCH)), 1),
    "synflow": (synflow(tiny_stack(), BATCH["inputs"]), 20),
}
TOTAL = 16 * 12 + 12 * 12 + 12 * 3


@pytest.mark.parametrize("name", sorted(SCORES))
def test_every_seed_gets_the_masks_of_its_own_weights_and_keeps_them(name):
    score, rounds = SCORES[name]
    tx = prune_at_init(optax.sgd(0.1, 0.9), score, density=0.2, rounds=rounds)
    states, step = over_seeds(RULE, lambda key: tx, (0, 1), BATCH)
    first = masks(states.opt_state)
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf], 1), BATCH)
    step, losses = jax.jit(step), []
    for _ in range(30):
        states, metrics = step(states, both)
        losses.append(np.asarray(metrics["loss"]))
    jax.tree.map(np.testing.assert_array_equal, first, masks(states.opt_state))
    assert (losses[-1] < losses[0]).all()
    flat = [np.concatenate([np.ravel(leaf[i]) for leaf in jax.tree.leaves(first)]) for i in (0, 1)]
    assert [part.sum() for part in flat] == [budget(TOTAL, 0.2)] * 2
    assert not np.array_equal(*flat)
    alone = seed_of(states, 1)
    check_zeros(masks(alone.opt_state), alone.params)


def test_masks_are_those_of_the_scores_at_initialisation():
    params, _ = RULE.init(jax.random.key(5), BATCH)
    score = snip(gradient_of(RULE, BATCH))
    for share in ("global", "erk"):
        tx = prune_at_init(optax.adam(0.1), score, density=0.3, share=share)
        ours, wanted = masks(tx.init(params)), keep(score(params), 0.3, share)
        jax.tree.map(np.testing.assert_array_equal, ours, wanted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"density": 0.0}, "density must be above 0"),
        ({"density": 0.5, "share": "ekr"}, "unknown distribution 'ekr'"),
        ({"density": 0.5, "share": "erk", "rounds": 5}, "use share='global'"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        prune_at_init(optax.sgd(0.1), magnitude, **options)
