"""Wrong arguments are refused with one line that names them."""

import jax.numpy as jnp
import pytest
from jaxlearn_kernels.spmm import Epilogue, from_coordinates, spmm

MATRIX = from_coordinates(jnp.array([0, 1]), jnp.array([2, 0]), jnp.ones(2), (2, 3))
X = jnp.ones((3, 4))


def call(x=X, matrix=MATRIX, **options):
    return lambda: spmm(matrix, x, **options)


@pytest.mark.parametrize(
    "wrong, words",
    [
        (call(jnp.ones((2, 4))), r"a 2 x 3 matrix needs x of shape \[3, d\], found \[2, 4\]"),
        (call(jnp.ones(3)), r"needs x of shape \[3, d\], found \[3\]"),
        (call(jnp.ones((3, 4), jnp.int32)), "x must be floating point, found int32; cast it"),
        (call(matrix=MATRIX._replace(values=jnp.ones(2, jnp.int32))), "values must be floating"),
        (call(matrix=MATRIX._replace(values=jnp.ones(3))), r"values must have the shape \(2,\)"),
        (call(scale=jnp.ones(3)), r"scale must have the shape \(2,\), found \(3,\)"),
        (call(scale=jnp.ones(2, jnp.int32)), "scale must be floating point, found int32"),
        (call(bias=jnp.ones((1, 4))), r"bias must have the shape \(4,\), found \(1, 4\)"),
        (call(epilogue="relu"), "epilogue must be an Epilogue, found str"),
        (call(implementation="triton"), "implementation must be None or one of.*'triton'"),
        (call(jnp.ones((3, 4), jnp.float16), implementation="tpu"), "float32 or bfloat16.*float16"),
        (lambda: Epilogue(eps=0.0), "eps must be a positive finite number, found 0.0"),
        (lambda: Epilogue(eps=float("nan")), "eps must be a positive finite number, found nan"),
    ],
)
def test_refused(wrong, words):
    with pytest.raises(ValueError, match=words) as error:
        wrong()
    assert "\n" not in str(error.value)
