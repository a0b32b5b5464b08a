"""Linear start: which model is trained when, by a validation loss that the test makes up."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlearn.core import Model, make_state, make_step, stack
from jaxlearn.models.memory_network import memory_network
from jaxlearn.models.tiny import tiny_batch, tiny_head
from jaxlearn.objectives import cross_entropy
from jaxlearn.procedures.linear_start import STAGE, in_stages, linear_start
from jaxlearn.procedures.seeds import over_seeds, stacked
from jaxlearn.rules import backprop
from jaxlearn.runtime import fit

KEY = jax.random.key(0)
SIZES = {"words": 8, "answers": 3, "memories": 4, "hops": 1, "width": 5, "spread": 0.3}
LINEAR, SOFT = (memory_network(**SIZES, linear=linear) for linear in (True, False))
MODEL = in_stages(LINEAR, SOFT)
RULE = backprop(MODEL, cross_entropy)
TX = optax.sgd(0.02, 0.5)


def batch(seed=0):
    draw = np.random.default_rng(seed)
    told = draw.integers(1, 8, (6, 4, 3)), draw.integers(1, 8, (6, 3))
    inputs = {"story": jnp.asarray(told[0]), "question": jnp.asarray(told[1])}
    return {"inputs": inputs, "labels": jnp.asarray(draw.integers(0, 3, 6))}


@cache
def first_state():
    """Where every run starts."""
    return jax.jit(lambda: make_state(RULE, TX, KEY, batch()))()


def told(losses):
    """A validation loss that is the next of `losses` at every look, known by the step's number."""
    return lambda state: jnp.asarray(losses)[state.step // 2 - 1]


def run(losses, steps, patience=1):
    """Stages after every step, the loss looked at after every second one."""
    plain, seen = make_step(RULE, TX), []
    state = first_state()

    def step(state, batch):
        loss = lambda params, collections: told(losses)(state._replace(step=state.step + 1))
        return linear_start(plain, loss, every=2, patience=patience)(state, batch)

    step = jax.jit(step)
    for _ in range(steps):
        state, _ = step(state, batch())
        seen.append(int(state.state[STAGE]["switched"]))
    return state, seen


def test_the_softmax_returns_when_the_validation_loss_stops_falling():
    _, seen = run([3.0, 2.0, 2.0, 1.0], 8)
    assert seen == [-1, -1, -1, -1, -1, 6, 6, 6]
    _, seen = run([3.0, 2.0, 2.5, 1.0, 1.5, 1.5], 12, patience=2)
    assert seen == [-1] * 11 + [12]


def test_each_stage_computes_its_model_and_momentum_goes_on():
    """The staged trajectory is that of both models with one optimizer, step by step."""
    state, _ = run([2.0, 3.0, 3.0], 6)
    params = make_state(RULE, TX, KEY, batch()).params
    opt_state = TX.init(params)
    for model in [LINEAR] * 4 + [SOFT] * 2:
        plain = backprop(model, cross_entropy)
        grads, _, _ = jax.jit(plain.signal)(params, {}, batch(), KEY)
        updates, opt_state = TX.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
    near = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    jax.tree.map(near, state.params, params)


def test_predictions_are_those_of_the_stage():
    params, state = MODEL.init(KEY, batch()["inputs"])
    later = {STAGE: state[STAGE] | {"switched": jnp.int32(5)}}
    for model, stage in ((LINEAR, state), (SOFT, later)):
        wanted, _ = model.apply(params, {}, batch()["inputs"])
        found, after = MODEL.apply(params, stage, batch()["inputs"])
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
        assert after == stage


@pytest.mark.slow
def test_seeds_move_on_at_times_of_their_own():
    """Seed by seed the stacked run equals the run alone, its real validation loss included."""
    held = batch(9)

    def loss(params, state):
        return cross_entropy(MODEL.apply(params, state, held["inputs"])[0], held)[0]

    around = lambda step: linear_start(step, loss, every=3)
    streams = [lambda step, s=s: batch(100 * s + step % 7) for s in range(4)]
    quiet = {"steps": 24, "progress": False}

    def of(seeds):
        states, step = over_seeds(RULE, lambda key: TX, seeds, batch(), around=around)
        chosen = stacked([streams[seed] for seed in seeds])
        return fit(step, states, chosen, **quiet).state.state[STAGE]["switched"]

    together = np.asarray(of((0, 1, 2, 3)))
    assert len(set(together.tolist())) > 1, "choose other batches: all seeds moved on together"
    assert together[2] == of((2,))[0]


def test_wrong_use_is_refused():
    with pytest.raises(ValueError, match="every and patience must be at least 1, found 0 and 1"):
        linear_start(make_step(RULE, TX), lambda params, state: 0.0, every=0)
    other = memory_network(**SIZES | {"width": 6})
    with pytest.raises(ValueError, match="two models with the same parameters"):
        in_stages(LINEAR, other).init(KEY, batch()["inputs"])
    kept = Model(lambda key, x: ({}, {"memory": 0}), lambda *args, **options: (0, {}))
    with pytest.raises(ValueError, match="without state"):
        in_stages(kept, stack([tiny_head()])).init(KEY, tiny_batch()["inputs"])
