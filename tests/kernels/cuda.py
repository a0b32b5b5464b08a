"""What a program becomes for CUDA, on a machine that need not have a GPU."""

from collections.abc import Callable

import jax
from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh

TRITON = "xla.gpu.triton"
"""What each call of a Triton kernel is named there."""

# from 0.11 on JAX lowers such a kernel for a device that it has to know
GPU = AbstractMesh((), (), abstract_device=AbstractDevice("NVIDIA H100", 132, "gpu"))


def lowered(f: Callable, *arguments: object) -> str:
    """The text of ``f`` of these arguments (arrays or their shapes), lowered for CUDA."""
    with use_abstract_mesh(GPU):
        return jax.jit(f).trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()
