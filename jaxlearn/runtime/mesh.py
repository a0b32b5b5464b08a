"""The device mesh: which devices share the batch, and which share the state."""

import os
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from jaxlearn.core.axis import DATA

MODEL = "model"
MODEL_DEVICES = "JAXLEARN_MODEL_DEVICES"


def data_mesh(devices: Sequence[jax.Device] | None = None, *, model: int | None = None) -> Mesh:
    """A mesh whose axis `"data"` splits the batch.

    Args:
        devices: all devices of all processes by default.
        model: size of a second axis `"model"`, which the loop leaves to the compiler: so many
            devices share one copy of the state, see `distribute`. No such axis by default.

    Raises:
        ValueError: when `model` does not divide the number of devices of every process.

    Example:
        >>> data_mesh(jax.devices()[:1]).shape["data"]
        1
    """
    found = np.array(jax.devices() if devices is None else list(devices))
    if model is None:
        return Mesh(found, (DATA,))
    if model < 1 or found.size % model:
        raise ValueError(f"model={model} does not divide {found.size} devices; choose a divisor")
    # a batch is brought by processes, so that no two of them may share one copy of the state
    found = np.array(sorted(found, key=lambda device: (device.process_index, device.id)))
    mesh = Mesh(found.reshape(-1, model), (DATA, MODEL))
    if any(len({device.process_index for device in row}) > 1 for row in mesh.devices):
        own = found.size // len({device.process_index for device in found})
        raise ValueError(f"model={model} does not divide the {own} devices of a process")
    return mesh


def every_device(environ: Mapping[str, str] | None = None) -> Mesh | None:
    """The mesh of all devices of all processes, None where there is a single one.

    What a script passes to `fit` and `evaluator`, to run alike on a laptop and on a pod.

    Args:
        environ: the environment, `os.environ` by default; `JAXLEARN_MODEL_DEVICES` in it is the
            size of the axis `"model"`.

    Raises:
        ValueError: when that is not a number that divides the devices.
    """
    text = (os.environ if environ is None else environ).get(MODEL_DEVICES, "")
    if text and not text.isdigit():
        raise ValueError(f"{MODEL_DEVICES}={text!r} is not a number; set it to a whole number")
    model = int(text) if text else None
    return data_mesh(model=model) if jax.device_count() > 1 or model else None
