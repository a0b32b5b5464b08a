"""SIGTERM, as a scheduler sends it before it takes the machine away."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

EXIT = 128 + signal.SIGTERM


@contextmanager
def termination() -> Iterator[threading.Event]:
    """An event that the first SIGTERM sets; a second one exits at once, with status 143.

    The handler that was there before comes back afterwards. Outside of the main thread Python
    allows no handlers, and the event is never set.

    Example:
        >>> with termination() as terminated:
        ...     terminated.is_set()
        False
    """
    event = threading.Event()

    def handle(number: int, frame: object) -> None:
        if event.is_set():
            os._exit(EXIT)
        event.set()

    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield event
    finally:
        signal.signal(signal.SIGTERM, before)
