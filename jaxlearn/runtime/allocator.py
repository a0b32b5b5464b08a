"""Memory that a process on CPU has freed stays with it, not asked for anew at each step."""

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


def keep_memory() -> bool:
    """Tell the C library not to hand freed memory back; True where it understands that (glibc).

    The temporaries of a compiled step on CPU are one allocation and freed when the step ends. Above
    32 MB glibc returns such memory to the system, so that every step has all its pages mapped and
    cleared again: a spiking network's step with 62 MB of temporaries took 146 ms, and 94 with this,
    alone in its process. Beside other programs there was no gain: threads have heaps of their own,
    whose parts end at 64 MB and are returned when they are empty. One heap for all threads
    (`MALLOC_ARENA_MAX=1` in the environment) took a fifth off a step with 188 MB, two fifths on
    another machine, and made compiling a residual network two fifths longer, so that is left to
    you; `make bench` has it.
    The process keeps the memory of its largest moment for good. It acts on the whole process, so
    programs call it and the library does not; the experiments' command line does.

    Example:
        >>> keep_memory() in (True, False)
        True
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # Windows, macOS, other C libraries
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))
