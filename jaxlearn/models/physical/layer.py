"""A fixed physical transformation in front of a trainable linear map."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen

from jaxlearn.core import Key, Model, Params, PyTree, State, from_functions, from_linen
from jaxlearn.models.layers.linear import linear
from jaxlearn.models.physical.black_box import Physics


class PhysicalLayer(NamedTuple):
    """`v = measure(h)`, `h' = readout(v)`: only the readout has parameters.

    Attributes:
        measure: what is measured for an input, the input itself included where it is passed on.
        readout: a model without state.
    """

    measure: Physics
    readout: Model


def physical_layer(
    physics: Physics | None,
    width: int,
    *,
    skip: bool = True,
    activation: Callable[[jax.Array], jax.Array] | None = None,
) -> PhysicalLayer:
    """`v = [physics(h), h]`, `h' = W v + b` (Momeni et al. 2023).

    `W` and `b` start uniform in `[-1/sqrt(m), 1/sqrt(m)]` for m entries of `v`.

    Args:
        physics: the system, of rows `[B, n]` or images; `None` for the purely digital network.
        width: entries of `h'`.
        skip: pass the input on beside what the physics made of it (acoustic, microwave). Without
            it `v = physics(h)` (optics).
        activation: applied to `W v + b`; the digital network has GELU, the physical ones nothing.

    Example:
        >>> layer = physical_layer(jnp.abs, 4)
        >>> layer.measure(jnp.array([[-1.0, 2.0]])).tolist()
        [[1.0, 2.0, -1.0, 2.0]]
    """
    if width < 1:
        raise ValueError(f"width={width}; a layer needs at least one output")

    def measure(h: jax.Array) -> jax.Array:
        flat = h.reshape(len(h), -1)
        if physics is None:
            return flat
        u = physics(h)
        u = u.reshape(len(u), -1)
        return jnp.concatenate([u, flat], 1) if skip else u

    return PhysicalLayer(measure, from_linen(_Readout(width, activation)))


def as_model(layer: PhysicalLayer) -> Model:
    """`readout(measure(h))` as one model with the readout's parameters."""

    def init(key: Key, h: PyTree) -> tuple[Params, State]:
        return layer.readout.init(key, layer.measure(h))

    def apply(params: Params, state: State, h: PyTree, *, train: bool = False, key=None):
        return layer.readout.apply(params, state, layer.measure(h), train=train, key=key)

    return Model(init, apply)


class _Readout(linen.Module):
    width: int
    activation: Callable[[jax.Array], jax.Array] | None = None

    @linen.compact
    def __call__(self, v: jax.Array) -> jax.Array:
        h = linear(v.shape[-1], self.width, name="linear")(v)
        return h if self.activation is None else self.activation(h)


def normalised_input(layer: PhysicalLayer, norm: Callable[[jax.Array], jax.Array]) -> PhysicalLayer:
    """The layer behind a normalisation of its input's rows."""
    return layer._replace(measure=lambda h: layer.measure(norm(h)))


def fixed(physics: Physics) -> Model:
    """A system as a model without parameters."""
    return from_functions(lambda key, x: {}, lambda params, x: physics(x))


def examples() -> dict[str, tuple[Model, jax.Array]]:
    """A layer around a speckle, and a system by itself."""
    from jaxlearn.models.physical.microwave import metasurface
    from jaxlearn.models.physical.optics import speckle
    from jaxlearn.models.tiny import tiny_batch

    x = tiny_batch(8)["inputs"]
    return {
        "physical-layer": (as_model(physical_layer(speckle(jax.random.key(0), 6), 5)), x),
        "metasurface": (fixed(metasurface(jax.random.key(0), 32, 8)), x),
    }
