"""Deep multilayer perceptrons with the initialisations that decide whether they train."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxlearn.core import Key, Model, Params, State

Initial = Callable[[Key, tuple[int, ...], int], jax.Array]
"""`(key, shape, inputs) -> weights`."""


def zeros(key: Key, shape: tuple[int, ...], inputs: int) -> jax.Array:
    """All weights 0: without noise no hidden weight ever moves."""
    del key, inputs
    return jnp.zeros(shape)


def simple(key: Key, shape: tuple[int, ...], inputs: int) -> jax.Array:
    """`N(0, 0.1^2)` whatever the width."""
    del inputs
    return 0.1 * jax.random.normal(key, shape)


def he(key: Key, shape: tuple[int, ...], inputs: int) -> jax.Array:
    """`N(0, 2 / inputs)`: He et al., ICCV 2015, eq. 10."""
    return math.sqrt(2 / inputs) * jax.random.normal(key, shape)


def sussillo_abbott(key: Key, shape: tuple[int, ...], inputs: int) -> jax.Array:
    """`N(0, g^2 / N)`, `g = sqrt(2) exp(1.2 / (max(N, 6) - 2.4))`, N inputs, for ReLU.

    Sussillo & Abbott, "Random walk initialization", 2014, arXiv 1412.6558: g exceeds He's sqrt(2)
    because the logarithm of the gradient's norm should have no drift over many narrow layers.
    """
    gain = math.sqrt(2) * math.exp(1.2 / (max(inputs, 6) - 2.4))
    return gain / math.sqrt(inputs) * jax.random.normal(key, shape)


INITIALISATIONS: dict[str, Initial] = {
    "zeros": zeros,
    "simple": simple,
    "he": he,
    "sussillo_abbott": sussillo_abbott,
}


def mlp(
    classes: int = 10,
    *,
    layers: int = 20,
    width: int = 50,
    initial: str | Initial = "he",
    dropout: float = 0.0,
) -> Model:
    """`layers` hidden layers of `width` ReLU units and a linear readout; inputs are flattened.

    The hidden layers after the first are one stack of weights `[layers - 1, width, width]` that a
    scan runs through, so a deep network compiles as fast as a shallow one. Biases start at 0.

    Args:
        classes: number of outputs.
        layers: hidden layers.
        width: units of each.
        initial: one of `INITIALISATIONS` or a function like them; for all weight matrices.
        dropout: share of hidden units that is dropped while training, when a key is given.

    Raises:
        ValueError: when a number is out of range or the initialisation unknown.

    Example:
        >>> model = mlp(3, layers=4, width=5)
        >>> params, state = jax.jit(model.init)(jax.random.key(0), jnp.ones((2, 4, 4, 1)))
        >>> params["hidden"]["kernel"].shape, model.apply(params, state, jnp.ones((2, 16)))[0].shape
        ((3, 5, 5), (2, 3))
    """
    if min(classes, layers, width) < 1 or not 0 <= dropout < 1:
        raise ValueError(
            f"need classes, layers and width of at least 1 and dropout in [0, 1), found {classes}, "
            f"{layers}, {width} and {dropout}"
        )
    if isinstance(initial, str) and initial not in INITIALISATIONS:
        raise ValueError(
            f"unknown initialisation {initial!r}, expected one of {[*INITIALISATIONS]}"
        )
    draw = INITIALISATIONS[initial] if isinstance(initial, str) else initial

    def init(key: Key, x: jax.Array) -> tuple[Params, State]:
        features = math.prod(x.shape[1:])
        keys = jax.random.split(key, 3)
        stacked = (layers - 1, width, width)
        return {
            "first": _layer(draw(keys[0], (features, width), features)),
            "hidden": _layer(draw(keys[1], stacked, width)),
            "last": _layer(draw(keys[2], (width, classes), width)),
        }, {}

    def apply(params: Params, state: State, x: jax.Array, *, train: bool = False, key=None):
        rate = dropout if train and key is not None else 0.0
        keys = jax.random.split(jax.random.key(0) if key is None else key, layers)
        x = x.reshape(x.shape[0], -1)

        def hidden(x: jax.Array, layer: tuple[Params, Key]) -> tuple[jax.Array, None]:
            return _dropped(jax.nn.relu(_affine(layer[0], x)), layer[1], rate), None

        x, _ = hidden(x, (params["first"], keys[0]))
        x, _ = lax.scan(hidden, x, (params["hidden"], keys[1:]))
        return _affine(params["last"], x), state

    return Model(init, apply)


def _layer(kernel: jax.Array) -> Params:
    return {"kernel": kernel, "bias": jnp.zeros((*kernel.shape[:-2], kernel.shape[-1]))}


def _affine(layer: Params, x: jax.Array) -> jax.Array:
    return x @ layer["kernel"] + layer["bias"]


def _dropped(x: jax.Array, key: Key, rate: float) -> jax.Array:
    if rate == 0:
        return x
    kept = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(kept, x / (1 - rate), 0)


def examples() -> dict[str, tuple[Model, jax.Array]]:
    """A network of four hidden layers, for the battery of models."""
    x = jax.random.normal(jax.random.key(0), (8, 6))
    return {"mlp": (mlp(3, layers=4, width=8), x)}
