"""How far the host may run ahead of the devices."""

from collections import deque
from collections.abc import Callable
from typing import TypeVar

import jax

from jaxlearn.core.contracts import PyTree

_Result = TypeVar("_Result", bound=PyTree)

AHEAD = 8
"""Dispatches that may be unfinished when the next one is made."""


def pacer(ahead: int = AHEAD) -> Callable[[_Result], _Result]:
    """`pace(result) -> result`, which first waits for the result that came `ahead` calls before.

    Dispatch returns before the device has done the work, so that the host can prepare the next
    batch meanwhile; a few in the queue are enough for that. A queue without end holds a batch in
    memory for each of them, and on virtual devices of a CPU it stops for good: XLA takes 32 per
    device, whatever comes next waits on a thread without which the devices cannot meet for a sum,
    and the process is aborted 40 s later. What is only being traced passes by.

    Example:
        >>> pace = pacer()
        >>> sum(float(pace(jax.numpy.float32(i))) for i in range(100))
        4950.0
    """
    unfinished: deque[PyTree] = deque()

    def pace(result: _Result) -> _Result:
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(result)):
            return result
        unfinished.append(result)
        if len(unfinished) > ahead:
            jax.block_until_ready(unfinished.popleft())
        return result

    return pace
