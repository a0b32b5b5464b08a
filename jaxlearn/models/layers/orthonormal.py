"""A square linear layer that is orthonormal whatever its parameters are."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen

Chart = Literal["exponential", "cayley"]
TERMS, SQUARINGS = 10, 10
"""Of the exponential: 1 / 11! is below what float32 can tell, and norms up to 2^10 are scaled."""


def orthonormal(a: jax.Array, chart: Chart = "exponential") -> jax.Array:
    """An orthonormal matrix from any square one, `expm(A - A^T)`.

    With `"cayley"` it is `(I - S)^-1 (I + S)`, `S = A - A^T`.

    Both are the identity at A = 0 and never need to be made orthonormal again. The gradient with
    respect to A is skew, so A stays skew where it starts so. Cayley's map costs one solve; it
    reaches no rotation by 180 degrees.

    Lezcano-Casado and Martinez-Rubio, ICML 2019, arXiv 1901.08428 (exponential); Helfrich, Willmott
    and Ye, ICML 2018, arXiv 1707.09520 (Cayley).

    Args:
        a: `[n, n]`.
        chart: which of the two maps.

    Raises:
        ValueError: when `a` is not square or the chart unknown.

    Example:
        >>> b = orthonormal(jax.random.normal(jax.random.key(0), (4, 4)))
        >>> bool(jnp.allclose(b.T @ b, jnp.eye(4), atol=1e-5))
        True
    """
    if a.ndim != 2 or a.shape[0] != a.shape[1]:
        raise ValueError(f"an orthonormal matrix is made of a square one, found {a.shape}")
    if chart not in ("exponential", "cayley"):
        raise ValueError(f"chart={chart!r}; it is 'exponential' or 'cayley'")
    with jax.default_matmul_precision("highest"):
        skew = a - a.T
        if chart == "exponential":
            return _expm(skew)
        one = jnp.eye(len(a), dtype=a.dtype)
        return jnp.linalg.solve(one - skew, one + skew)


def _expm(s: jax.Array) -> jax.Array:
    """The exponential by Taylor's series of `s / 2^k` and k squarings.

    It is `jax.scipy.linalg.expm` for what is needed here, in two short loops: that one compiles
    five approximations of a quotient each and a choice, which takes longer than a small network.
    """
    norm = jax.lax.stop_gradient(jnp.abs(s).sum(0).max())
    k = jnp.clip(jnp.ceil(jnp.log2(jnp.maximum(norm, 1e-30))), 0, SQUARINGS)
    scaled, one = s * jnp.exp2(-k), jnp.eye(len(s), dtype=s.dtype)
    terms = jnp.arange(TERMS, 0, -1, dtype=s.dtype)
    series, _ = jax.lax.scan(lambda x, j: (one + scaled @ x / j, None), one, terms)
    square = lambda x, i: (jnp.where(i < k, x @ x, x), None)
    return jax.lax.scan(square, series, jnp.arange(SQUARINGS))[0]


class BasisChange(linen.Module):
    """`y = B x` with `B = Q0 expm(A - A^T)`: a change of basis that is learned through A.

    A starts at 0, so B starts at Q0: a random orthonormal matrix in the collection `"frozen"`, or
    the identity. Norms and inner products stay what they are. A is free, and `A - A^T` moves with
    both triangles: under Adam twice as far as torch's `orthogonal`, which trains one; halve the
    rate for parity with it.

    Attributes:
        chart: see `orthonormal`.
        identity: start at the identity.
    """

    chart: Chart = "exponential"
    identity: bool = False

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[..., n]` to the same shape."""
        n = x.shape[-1]
        b = orthonormal(self.param("skew", linen.initializers.zeros, (n, n)), self.chart)
        if not self.identity:
            draw = linen.initializers.orthogonal()
            start = self.variable("frozen", "start", lambda: draw(self.make_rng("params"), (n, n)))
            b = jnp.matmul(start.value, b, precision="highest")
        return jnp.matmul(x, b.T, precision="highest")
