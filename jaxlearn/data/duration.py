"""Durations with units: epochs or steps."""

import re

_FORM = re.compile(r"(\d+(?:\.\d+)?)(ep|it)")


def steps(duration: str | int, steps_per_epoch: int) -> int:
    """Number of steps of a duration: "90ep" (epochs), "500it" or 500 (steps).

    Parts of epochs are allowed ("0.5ep") and rounded to whole steps, at least one.

    >>> steps("2ep", 390), steps("500it", 390), steps(7, 390), steps("0.5ep", 9)
    (780, 500, 7, 4)
    """
    count = _count(duration, steps_per_epoch)
    if count < 1:
        raise ValueError(f"duration {duration!r} has no steps; give a positive one")
    return count


def _count(duration: str | int, steps_per_epoch: int) -> int:
    if isinstance(duration, int) and not isinstance(duration, bool):
        return duration
    match = _FORM.fullmatch(duration.strip()) if isinstance(duration, str) else None
    if match is None or (match[2] == "it" and "." in match[1]):
        raise ValueError(f'duration {duration!r} is not like "90ep", "500it" or 500')
    if match[2] == "it":
        return int(match[1])
    if steps_per_epoch < 1:
        raise ValueError(
            f"duration {duration!r} counts epochs, but steps_per_epoch is {steps_per_epoch}"
        )
    epochs = float(match[1])
    return max(1, round(epochs * steps_per_epoch)) if epochs else 0
