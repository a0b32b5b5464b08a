"""How elementwise recurrences over time are cut into programs for a GPU (Pallas, Triton).

The features are one flat axis; each program takes a tile of it through all time steps, with the
carries in registers. The last tile is masked.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

SMALL_TILE, LARGE_TILE = 128, 512
LARGE = 2**18  # features from which on wide tiles (16-byte loads) still fill the device


def tile(features: int) -> int:
    """Features per program: one per thread while programs are few, four when they abound."""
    return LARGE_TILE if features >= LARGE else SMALL_TILE


def here(features: int):
    """This program's features: a slice of the flat axis, and which of them exist."""
    width = tile(features)
    start = pl.program_id(0) * width
    mask = start + jnp.arange(width, dtype=jnp.int32) < features
    return pl.ds(start, width), mask


def call(
    kernel: Callable,
    features: int,
    inputs: Sequence[jax.Array],
    outputs: Sequence[jax.ShapeDtypeStruct],
    *,
    interpret: bool,
) -> list[jax.Array]:
    """Run a kernel, one program per tile."""
    return pl.pallas_call(
        kernel,
        out_shape=outputs,
        grid=(pl.cdiv(features, tile(features)),),
        compiler_params=plgpu.CompilerParams(num_warps=4, num_stages=1),
        interpret=interpret,
    )(*inputs)
