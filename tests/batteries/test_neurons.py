"""What every kind of neuron must do; `neuron_examples()` gives pairs, for one step and for all."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

from jaxlearn.core import (
    SEQUENCE,
    from_linen,
    make_state,
    make_step,
    over_time,
    stack,
    through_time,
)
from jaxlearn.models.tiny import tiny_batch
from jaxlearn.objectives import cross_entropy, per_step
from jaxlearn.rules import backprop, bptt
from tests.batteries.discover import CUT_NEURONS, EVERY_NEURON, NEURONS

T, KEY = 6, jax.random.key(0)
INPUTS = 1.5 * jax.random.normal(KEY, (T, 4, 5))
SEEN = jax.random.normal(jax.random.key(1), INPUTS.shape)


def close(a, b, atol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol), a, b)


def pair(name):
    """Both forms as models over `[T, ...]`, with the parameters that they share."""
    one, whole = (from_linen(layer) for layer in NEURONS[name])
    params = jax.jit(one.init)(KEY, INPUTS[0])[0]
    return through_time(one, T, time_axis=0), whole, params


def network(layer):
    return stack([from_linen(part) for part in (linen.Dense(12), layer, linen.Dense(3))])


@pytest.mark.parametrize("name", NEURONS)
def test_step_by_step_and_all_steps_at_once_agree(name):
    steps, whole, params = pair(name)

    def of(model):
        def seen(params, x):
            spikes, state = model.apply(params, {}, x)
            final = state.get(SEQUENCE, {})
            squares = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(final))
            return jnp.sum(SEEN * spikes) + squares, (spikes, final)

        return jax.jit(jax.grad(seen, (0, 1), has_aux=True))(params, INPUTS)

    (grads, (spikes, final)), (grads2, (spikes2, final2)) = of(steps), of(whole)
    close((spikes, final), (spikes2, final2), 1e-6)
    close(grads, grads2)
    assert np.ptp(spikes) > 0
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize("name", NEURONS)
def test_a_sequence_in_two_windows_is_the_sequence(name):
    _, model, params = pair(name)

    @jax.jit
    def both(params):
        first, state = model.apply(params, {}, INPUTS[:2])
        second, end = model.apply(params, state, INPUTS[2:])
        return (jnp.concatenate([first, second]), end), model.apply(params, {}, INPUTS)

    close(*both(params), 1e-6)


@partial(jax.jit, static_argnums=0)
def begun_and_fresh(model, x):
    params, state = model.init(KEY, 9 + x)
    return [model.apply(params, begun, x) for begun in (state, {})]


@pytest.mark.parametrize("name", NEURONS)
def test_initialising_leaves_the_neuron_at_rest(name):
    for layer, x in zip(NEURONS[name], (INPUTS[0], INPUTS), strict=True):
        close(*begun_and_fresh(from_linen(layer), x), 0)


@pytest.mark.parametrize("name", NEURONS)
def test_state_stays_in_float32_under_bfloat16(name):
    for layer, x in zip(NEURONS[name], (INPUTS[0], INPUTS), strict=True):
        model, x = from_linen(layer), x.astype(jnp.bfloat16)
        params, begun = jax.eval_shape(model.init, KEY, x)
        spikes, state = jax.eval_shape(model.apply, params, begun, x)
        assert spikes.dtype == jnp.bfloat16
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(state))


@pytest.mark.slow
@pytest.mark.parametrize("name", NEURONS)
def test_cutting_the_carry_is_the_same_in_both_forms(name):
    one, whole = CUT_NEURONS[name]
    models = through_time(from_linen(one), T, time_axis=0), from_linen(whole)
    params, _ = jax.jit(from_linen(one).init)(KEY, INPUTS[0])
    seen = lambda p, x, model: jnp.sum(SEEN * model.apply(p, {}, x)[0])
    close(*(jax.jit(jax.grad(partial(seen, model=m), (0, 1)))(params, INPUTS) for m in models))


@pytest.mark.parametrize("name", EVERY_NEURON)
def test_over_time_has_the_gradient_of_a_carry_that_is_cut(name):
    batch = tiny_batch(8)
    batch |= {"inputs": 2 * jax.random.normal(KEY, (T, 8, 16))}
    rule = over_time(backprop(network(NEURONS[name][0]), cross_entropy), T, time_axis=0)
    params, state = jax.jit(rule.init)(KEY, batch)
    grads, _, _ = jax.jit(rule.signal)(params, state, batch, KEY)

    def gradient(layer):
        def loss(params):
            outputs, _ = network(layer).apply(params, {}, batch["inputs"])
            return per_step(cross_entropy)(outputs, batch)[0]

        return jax.jit(jax.grad(loss))(params)

    close(grads, gradient(CUT_NEURONS[name][1]))
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize("teach", [over_time, pytest.param(None, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", EVERY_NEURON)
def test_a_network_of_them_learns(name, teach):
    net, batch, tx = network(NEURONS[name][0]), tiny_batch(), optax.adam(1e-2)
    rule = over_time(backprop(net, cross_entropy), 3) if teach else bptt(net, cross_entropy, 3)
    state = jax.jit(lambda: make_state(rule, tx, KEY, batch))()
    step, losses = jax.jit(make_step(rule, tx)), []
    for _ in range(60):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    assert step._cache_size() == 1
    assert SEQUENCE not in state.state
    assert np.mean(losses[-5:]) < 0.7 * losses[0], losses
