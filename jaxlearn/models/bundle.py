"""Layers bundled into one: a fixed tower of feature maps, and a single matrix.

Sehanobish et al., ICLR 2024, arXiv 2310.13225, section 4.
"""

from collections.abc import Sequence

import jax

from jaxlearn.core import FROZEN, Key, Model, PyTree
from jaxlearn.models.layers.random_features import Draws, Features, relu_features
from jaxlearn.models.layers.snnk import DRAWS, OMEGA

Layer = tuple[jax.Array, jax.Array | None]
"""Rows and bias of a dense layer: `W [outputs, inputs]`, `b [outputs]`."""


def draw_tower(maps: Sequence[Features], key: Key, inputs: int) -> dict[str, Draws]:
    """Draws for `phi_n(... phi_1(x))`, by the number of the map as text."""
    draws = {}
    for i, features in enumerate(maps):
        draws[str(i)] = features.draw(jax.random.fold_in(key, i), inputs)
        x = jax.ShapeDtypeStruct((inputs,), jax.numpy.result_type(float))
        inputs = jax.eval_shape(features.phi, draws[str(i)], x).shape[-1]
    return draws


def tower(maps: Sequence[Features], draws: dict[str, Draws], x: jax.Array) -> jax.Array:
    """`phi_n(... phi_1(x))`: `[..., inputs]` to `[..., width]`, without parameters."""
    for i, features in enumerate(maps):
        x = features.phi(draws[str(i)], x)
    return x


def bundle(maps: Sequence[Features], draws: dict[str, Draws], layers: Sequence[Layer]) -> jax.Array:
    """One matrix for the layers of a trained network: `Omega [outputs of the last, width]`.

    `f_i(W_i h + b_i)` is about `psi_i(W_i, b_i) phi_i(h)` where `h = Omega phi(x)` already; so
    the matrix that meets `phi_i` is `W_i Omega`, and ::

        Omega_1 = psi_1(W_1, b_1),   Omega_i = psi_i(W_i Omega_(i-1), b_i).

    A last layer without activation takes `identity_features()`.

    Raises:
        ValueError: when there are not as many layers as maps.

    Example:
        >>> from jaxlearn.models.layers.random_features import identity_features
        >>> a, b = jax.numpy.array([[1.0, 2.0]]), jax.numpy.array([[3.0]])
        >>> maps = [identity_features(), identity_features()]
        >>> bundle(maps, {"0": {}, "1": {}}, [(a, None), (b, None)]).tolist()
        [[3.0, 6.0]]
    """
    if len(layers) != len(maps) or not maps:
        raise ValueError(f"as many layers as maps are needed, found {len(layers)} and {len(maps)}")
    omega = None
    for i, (features, (rows, bias)) in enumerate(zip(maps, layers, strict=True)):
        seen = rows if omega is None else rows @ omega
        omega = features.psi(draws[str(i)], seen, bias)
    assert omega is not None
    return omega


def bundled(maps: Sequence[Features], outputs: int) -> Model:
    """`y = Omega phi_n(... phi_1(x))` as a model; `Omega` is its only parameter.

    Any part of a network may be one: `stack([bundled(maps, 64), dense, ...])` is partial bundling.
    `Omega` starts at zero, as for the last layer of a classifier; put `bundle(...)` or a closed
    form (`jaxlearn.procedures.ridge`) in its place. Inputs are flattened.

    Example:
        >>> from jaxlearn.models.layers.random_features import relu_features
        >>> model = bundled([relu_features(32), relu_features(64)], 10)
        >>> params, state = jax.jit(model.init)(jax.random.key(0), jax.numpy.ones((5, 8, 8, 1)))
        >>> params["omega"].shape, model.apply(params, state, jax.numpy.ones((5, 8, 8, 1)))[0].shape
        ((10, 64), (5, 10))
    """
    flat = lambda x: x.reshape(x.shape[0], -1)

    def init(key: Key, x: jax.Array) -> tuple[PyTree, PyTree]:
        draws = draw_tower(maps, key, flat(x).shape[-1])
        width = jax.eval_shape(lambda: tower(maps, draws, flat(x))).shape[-1]
        return {OMEGA: jax.numpy.zeros((outputs, width))}, {FROZEN: {DRAWS: draws}}

    def apply(params: PyTree, state: PyTree, x: jax.Array, *, train: bool = False, key=None):
        del train, key
        return tower(maps, state[FROZEN][DRAWS], flat(x)) @ params[OMEGA].T, state

    return Model(init, apply)


def examples() -> dict[str, tuple[Model, jax.Array]]:
    """Two ReLU maps and their matrix."""
    x = jax.random.normal(jax.random.key(0), (4, 6))
    return {"bundle": (bundled([relu_features(8), relu_features(9)], 3), x)}
