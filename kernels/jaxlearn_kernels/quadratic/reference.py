"""The definition in plain JAX, and its gradient written out; XLA makes two products of it."""

import jax
import jax.numpy as jnp

from jaxlearn_kernels.quadratic.branches import Branch, Branches, compute_dtype

Kept = tuple[jax.Array, ...]
"""What the gradient of ``r g`` needs: r and g of every example, or nothing."""


def forward(x: jax.Array, branches: Branches, *, save: bool) -> tuple[jax.Array, ...]:
    """``(y [N, m],)``, and with ``save`` r and g ``[N, m]`` as second and third.

    r and g read the same x and are one product with twice the outputs.
    """
    dtype = jnp.result_type(x, branches.r.kernel)
    r, g = _factors(x, branches)
    y = r if g is None else r * g
    if branches.b is not None:
        y = y + _product(x * x, branches.b.kernel) + branches.b.bias
    kept = (r, g) if save and g is not None else ()
    return tuple(a.astype(dtype) for a in (y, *kept))


def backward(
    x: jax.Array, branches: Branches, dy: jax.Array, kept: Kept = ()
) -> tuple[jax.Array, Branches]:
    """Cotangents of x and of the branches; r and g are computed again where they were not kept.

    ``dx = dr W_r' + dg W_g' + 2 x (dy W_b')`` with ``dr = dy g``, ``dg = dy r``;
    ``dW_r = x' dr``, ``dW_g = x' dg``, ``dW_b = (x^2)' dy``; the biases get the sums over examples.
    """
    wide = compute_dtype(x.dtype)
    r, g = kept or _factors(x, branches)
    slope = dy.astype(wide)
    if branches.g is None or g is None:
        left, kernel = slope, branches.r.kernel
    else:
        left = jnp.concatenate([slope * g, slope * r], -1)
        kernel = _both(branches.r.kernel, branches.g.kernel)
    narrow = left.astype(x.dtype)
    to_x = _product(narrow, kernel.T)
    of_factors = Branch(_product(x.T, narrow), left.sum(0))
    to_r, to_g = of_factors, None
    if branches.g is not None:
        halves = [jnp.split(leaf, 2, -1) for leaf in of_factors]
        to_r, to_g = (Branch(*leaves) for leaves in zip(*halves, strict=True))
    to_b = None
    if branches.b is not None:
        dq = dy.astype(x.dtype)
        to_x = to_x + 2 * x.astype(wide) * _product(dq, branches.b.kernel.T)
        to_b = Branch(_product((x * x).T, dq), slope.sum(0))
    like = lambda leaf, own: leaf.astype(own.dtype)
    found = Branches(to_r, to_g, to_b)
    return to_x.astype(x.dtype), jax.tree.map(like, found, branches)


def _factors(x: jax.Array, branches: Branches) -> tuple[jax.Array, jax.Array | None]:
    """r, and g where there is one, in the compute type."""
    r, g = branches.r, branches.g
    if g is None:
        return _product(x, r.kernel) + r.bias, None
    both = _product(x, _both(r.kernel, g.kernel)) + _both(r.bias, g.bias)
    first, second = jnp.split(both, 2, -1)
    return first, second


def _both(first: jax.Array, second: jax.Array) -> jax.Array:
    return jnp.concatenate([first, second], -1)


def _product(left: jax.Array, right: jax.Array) -> jax.Array:
    """``left right`` summed in the compute type."""
    wide = compute_dtype(jnp.result_type(left, right))
    return jnp.matmul(left, right, preferred_element_type=wide)
