"""Wrong arguments are refused with one line that names them."""

import jax.numpy as jnp
import numpy as np
import pytest
from jaxlearn_kernels.wkv import start, wkv

K, C = jnp.ones((3, 2, 4)), jnp.ones(4)


def call(k=K, v=None, w=C, u=C, state=None, **options):
    return lambda: wkv(k, k if v is None else v, w, u, state, **options)


@pytest.mark.parametrize(
    "wrong, words",
    [
        (call(jnp.ones(3)), r"k must be \[T, \.\.\., C\] with T >= 1, found shape \(3,\)"),
        (call(jnp.ones((0, 4))), r"T >= 1, found shape \(0, 4\)"),
        (call(v=jnp.ones((3, 4))), r"one shape and dtype, found \(3, 2, 4\) .* \(3, 4\)"),
        (call(v=K.astype(jnp.bfloat16)), "float32 and .* bfloat16"),
        (call(K.astype(int)), "k must be floating point, found int32; cast it first"),
        (call(w=jnp.ones(())), r"w must be \[C\] = \(4,\), found shape \(\)"),
        (call(u=jnp.ones(3)), r"u must be \[C\] = \(4,\), found shape \(3,\)"),
        (call(w=jnp.ones(4, int)), "w must be floating point, found int32"),
        (call(state=C), "state must be a WkvState .*found Array"),
        (call(state=start((4,))), r"state.P must have the shape of one token, \(2, 4\), found"),
        (call(state=start((2, 4), jnp.int32)), "state.P must be floating point, found int32"),
        (call(implementation="triton"), "implementation must be None or one of.*'triton'"),
        (call(K.astype(jnp.float16), implementation="tpu"), "float32 or bfloat16 k, found float16"),
    ],
)
def test_refused(wrong, words):
    with pytest.raises(ValueError, match=words) as error:
        wrong()
    assert "\n" not in str(error.value)


def test_no_sequences_and_half_precision():
    y, state = wkv(jnp.ones((3, 0, 4)), jnp.ones((3, 0, 4)), -C, C)
    assert y.shape == (3, 0, 4)
    assert state.m.shape == (0, 4)
    half = jnp.ones((3, 4), jnp.float16)
    y, state = wkv(half, half, -C, C)
    assert (y.dtype, state.P.dtype) == (jnp.float16, jnp.float32)
    np.testing.assert_allclose(y, 1)
