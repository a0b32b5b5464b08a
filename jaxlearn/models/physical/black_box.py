"""Physics as a black box: never differentiated, possibly on the other side of a cable."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Physics = Callable[[jax.Array], jax.Array]
"""What a system makes of its input, row by row: `[B, n] -> [B, m]`."""


def black_box(physics: Physics) -> Physics:
    """The same system, as a constant to every derivative.

    The derivative of `physics` is never asked for, not even to be multiplied by zero: it may raise.

    Example:
        >>> float(jax.grad(lambda x: black_box(jnp.sin)(x) + x)(0.5))
        1.0
    """
    return lambda x: lax.stop_gradient(physics(lax.stop_gradient(x)))


def on_host(measure: Callable[[np.ndarray], np.ndarray], outputs: int) -> Physics:
    """A device in the loop: `measure(x float32 [N, n]) -> [N, outputs]` is called on the host.

    Works inside `jit`, loops and `vmap` (the rows of all copies are measured in one call). The
    compiler may leave out a measurement whose result nobody uses. Differentiating it raises;
    `black_box` around it does not.

    Args:
        measure: drives the device; it gets and returns numpy arrays.
        outputs: numbers measured per row.

    Raises:
        ValueError: from the running program, when a measurement has another shape or is not finite.

    Example:
        >>> device = on_host(lambda x: 2 * x, 3)
        >>> jax.jit(device)(jnp.ones((1, 3))).tolist()
        [[2.0, 2.0, 2.0]]
    """

    def call(x: np.ndarray) -> np.ndarray:
        rows = np.asarray(x, np.float32).reshape(-1, x.shape[-1])
        measured = np.asarray(measure(rows), np.float32)
        if measured.shape != (len(rows), outputs):
            raise ValueError(
                f"the device gave shape {measured.shape}, expected {(len(rows), outputs)}"
            )
        if not np.isfinite(measured).all():
            raise ValueError("the device gave a number that is not finite; measure again")
        return measured.reshape(*x.shape[:-1], outputs)

    def physics(x: jax.Array) -> jax.Array:
        shape = jax.ShapeDtypeStruct((*x.shape[:-1], outputs), jnp.float32)
        return jax.pure_callback(call, shape, x, vmap_method="expand_dims")

    return physics


def physics_aware(physics: Physics, twin: Physics) -> Physics:
    """Forward through the physics, backward through a differentiable model of it.

    `y = physics(x)`, `dL/dx = (d twin / dx)^T dL/dy` at the same x: physics-aware training (Wright
    et al., "Deep physical neural networks trained with backpropagation", Nature 601, 2022,
    arXiv 2104.13386).

    Example:
        >>> aware = physics_aware(jnp.round, lambda x: 3 * x)
        >>> float(aware(0.7)), float(jax.grad(aware)(0.7))
        (1.0, 3.0)
    """

    @jax.custom_vjp
    def aware(x: jax.Array) -> jax.Array:
        return physics(x)

    def forward(x: jax.Array):
        return physics(x), x

    def backward(x: jax.Array, sent: jax.Array):
        return jax.vjp(twin, x)[1](sent)

    aware.defvjp(forward, backward)
    return aware


def percentile_scale(measured: np.ndarray, q: float = 94.0) -> float:
    """The factor that brings the q-th percentile of measured amplitudes to 1.

    Measured amplitudes have outliers, which would press all the rest together if the largest were
    brought to 1. Keep the factor with the trained network.

    Raises:
        ValueError: when the percentile is not positive.

    Example:
        >>> percentile_scale(np.array([0.0, 1.0, 2.0, 100.0]), 50)
        0.6666666666666666
    """
    level = float(np.percentile(np.abs(measured), q))
    if not level > 0:
        raise ValueError(f"the {q}th percentile of the amplitudes is {level}; nothing to scale by")
    return 1 / level
