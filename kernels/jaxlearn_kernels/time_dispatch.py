"""Which program a recurrence over time runs: the one place for all such operations."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from jaxlearn_kernels.time_blocks_tpu import DTYPES


def run(
    modules: tuple[Any, Any, Any],
    direction: str,
    implementation: str | None,
    dtype: Any,
    arrays: tuple,
    **options: Any,
) -> Any:
    """Call ``forward`` or ``backward`` of the chosen implementation.

    Args:
      modules: the compiled scan, the TPU kernel and the GPU kernel.
      direction: the function's name.
      implementation: ``"scan"``, ``"tpu"``, ``"gpu"``, ``"interpret"``, ``"interpret_gpu"``; or
        None for what fits the platform that the program is lowered for.
      dtype: of the sequences; the TPU kernels take ``DTYPES``.
      arrays: the arguments.
      **options: of the function.
    """
    scan, tpu, gpu = (partial(getattr(module, direction), **options) for module in modules)
    forced: dict[str, Callable] = {
        "scan": scan,
        "tpu": tpu,
        "gpu": gpu,
        "interpret": partial(tpu, interpret=True),
        "interpret_gpu": partial(gpu, interpret=True),
    }
    if implementation is not None:
        return forced[implementation](*arrays)
    kernels = {"cuda": gpu, "tpu": tpu} if dtype in DTYPES else {"cuda": gpu}
    return jax.lax.platform_dependent(*arrays, default=scan, **kernels)
