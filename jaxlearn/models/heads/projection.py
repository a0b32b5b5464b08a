"""A head without weights: random codes of the classes beside the layer's outputs."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from jaxlearn.core import FROZEN, Key, Model, Params, State
from jaxlearn.objectives.target_losses import Projected

Draw = Callable[[Key, tuple[int, ...]], jax.Array]
"""`(key, (classes, *units)) -> codes` of that shape."""


def signed_uniform(key: Key, shape: tuple[int, ...]) -> jax.Array:
    """Entries uniform in (-1, 1), for tanh units."""
    return jax.random.uniform(key, shape, minval=-1.0)


def unit_uniform(key: Key, shape: tuple[int, ...]) -> jax.Array:
    """Entries uniform in (0, 1), for logistic units."""
    return jax.random.uniform(key, shape)


def half_normal(key: Key, shape: tuple[int, ...]) -> jax.Array:
    """`|N(0, 1)|`, for ReLU units."""
    return jnp.abs(jax.random.normal(key, shape))


def kaiming_uniform(key: Key, shape: tuple[int, ...]) -> jax.Array:
    """Uniform in `(-sqrt(6 / n), sqrt(6 / n))`, n units: codes of squared length 2 on average.

    What Frenkel, Lefebvre and Bol (2021) draw their feedback from.
    """
    units = max(1, _size(shape[1:]))
    return (6 / units) ** 0.5 * jax.random.uniform(key, shape, minval=-1.0)


def class_blocks(key: Key, shape: tuple[int, ...]) -> jax.Array:
    """Every unit belongs to one class at random, equally many to each: 1 for it, else 0."""
    owner = jax.random.permutation(key, jnp.arange(_size(shape[1:])) % shape[0])
    return jax.nn.one_hot(owner, shape[0], axis=0).reshape(shape)


def orthonormal(key: Key, shape: tuple[int, ...]) -> jax.Array:
    """Codes of length 1 at right angles, uniform among those.

    Raises:
        ValueError: when there are more classes than units.
    """
    units = _size(shape[1:])
    if shape[0] > units:
        raise ValueError(f"{shape[0]} orthonormal codes do not fit into {units} units")
    return jax.random.orthogonal(key, shape[0], m=units).reshape(shape)


def projection(
    draw: Draw,
    classes: int,
    *,
    scale: float | Literal["rms"] = "rms",
    per_channel: bool = False,
    regenerate: bool = False,
) -> Model:
    """`y -> Projected(y, P)` with codes that are drawn once, by the key of `init`.

    The codes are frozen state: no step changes, averages or differentiates them.

    Args:
        draw: the distribution of the codes.
        classes: how many there are.
        scale: factor of the drawn codes. `"rms"` gives them the root mean square of the outputs
            that `init` sees, `s = rms(y) / rms(P)` (1 where y is zero throughout), so that targets
            lie where the layer's outputs lie; then the batch given to `init` has to be a real one
            and the same on every process.
        per_channel: codes of `[classes, channels]`, the same at every place of an image.
        regenerate: keep the seed in the state instead of the codes and draw them at every use.

    Raises:
        ValueError: when the scale or the number of classes is out of range.

    Example:
        >>> head = projection(signed_uniform, 3, scale=0.5)
        >>> params, state = jax.jit(head.init)(jax.random.key(0), jnp.ones((2, 4)))
        >>> jax.jit(head.apply)(params, state, jnp.ones((2, 4)))[0].codes.shape
        (3, 4)
    """
    if classes < 2:
        raise ValueError(f"classes must be at least 2, found {classes}")
    if scale != "rms" and (isinstance(scale, str) or not scale > 0):
        raise ValueError(f"scale must be positive or 'rms', found {scale!r}")

    def drawn(key: Key, y: jax.Array) -> jax.Array:
        units = (*(1,) * (y.ndim - 2), y.shape[-1]) if per_channel else y.shape[1:]
        return draw(key, (classes, *units)).astype(y.dtype)

    def init(key: Key, y: jax.Array) -> tuple[Params, State]:
        codes = drawn(key, y)
        factor = _matching(y, codes) if isinstance(scale, str) else jnp.asarray(scale, y.dtype)
        if regenerate:
            return {}, {FROZEN: {"seed": jax.random.key_data(key), "scale": factor}}
        return {}, {FROZEN: {"codes": factor * codes}}

    def apply(params: Params, state: State, y: jax.Array, *, train: bool = False, key=None):
        del params, train, key
        own = state[FROZEN]
        if not regenerate:
            return Projected(y, own["codes"]), state
        codes = own["scale"] * drawn(jax.random.wrap_key_data(own["seed"]), y)
        return Projected(y, codes), state

    return Model(init, apply)


def _matching(y: jax.Array, codes: jax.Array) -> jax.Array:
    size, own = (jnp.sqrt(jnp.mean(jnp.square(array))) for array in (y, codes))
    return jnp.where(size > 0, size / own, 1.0).astype(y.dtype)


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size
