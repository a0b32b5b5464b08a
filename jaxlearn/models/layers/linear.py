"""The linear layer as PyTorch initialises it."""

import jax
from flax import linen


def linear(inputs: int, outputs: int, *, bias: bool = True, name: str | None = None) -> linen.Dense:
    """`x W + b` with `W` and `b` uniform in `[-1/sqrt(inputs), 1/sqrt(inputs)]`.

    Args:
        inputs: features of `x`; the bias needs them before it has seen `x`.
        outputs: features of the result.
        bias: whether there is a `b`.
        name: the layer's name among its parent's parameters.

    Example:
        >>> params = jax.jit(linear(4, 3).init)(jax.random.key(0), jax.numpy.ones(4))["params"]
        >>> bool((abs(params["kernel"]) <= 0.5).all() and (params["bias"] != 0).all())
        True
    """
    bound = inputs**-0.5

    def uniform(key: jax.Array, shape: tuple[int, ...], dtype) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return linen.Dense(outputs, use_bias=bias, kernel_init=uniform, bias_init=uniform, name=name)
