"""The device mesh: which devices share the batch."""

from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from jaxlearn.core.axis import DATA

MODEL = "model"


def data_mesh(devices: Sequence[jax.Device] | None = None, *, model: int | None = None) -> Mesh:
    """A mesh whose axis `"data"` splits the batch.

    Args:
        devices: all devices of all processes by default.
        model: size of a second axis `"model"`, which the loop leaves to the compiler: parameters
            that come with a sharding over it keep it. No such axis by default.

    Raises:
        ValueError: when `model` does not divide the number of devices.

    Example:
        >>> data_mesh(jax.devices()[:1]).shape["data"]
        1
    """
    found = np.array(jax.devices() if devices is None else list(devices))
    if model is None:
        return Mesh(found, (DATA,))
    if model < 1 or found.size % model:
        raise ValueError(f"model={model} does not divide {found.size} devices; choose a divisor")
    return Mesh(found.reshape(-1, model), (DATA, MODEL))


def every_device() -> Mesh | None:
    """The mesh of all devices of all processes, None where there is a single one.

    What a script passes to `fit` and `evaluator`, to run alike on a laptop and on a pod.
    """
    return data_mesh() if jax.device_count() > 1 else None
