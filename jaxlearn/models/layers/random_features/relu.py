"""ReLU features, whose kernel is no function of `w . x`."""

import jax
import jax.numpy as jnp

from jaxlearn.core import Key
from jaxlearn.models.layers.random_features.contract import (
    Draws,
    Features,
    check_count,
    without,
)
from jaxlearn.models.layers.random_features.projections import directions


def relu_features(count: int, *, floor: float = 0.0, blocks: bool = False) -> Features:
    """`phi(x) = max(G x, floor) / sqrt(count)` and `psi(w) = max(G w, floor) / sqrt(count)`.

    Both maps read the same `G`. With `floor = 0` the kernel is `arc_cosine`; as the floor falls it
    turns into the linear kernel `w . x`. `G` is fixed: what is learnt in a layer are the rows
    `psi` (ReLU-SNNK, Sehanobish et al., 2024).

    Args:
        count: number of features.
        floor: the least value of a projection.
        blocks: draw the rows of `G` orthogonal within blocks.

    Raises:
        ValueError: when `count < 1`, or when `psi` is given a bias.

    Example:
        >>> features = relu_features(20_000)
        >>> draws = features.draw(jax.random.key(0), 2)
        >>> found = features.estimate(draws, jnp.array([2.0, 0.0]), jnp.array([[3.0, 0.0]]))
        >>> bool(abs(found[0] - 3) < 0.2)
        True
    """
    check_count(count)

    def draw(key: Key, inputs: int) -> Draws:
        return {"directions": directions(key, count, inputs, blocks)}

    def rectified(draws: Draws, v: jax.Array) -> jax.Array:
        return jnp.maximum(v @ draws["directions"].T, floor) / jnp.sqrt(count).astype(v.dtype)

    psi = lambda draws, w, b=None: rectified(draws, without(b, w))
    return Features(draw, rectified, psi, takes_bias=False)
