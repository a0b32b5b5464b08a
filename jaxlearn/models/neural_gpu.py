"""The Neural GPU: a convolutional gated recurrent network that learns algorithms.

Kaiser & Sutskever, "Neural GPUs learn algorithms", ICLR 2016, arXiv 1511.08228.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from jaxlearn.core import Key, Model, Params, State
from jaxlearn.models.layers.conv import convolve


def neural_gpu(
    symbols: int,
    outputs: int,
    *,
    width: int = 4,
    channels: int = 24,
    layers: int = 2,
    size: int = 3,
    gate_bias: float = 1.0,
) -> Model:
    """Read n symbols, apply `layers` convolutional GRUs n times, read n symbols off.

    The state is `s [B, width, n, channels]`: embedded symbols in the first row, zeros below. A unit
    computes `u = sigmoid(U' * s + B')`, `r = sigmoid(U'' * s + B'')` and
    `s <- u s + (1 - u) tanh(U * (r s) + B)`, with `size x size` convolutions. Logits are a linear
    map of the first row after n applications. So the same weights work for any length.

    Args:
        symbols: of the inputs, int `[B, n]` from 0 to `symbols - 1`.
        outputs: symbols of the answer; logits are `[B, n, outputs]`.
        width: rows of the state.
        channels: numbers per place.
        layers: units in one application.
        size: of the kernels.
        gate_bias: start of both gates' biases; 1 lets the state pass at first.

    Raises:
        ValueError: when a size is below 1 or `size` even.

    Example:
        >>> model = neural_gpu(4, 3, channels=5)
        >>> x = jnp.zeros((2, 7), jnp.int32)
        >>> answer = lambda key: model.apply(*model.init(key, x), x)[0]
        >>> jax.eval_shape(answer, jax.random.key(0)).shape
        (2, 7, 3)
    """
    if min(symbols, outputs, width, channels, layers, size) < 1 or size % 2 == 0:
        raise ValueError(
            f"sizes must be at least 1 and the kernel's odd, found symbols={symbols}, "
            f"outputs={outputs}, width={width}, channels={channels}, layers={layers}, size={size}"
        )

    def init(key: Key, x: jax.Array) -> tuple[Params, State]:
        del x
        embed, read, *units = jax.random.split(key, 2 + layers)
        spread = 1 / math.sqrt(channels)
        return {
            "embedding": spread * jax.random.normal(embed, (symbols, channels)),
            "units": [_unit(unit, size, channels, gate_bias) for unit in units],
            "readout": {
                "kernel": spread * jax.random.normal(read, (channels, outputs)),
                "bias": jnp.zeros(outputs),
            },
        }, {}

    def apply(params: Params, state: State, x: jax.Array, *, train: bool = False, key=None):
        del train, key
        first = params["embedding"][x][:, None]
        start = jnp.pad(first, ((0, 0), (0, width - 1), (0, 0), (0, 0)))

        def once(s: jax.Array, _: None) -> tuple[jax.Array, None]:
            for unit in params["units"]:
                s = conv_gru(unit, s)
            return s, None

        end, _ = lax.scan(once, start, None, length=x.shape[1])
        return end[:, 0] @ params["readout"]["kernel"] + params["readout"]["bias"], state

    return Model(init, apply)


def conv_gru(unit: Params, s: jax.Array) -> jax.Array:
    """One gated step of a state `[B, width, n, channels]`."""
    gates = jax.nn.sigmoid(convolve(s, unit["gates"]["kernel"]) + unit["gates"]["bias"])
    u, r = jnp.split(gates, 2, -1)
    candidate = convolve(r * s, unit["candidate"]["kernel"]) + unit["candidate"]["bias"]
    return u * s + (1 - u) * jnp.tanh(candidate)


def _unit(key: Key, size: int, channels: int, gate_bias: float) -> Params:
    """Both gates' kernels side by side, so that the state is read once for them."""
    gates, candidate = jax.random.split(key)
    spread = 1 / math.sqrt(size * size * channels)
    draw = lambda key, out: spread * jax.random.normal(key, (size, size, channels, out))
    return {
        "gates": {
            "kernel": draw(gates, 2 * channels),
            "bias": jnp.full(2 * channels, gate_bias),
        },
        "candidate": {"kernel": draw(candidate, channels), "bias": jnp.zeros(channels)},
    }


def examples() -> dict[str, tuple[Model, jax.Array]]:
    """A small one on five symbols, for the battery of models."""
    x = jax.random.randint(jax.random.key(0), (4, 5), 0, 4)
    return {"neural-gpu": (neural_gpu(4, 3, channels=6, width=3), x)}
