import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxlearn_kernels.lif import Neuron

from jaxlearn.core import from_linen, stack, through_time
from jaxlearn.models.layers.lif import SLTT_NEURON, Lif, LifSequence

INPUTS = 1.5 * jax.random.normal(jax.random.key(0), (6, 4, 5))
NEURONS = [SLTT_NEURON, Neuron(decay=0.5, reset="hard", detach_carry=True, surrogate="atan")]


def by_steps(neuron):
    return through_time(from_linen(Lif(neuron)), len(INPUTS), time_axis=0)


@pytest.mark.parametrize("neuron", NEURONS)
def test_step_by_step_and_all_steps_at_once_agree(neuron):
    weight = jax.random.normal(jax.random.key(1), INPUTS.shape)
    steps, whole = by_steps(neuron), from_linen(LifSequence(neuron))

    def through(model, x):
        spikes, state = model.apply({}, {}, x)
        final = jax.tree.leaves(state["sequence"])[0]
        return jnp.sum(weight * spikes) + jnp.sum(final**2), (spikes, final)

    def of(model):
        return jax.jit(jax.grad(lambda x: through(model, x), has_aux=True))(INPUTS)

    (grads, (spikes, final)), (grads2, (spikes2, final2)) = of(steps), of(whole)
    np.testing.assert_array_equal(spikes, spikes2)
    np.testing.assert_allclose(final, final2, atol=1e-6)
    np.testing.assert_allclose(grads, grads2, atol=1e-5)
    assert 0 < spikes.mean() < 1
    assert np.abs(grads).max() > 0


def test_a_sequence_in_two_windows_is_the_sequence():
    model = from_linen(LifSequence())
    whole, _ = model.apply({}, {}, INPUTS)
    first, state = model.apply({}, {}, INPUTS[:2])
    second, _ = model.apply({}, state, INPUTS[2:])
    np.testing.assert_array_equal(jnp.concatenate([first, second]), whole)
    fresh, _ = model.apply({}, {}, INPUTS[2:])
    assert not np.array_equal(fresh, second)


def test_charge_fire_reset_by_hand():
    model = from_linen(Lif())
    leak, x = 1 - 1 / 1.1, jnp.array([1.0, 0.999, 2.5])
    spikes, state = model.apply({}, {}, x)
    np.testing.assert_array_equal(spikes, [1, 0, 1])  # fires at the threshold itself
    np.testing.assert_allclose(state["sequence"]["v"], [0, 0.999, 1.5], atol=1e-6)
    _, state = model.apply({}, state, jnp.zeros(3))
    np.testing.assert_allclose(state["sequence"]["v"], leak * np.array([0, 0.999, 1.5]), atol=1e-6)


def test_initialising_leaves_the_membrane_at_rest():
    rest = Neuron(v_reset=-0.25)
    _, state = from_linen(Lif(rest)).init(jax.random.key(0), jnp.full((3,), 5.0))
    np.testing.assert_array_equal(state["sequence"]["v"], np.full(3, -0.25))


def test_membranes_stay_in_float32_under_bfloat16():
    spikes, state = from_linen(Lif()).apply({}, {}, INPUTS[0].astype(jnp.bfloat16))
    assert spikes.dtype == jnp.bfloat16
    assert state["sequence"]["v"].dtype == jnp.float32


def test_a_network_run_layer_by_layer_gives_the_spikes_of_one_run_step_by_step():
    neurons, params = (SLTT_NEURON, Neuron(decay=0.5, threshold=0.5)), {"0": {}, "1": {}}
    whole = stack([from_linen(LifSequence(neuron)) for neuron in neurons])
    steps = through_time(stack([from_linen(Lif(n)) for n in neurons]), len(INPUTS), time_axis=0)
    layer_by_layer, _ = whole.apply(params, {}, INPUTS)
    step_by_step, _ = steps.apply(params, {}, INPUTS)
    np.testing.assert_array_equal(layer_by_layer, step_by_step)
