"""Events of vision sensors, and frames that they are counted into."""

from typing import NamedTuple

import numpy as np


class Events(NamedTuple):
    """A recording: every event has a place, a polarity 0 or 1 and a time, int arrays [N].

    Attributes:
        x: pixels from the left.
        y: pixels from the top.
        p: 1 where it became brighter.
        t: microseconds, in order.
    """

    x: np.ndarray
    y: np.ndarray
    p: np.ndarray
    t: np.ndarray


def event_frames(events: Events, T: int, height: int, width: int) -> np.ndarray:
    """Count events into T frames float32 [T, height, width, 2] that hold equally many.

    With N events and d = N // T, frame i counts the events i d up to (i + 1) d, the last frame all
    that are left (Fang et al., ICCV 2021, "split by number"). Channel 1 counts polarity 1.

    Raises:
        ValueError: when there are fewer events than frames, or one lies outside.

    >>> time = np.arange(5)
    >>> events = Events(time % 2, time * 0, time % 2, time)
    >>> event_frames(events, 2, 1, 2).sum((1, 2)).tolist()
    [[1.0, 1.0], [2.0, 1.0]]
    """
    n = len(events.t)
    if T < 1 or n < T:
        raise ValueError(f"{n} events cannot be dealt to {T} frames; each needs one")
    for name, values, size in (("x", events.x, width), ("y", events.y, height)):
        if values.min() < 0 or values.max() >= size:
            low, high = values.min(), values.max()
            raise ValueError(f"{name} from {low} to {high} does not fit {size} pixels")
    frame = np.minimum(np.arange(n) // (n // T), T - 1)
    place = ((frame * height + events.y) * width + events.x) * 2 + events.p
    counts = np.bincount(place, minlength=T * height * width * 2)
    return counts.reshape(T, height, width, 2).astype(np.float32)


def between(events: Events, start: int, stop: int) -> Events:
    """The events at `start <= t < stop`.

    >>> time = np.arange(5)
    >>> between(Events(time, time, time, time), 1, 3).t.tolist()
    [1, 2]
    """
    first, last = np.searchsorted(events.t, [start, stop])
    return Events(*(part[first:last] for part in events))
