"""Wrong arguments are refused with one line that names them."""

import jax
import jax.numpy as jnp
import pytest
from jaxlearn_kernels.lif import Neuron, lif

X = jnp.ones((3, 4))


def call(x=X, v0=None, neuron=None, **options):
    return lambda: lif(x, v0, neuron=Neuron() if neuron is None else neuron, **options)


@pytest.mark.parametrize(
    "wrong, words",
    [
        (call(jnp.float32(1.0)), r"x must be \[T, ...features\].*found shape \(\)"),
        (call(jnp.ones((0, 4))), r"T >= 1, found shape \(0, 4\)"),
        (call(jnp.ones((3, 4), jnp.int32)), "x must be floating point, found int32"),
        (call(v0=jnp.ones((3, 4))), r"v0 must have the shape.*\(4,\), found \(3, 4\)"),
        (call(v0=jnp.ones(4, jnp.int32)), "v0 must be floating point, found int32"),
        (call(neuron="lif"), "neuron must be a Neuron, found str"),
        (call(implementation="triton"), "implementation must be None or one of.*'triton'"),
        (call(jnp.ones((3, 4), jnp.float16), implementation="tpu"), "float32 or bfloat16.*float16"),
        (call(decay=jnp.ones(4), implementation="gpu"), "decay as an array needs the reference"),
        (call(decay=jnp.ones((3, 4))), r"decay must broadcast to \(4,\), found shape \(3, 4\)"),
        (call(decay=jnp.ones(3)), r"decay must broadcast to \(4,\), found shape \(3,\)"),
        (call(spike_dtype=jnp.bool_), "spike_dtype must be None, .*or int8, found .*bool"),
        (lambda: Neuron(decay=1.5), r"decay must lie in \[0, 1\], found 1.5"),
        (lambda: Neuron(decay=float("nan")), "decay must be a finite Python number, found nan"),
        (lambda: Neuron(threshold=float("inf")), "threshold must be a finite.*found inf"),
        (lambda: Neuron(v_reset=None), "v_reset must be a finite Python number, found None"),
        (lambda: Neuron(decay=1.0, input_decay=True), "input_decay with decay 1"),
        (lambda: Neuron(reset="zero"), "reset must be one of soft, hard, none, found 'zero'"),
        (lambda: Neuron(surrogate="relu"), "surrogate must be one of triangle.*found 'relu'"),
        (lambda: Neuron(alpha=0.0), "alpha must be positive, found 0.0"),
    ],
)
def test_refused(wrong, words):
    with pytest.raises(ValueError, match=words) as error:
        wrong()
    assert "\n" not in str(error.value)


def test_no_features_and_no_neurons():
    spikes, v = lif(jnp.array([0.5, 2.0]), neuron=Neuron())
    assert spikes.tolist() == [0.0, 1.0]
    assert v.shape == ()
    assert lif(jnp.ones((2, 0)), neuron=Neuron())[0].shape == (2, 0)


@pytest.mark.parametrize("implementation", [None, "reference"])
def test_int8_spikes_are_not_differentiated(implementation):
    """Where JAX would return zeros, or speak of dtypes, in either mode, of x or of v0."""

    def membrane(x, v0):
        options = {"implementation": implementation, "spike_dtype": jnp.int8}
        return lif(x, v0, neuron=Neuron(), **options)[1].sum()

    for wrong in (
        lambda: jax.grad(membrane)(X, X[0]),
        lambda: jax.jit(jax.grad(membrane, 1))(X, X[0]),
        lambda: jax.jvp(membrane, (X, X[0]), (X, X[0])),
    ):
        with pytest.raises(ValueError, match="leave spike_dtype out where lif is differentiated"):
            wrong()
    # a constant of the loss is none of its arguments
    stopped = lambda x: (x * membrane(jax.lax.stop_gradient(x), X[0])).sum()
    assert jnp.array_equal(jax.jit(jax.grad(stopped))(X), jnp.full_like(X, membrane(X, X[0])))
