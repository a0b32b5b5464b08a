"""Light through a multimode cavity: a random complex transmission matrix and a camera.

Momeni et al., Science 382, 2023 (arXiv 2304.11042). Their measured matrix is not published; a
complex Gaussian one is what a strongly scattering medium has.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxlearn.core import Key
from jaxlearn.models.physical.black_box import Physics


def speckle(key: Key, outputs: int) -> Physics:
    """Amplitudes of a speckle, `|T h|` with `T` complex Gaussian: `[B, n] -> [B, outputs]`.

    `T` has entries of variance 1 / n, so the mean square is that of the input.
    """

    def physics(h: jax.Array) -> jax.Array:
        flat = h.reshape(len(h), -1)
        real, imaginary = jax.random.normal(key, (2, flat.shape[1], outputs))
        scale = (2 * flat.shape[1]) ** -0.5
        return scale * jnp.hypot(flat @ real, flat @ imaginary)

    return physics


def transmission(key: Key, size: int, *, modes: int | None = None, dtype=jnp.float32) -> Physics:
    """A camera image of light shaped by a modulator, `[B, H, W]` or `[B, n] -> [B, p, p]`.

    The input is put on a modulator of `size x size` pixels (`on_modulator`), goes to Fourier space,
    where the cavity's matrix T mixes the `modes x modes` lowest spatial frequencies, and back. The
    camera sees the amplitude `|F^-1 T F x|`, averaged over windows of 3 x 3 pixels at every second
    one, zeros beyond the edge: `p = ceil(size / 2)`, 26 for the published 51.

    Args:
        key: draws T.
        size: pixels of modulator and camera along an edge.
        modes: frequencies along an edge that get through; by default two thirds of `size`.
        dtype: of the real numbers; float64 needs `jax_enable_x64`.
    """
    modes = max(2 * size // 3, 1) if modes is None else modes
    if not 1 <= modes <= size:
        raise ValueError(f"modes={modes} of a modulator with {size} x {size} pixels")
    start, n = (size - modes) // 2, modes**2
    real, imaginary = jax.random.normal(key, (2, n, n), dtype) / (2 * n) ** 0.5
    matrix = real + 1j * imaginary

    def physics(x: jax.Array) -> jax.Array:
        shown = on_modulator(x.astype(dtype), size)
        spectrum = jnp.fft.fftshift(jnp.fft.fft2(shown), (1, 2))
        low = spectrum[:, start : start + modes, start : start + modes].reshape(-1, n) @ matrix
        through = jnp.zeros_like(spectrum).at[:, start : start + modes, start : start + modes]
        spectrum = through.set(low.reshape(-1, modes, modes))
        seen = jnp.abs(jnp.fft.ifft2(jnp.fft.ifftshift(spectrum, (1, 2))))
        return average_pool(seen)

    return physics


def on_modulator(x: jax.Array, size: int) -> jax.Array:
    """Images `[B, H, W]`, or rows `[B, p p]` as images, enlarged and cut or padded to a square.

    Pixels are repeated `round(size / edge)` times along an edge, at least once; what exceeds the
    square is cut off, what is left over is zero.

    Example:
        >>> on_modulator(jnp.arange(4.0).reshape(1, 4), 5)[0, :, :3].tolist()[::2]
        [[0.0, 0.0, 1.0], [2.0, 2.0, 3.0], [0.0, 0.0, 0.0]]
    """
    if x.ndim == 2:
        edge = round(x.shape[1] ** 0.5)
        if edge**2 != x.shape[1]:
            raise ValueError(f"rows of {x.shape[1]} entries are no square images")
        x = x.reshape(len(x), edge, edge)
    for axis, edge in enumerate(x.shape[1:], start=1):
        x = jnp.repeat(x, max(1, round(size / edge)), axis)
    x = x[:, :size, :size]
    return jnp.pad(x, [(0, 0), *((0, size - edge) for edge in x.shape[1:])])


def average_pool(x: jax.Array) -> jax.Array:
    """Means over 3 x 3 windows at every second pixel, zeros around: `[B, H, W] -> [B, H', W']`.

    Example:
        >>> [round(float(a), 3) for a in average_pool(jnp.ones((1, 5, 5)))[0, 1]]
        [0.667, 1.0, 0.667]
    """
    pad = ((0, 0), (1, 1), (1, 1))
    return lax.reduce_window(x, np.zeros((), x.dtype), lax.add, (1, 3, 3), (1, 2, 2), pad) / 9
