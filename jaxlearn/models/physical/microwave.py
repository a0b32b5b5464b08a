"""Microwaves off a programmable metasurface, whose elements reflect with phase 0 or pi.

Momeni et al., Science 382, 2023 (arXiv 2304.11042): each number sets two elements. Their measured
answers are not published; `metasurface` simulates a random scattering environment of that kind.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxlearn.core import Key
from jaxlearn.models.physical.black_box import Physics


def two_bits(h: jax.Array) -> jax.Array:
    """Every number of a row on four levels, as two bits: `[B, n] -> [B, 2 n]` of 0 and 1.

    With the row's least and largest numbers and `step = (max - min) / 4`: 00 up to min, 01 up to
    min + step, 10 up to max - step, 11 above (thresholds of the published code; the middle half is
    one level). A row of equal numbers is all 00.

    Example:
        >>> two_bits(jnp.array([[0.0, 0.5, 2.0, 4.0]])).astype(int).tolist()
        [[0, 0, 0, 1, 1, 0, 1, 1]]
    """
    low, high = h.min(-1, keepdims=True), h.max(-1, keepdims=True)
    step = (high - low) / 4
    level = (h > low) * (1 + (h > low + step) + (h > high - step))
    bits = jnp.stack([level // 2, level % 2], -1)
    return bits.reshape(*h.shape[:-1], 2 * h.shape[-1]).astype(h.dtype)


def metasurface(
    key: Key,
    elements: int,
    outputs: int,
    *,
    coupling: float = 0.6,
    direct: float = 0.5,
    bounces: int = 40,
) -> Physics:
    """Intensities behind a reprogrammable scatterer in a random room, `[B, n] -> [B, outputs]`.

    With `s = 1 - 2 two_bits(h)`, the elements' reflections, the field at the receivers is
    `e = direct t + R diag(s) w`, `w = sum over k <= bounces of (coupling C diag(s))^k b`: waves
    reach the elements (b), bounce between them (C) and reach the receivers (R), or get there past
    the elements (t). All four are complex Gaussian, C of spectral radius about 1. The intensity is
    `|e|^2`, divided by its expectation without coupling.

    Args:
        key: draws the room.
        elements: of the surface, two per number of a row.
        outputs: receivers.
        coupling: below 1; with 0 the field is linear in the bits.
        direct: amplitude of the way past the surface.
        bounces: what comes later has died away.

    Raises:
        ValueError: when coupling is not in [0, 1), or a row has other than elements / 2 numbers.
    """
    if not 0 <= coupling < 1:
        raise ValueError(f"coupling={coupling}; waves that bounce need it in [0, 1)")
    room = jax.random.split(key, 4)
    bounce = coupling * _gaussian(room[0], (elements, elements)).T / elements**0.5
    out = _gaussian(room[1], (elements, outputs)) / elements**0.5
    arriving, past = _gaussian(room[2], (elements,)), direct * _gaussian(room[3], (outputs,))

    def physics(h: jax.Array) -> jax.Array:
        flat = h.reshape(len(h), -1)
        if 2 * flat.shape[1] != elements:
            raise ValueError(f"{flat.shape[1]} numbers set {2 * flat.shape[1]} of {elements}")
        signs = 1 - 2 * two_bits(flat)
        waves = jnp.broadcast_to(arriving, signs.shape)
        onward = lambda _, waves: arriving + (signs * waves) @ bounce
        waves = lax.fori_loop(0, bounces if coupling else 0, onward, waves)
        field = past + (signs * waves) @ out
        return (jnp.abs(field) ** 2 / (1 + direct**2)).astype(h.dtype)

    return physics


def _gaussian(key: Key, shape: tuple[int, ...]) -> jax.Array:
    """Complex numbers of expected square 1."""
    real, imaginary = jax.random.normal(key, (2, *shape)) / 2**0.5
    return real + 1j * imaginary
