"""How far two trainings of one subnetwork end from each other.

The stability measures of Frankle, Dziugaite, Roy & Carbin, "Stabilizing the Lottery Ticket
Hypothesis", arXiv 1903.01611, section 4, and the linear mode connectivity that followed them
(Frankle et al., ICML 2020, arXiv 1912.05671).

*To pruning*: the dense network and a subnetwork of it, trained from the same weights on the same
batches. *To data order*: one subnetwork trained twice, on batches in different orders.
"""

from collections.abc import Callable
from functools import reduce

import jax
import jax.numpy as jnp

from jaxlearn.core import Params, PyTree
from jaxlearn.transforms.sparsity.prunable import Masks, beside


def distance(a: Params, b: Params, masks: Masks) -> jax.Array:
    """`||m * (a - b)||_2`, over the weights that have a mask.

    Example:
        >>> a, b = {"w": jnp.array([3.0, 9.0])}, {"w": jnp.array([1.0, 2.0])}
        >>> float(distance(a, b, {"w": jnp.array([True, False])}))
        2.0
    """
    x, y = _support(a, masks), _support(b, masks)
    return jnp.sqrt(sum(jnp.sum(jnp.square(p - q)) for p, q in zip(x, y, strict=True)))


def angle(a: Params, b: Params, masks: Masks) -> jax.Array:
    """The angle between `m * a` and `m * b` in degrees.

    Computed as `2 atan2(|u - v|, |u + v|)` of the unit vectors, which is exact near 0, where the
    arc cosine is not.

    Example:
        >>> a, b = {"w": jnp.array([1.0, 0.0])}, {"w": jnp.array([0.0, 2.0])}
        >>> round(float(angle(a, b, {"w": jnp.array([True, True])})), 3)
        90.0
    """
    x, y = _unit(_support(a, masks)), _unit(_support(b, masks))
    norm = lambda parts: jnp.sqrt(reduce(jnp.add, [jnp.sum(jnp.square(p)) for p in parts]))
    minus = norm([p - q for p, q in zip(x, y, strict=True)])
    plus = norm([p + q for p, q in zip(x, y, strict=True)])
    return jnp.degrees(2 * jnp.arctan2(minus, plus))


def interpolated(a: PyTree, b: PyTree, share: float | jax.Array) -> PyTree:
    """`(1 - share) a + share b`, exactly a at 0 and b at 1.

    Example:
        >>> interpolated({"w": jnp.zeros(1)}, {"w": jnp.ones(1)}, 0.25)["w"]
        Array([0.25], dtype=float32)
    """
    return jax.tree.map(lambda p, q: (1 - share) * p + share * q, a, b)


def barrier(error: Callable[[PyTree], float], a: PyTree, b: PyTree, points: int = 30) -> float:
    """`max_s E((1 - s) a + s b) - (E(a) + E(b)) / 2` at evenly spaced s from 0 to 1.

    Two networks are linearly connected when this is below 2 % error. Batch statistics are
    interpolated like weights where they are part of a and b; they are not computed anew.

    Args:
        error: of the network with these weights.
        a: one end.
        b: the other.
        points: values of s, both ends included.

    Raises:
        ValueError: for fewer than 2 points.

    Example:
        >>> error = lambda params: float(1 - params["w"] ** 2)
        >>> barrier(error, {"w": jnp.float32(-1.0)}, {"w": jnp.float32(1.0)}, 3)
        1.0
    """
    if points < 2:
        raise ValueError(f"both ends take 2 points, found {points}")
    found = [error(interpolated(a, b, i / (points - 1))) for i in range(points)]
    return max(found) - (found[0] + found[-1]) / 2


def _support(params: Params, masks: Masks) -> list[jax.Array]:
    kept = zip(beside(params, masks), jax.tree.leaves(masks), strict=True)
    return [jnp.where(mask, weight, 0) for weight, mask in kept]


def _unit(parts: list[jax.Array]) -> list[jax.Array]:
    norm = jnp.sqrt(reduce(jnp.add, [jnp.sum(jnp.square(part)) for part in parts]))
    return [part / norm for part in parts]
