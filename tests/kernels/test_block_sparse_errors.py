"""Wrong arguments are refused with one line that names them."""

import jax.numpy as jnp
import pytest
from jaxlearn_kernels.block_sparse import block_mask, block_sparse_matmul

X, W, MASK = jnp.ones((3, 4)), jnp.ones((4, 6)), jnp.ones((2, 3), bool)


@pytest.mark.parametrize(
    "wrong, words",
    [
        (lambda: block_sparse_matmul(jnp.ones((3, 5)), W, MASK), r"found \(3, 5\) and \(4, 6\)"),
        (lambda: block_sparse_matmul(X, W, MASK.astype(int)), "boolean with two axes, found int32"),
        (lambda: block_sparse_matmul(X, W, MASK[0]), r"two axes, found bool of shape \(3,\)"),
        (lambda: block_sparse_matmul(X, W, jnp.ones((3, 3), bool)), r"\(3, 3\) blocks do not"),
        (lambda: block_sparse_matmul(X.astype(int), W, MASK), "x must be floating point"),
        (
            lambda: block_sparse_matmul(X, W, MASK, implementation="cuda"),
            "None or one of.*found 'cuda'",
        ),
        (
            lambda: block_sparse_matmul(X.astype(jnp.bfloat16), W, MASK, implementation="tpu"),
            "of one type, float32 or bfloat16, found bfloat16 and float32",
        ),
        (lambda: block_sparse_matmul(X, W, MASK, implementation="tpu"), r"of \(2, 2\) do not fill"),
        (
            lambda: block_sparse_matmul(X, W, MASK, implementation="gpu"),
            r"of \(2, 2\) have no tile",
        ),
        (lambda: block_mask(W, (3, 3)), r"blocks of \(3, 3\) do not divide a mask of \(4, 6\)"),
    ],
)
def test_refused(wrong, words):
    with pytest.raises(ValueError, match=words) as error:
        wrong()
    assert "\n" not in str(error.value)


def test_types_promote_where_no_kernel_is_named():
    assert block_sparse_matmul(X.astype(jnp.bfloat16), W, MASK).dtype == jnp.float32
    assert block_sparse_matmul(*(a.astype(jnp.float16) for a in (X, W)), MASK).dtype == jnp.float16
