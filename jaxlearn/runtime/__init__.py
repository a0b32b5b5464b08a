"""Running: the loop, devices and processes, checkpoints, metrics and progress."""

from jaxlearn.runtime import checkpoint, metrics
from jaxlearn.runtime.allocator import keep_memory
from jaxlearn.runtime.checkpoint import CheckpointError
from jaxlearn.runtime.evaluate import evaluator
from jaxlearn.runtime.finite import Diverged
from jaxlearn.runtime.fit import Fitted, fit
from jaxlearn.runtime.mesh import data_mesh, every_device
from jaxlearn.runtime.parallel import data_parallel, distribute, place
from jaxlearn.runtime.processes import on_first, own_rows, start
from jaxlearn.runtime.progress import bar
from jaxlearn.runtime.sharding import make_sharded
from jaxlearn.runtime.signals import termination
from jaxlearn.runtime.stopping import Stopping
from jaxlearn.runtime.workdir import WorkdirError, bind, locked

__all__ = [
    "CheckpointError",
    "Diverged",
    "Fitted",
    "Stopping",
    "WorkdirError",
    "bar",
    "bind",
    "checkpoint",
    "data_mesh",
    "data_parallel",
    "distribute",
    "evaluator",
    "every_device",
    "fit",
    "keep_memory",
    "locked",
    "make_sharded",
    "metrics",
    "on_first",
    "own_rows",
    "place",
    "start",
    "termination",
]
