"""Sound in a cavity: 20 tones go in, 20 amplitudes are measured, and an MLP is their twin.

Momeni et al., Science 382, 2023 (arXiv 2304.11042) and its published code; the measured pairs are
`data.acoustic_cavity`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from jaxlearn.core import Params
from jaxlearn.models.layers.linear import linear
from jaxlearn.models.physical.black_box import Physics


class AcousticTwin(linen.Module):
    """The digital twin, an MLP 20-100-200-100-20 with SiLU between its layers.

    Attributes:
        widths: of the hidden layers.
        outputs: amplitudes measured.
    """

    widths: tuple[int, ...] = (100, 200, 100)
    outputs: int = 20

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map amplitudes `[B, 20]` of the tones to amplitudes `[B, 20]` at the microphone."""
        for i, width in enumerate(self.widths):
            x = linen.silu(linear(x.shape[-1], width, name=f"linear_{i}")(x))
        return linear(x.shape[-1], self.outputs, name="out")(x)


def unit_amplitude(h: jax.Array) -> jax.Array:
    """`|h| / (||h||_2 + 1e-6)` row by row: what a loudspeaker can play.

    Example:
        >>> [round(float(a), 4) for a in unit_amplitude(jnp.array([[3.0, -4.0]]))[0]]
        [0.6, 0.8]
    """
    # the root of zero has no derivative, and the backward pass of a twin goes through here
    squares = jnp.sum(h**2, -1, keepdims=True)
    length = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)
    return jnp.abs(h) / (length + 1e-6)


def acoustic(params: Params, twin: linen.Module | None = None) -> Physics:
    """The cavity as the twin with these parameters has it: `twin(|h| / (||h|| + 1e-6))`.

    Example:
        >>> params = jax.jit(AcousticTwin().init)(jax.random.key(0), jnp.ones((1, 20)))["params"]
        >>> acoustic(params)(jnp.ones((3, 20))).shape
        (3, 20)
    """
    twin = AcousticTwin() if twin is None else twin

    def physics(h: jax.Array) -> jax.Array:
        measured: Any = twin.apply({"params": params}, unit_amplitude(h))
        return measured

    return physics
