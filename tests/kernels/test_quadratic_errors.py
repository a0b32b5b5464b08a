"""Wrong arguments are refused with one line that names them."""

import jax.numpy as jnp
import pytest
from jaxlearn_kernels.quadratic import Branch, quadratic

X = jnp.ones((3, 4))
ONE = Branch(jnp.ones((4, 2)), jnp.ones(2))


@pytest.mark.parametrize(
    "wrong, words",
    [
        (lambda: quadratic(jnp.float32(1.0), ONE), r"x must be \[\.\.\., n\], found shape \(\)"),
        (lambda: quadratic(jnp.ones((3, 5)), ONE), r"need a kernel \(5, 2\).*in r, found \(4, 2\)"),
        (
            lambda: quadratic(X, ONE, g=Branch(jnp.ones((4, 3)), jnp.ones(3))),
            r"need a kernel \(4, 2\) and a bias \(2,\) in g, found \(4, 3\) and \(3,\)",
        ),
        (lambda: quadratic(X, ONE, b=Branch(jnp.ones((4, 2)), jnp.ones(()))), r"in b.* and \(\)"),
        (lambda: quadratic(X.astype(int), ONE), "x must be floating point, found int32"),
        (lambda: quadratic(X, ONE, implementation="triton"), "None or one of.*found 'triton'"),
        (
            lambda: quadratic(X.astype(jnp.bfloat16), ONE, implementation="interpret"),
            "of one type, float32 or bfloat16, found bfloat16 and float32",
        ),
        (
            lambda: quadratic(X.astype(jnp.float16), Branch(*(a.astype(jnp.float16) for a in ONE)),
                              implementation="gpu"),
            "float32 or bfloat16, found float16",
        ),
        (
            lambda: quadratic(jnp.ones((1, 5000)), Branch(jnp.ones((5000, 2)), jnp.ones(2)), None,
                              Branch(jnp.ones((5000, 2)), jnp.ones(2)), implementation="tpu"),
            "5000 inputs do not fit on chip",
        ),
    ],
)  # fmt: skip
def test_refused(wrong, words):
    with pytest.raises(ValueError, match=words) as error:
        wrong()
    assert "\n" not in str(error.value)


def test_types_promote_where_no_kernel_is_named():
    assert quadratic(X.astype(jnp.bfloat16), ONE, b=ONE).dtype == jnp.float32
    half = Branch(*(a.astype(jnp.float16) for a in ONE))
    assert quadratic(X.astype(jnp.float16), half, half, half).dtype == jnp.float16
