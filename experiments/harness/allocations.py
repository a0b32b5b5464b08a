"""Memory that a step of another library takes from its allocator."""

import sys
from collections.abc import Callable
from typing import Any


def peak_bytes(step: Callable[[], object]) -> int | None:
    """Return how far a step in PyTorch goes above what was allocated before it, at most.

    That is what a compiled step of ours has as temporaries: activities, gradients, and what the
    optimiser makes on its way, without weights and its state. Workspaces that a library below takes
    from elsewhere are not seen. None where PyTorch was not loaded.

    The step must have run before, so that nothing that stays is allocated in it.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    if str(torch.get_default_device()).startswith("cuda"):
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    profiler = torch.profiler
    with profiler.profile(
        activities=[profiler.ProfilerActivity.CPU], profile_memory=True
    ) as watched:
        step()
    return highest(watched.profiler.kineto_results.events())


def highest(events: Any) -> int:
    """Return the largest sum of all allocations less all releases, in order of time."""
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    level = highest = 0
    for _, change in changes:
        level += change
        highest = max(highest, level)
    return highest
