"""Progress for people: a bar on a terminal, plain lines everywhere else."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TextIO

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

EVERY = 5.0


class Bar(NamedTuple):
    """What a run says while it works.

    Attributes:
        say: one sentence.
        show: `show(step, row)`: so far, with the newest metrics.
    """

    say: Callable[[str], None]
    show: Callable[[int, dict[str, Any]], None]


@contextmanager
def bar(
    total: int, start: int = 0, *, name: str = "", show: bool = True, stream: TextIO | None = None
) -> Iterator[Bar]:
    """Show a run's way from step `start` to `total`, with rate, time to go and main metrics.

    Args:
        total: steps of the run.
        start: steps that were done before.
        name: in front of every line.
        show: `False` for silence.
        stream: where to, standard error by default. If it is no terminal, a line every 5 s.
    """
    stream = sys.stderr if stream is None else stream
    pace = _pace(start)
    if not show:
        yield Bar(lambda text: None, lambda step, row: None)
    elif stream.isatty():
        with _rich(total, start, name, stream, pace) as drawn:
            yield drawn
    else:
        yield _plain(total, name, stream, pace)


def status(step: int, total: int, rate: float, row: dict[str, Any]) -> str:
    """Rate, time to go and the numbers of a row, in one line.

    A rate of 0 is one that is not known yet, and is left out.

    Example:
        >>> status(50, 100, 10.0, {"step": 50, "loss": 0.25})
        '10.0 steps/s  0:05 left  loss 0.25'
        >>> status(50, 50, 0.0, {"loss": 0.25})
        'loss 0.25'
    """
    numbers = (
        f"{name} {float(np.mean(value)):.4g}" for name, value in row.items() if name != "step"
    )
    return "  ".join([*_time_to_go(total - step, rate), *numbers])


def _time_to_go(steps: int, rate: float) -> list[str]:
    if rate > 0:
        pace = f"{rate:.1f}" if rate >= 1 else f"{rate:.2g}"
        return [f"{pace} steps/s", f"{_clock(steps / rate)} left"]
    return ["? left"] if steps else []


def _plain(total: int, name: str, stream: TextIO, pace: Callable[[int], float]) -> Bar:
    last = [time.monotonic()]
    label = f"{name}: " if name else ""

    def say(text: str) -> None:
        stream.write(f"{label}{text}\n")
        stream.flush()

    def show(step: int, row: dict[str, Any]) -> None:
        rate, now = pace(step), time.monotonic()
        if step >= total or now - last[0] >= EVERY:
            last[0] = now
            say(f"{step}/{total}  {status(step, total, rate, row)}")

    return Bar(say, show)


@contextmanager
def _rich(
    total: int, start: int, name: str, stream: TextIO, pace: Callable[[int], float]
) -> Iterator[Bar]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[status]}"),
    )
    with Progress(*columns, console=Console(file=stream)) as drawn:
        task = drawn.add_task(name or "training", total=total, completed=start, status="")

        def show(step: int, row: dict[str, Any]) -> None:
            drawn.update(task, completed=step, status=status(step, total, pace(step), row))

        yield Bar(lambda text: drawn.update(task, status=text), show)


def _pace(start: int) -> Callable[[int], float]:
    seen: list[tuple[float, int]] = []

    def pace(step: int) -> float:
        # the first chunk sets the clock, so that compilation does not count; then the last 50
        seen.append((time.monotonic(), step))
        del seen[:-50]
        seconds = seen[-1][0] - seen[0][0]
        return (seen[-1][1] - seen[0][1]) / seconds if seconds > 0 else 0.0

    return pace


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
