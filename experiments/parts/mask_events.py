"""How often masks change in runs of any length."""

FEWEST = 5
"""Updates between two events. Adam's first update moves every grown weight by the learning rate,
to the last bit or two; removal right after it would be by rounding."""


def interval(steps: int, events: int) -> int:
    """Updates between so many events, or fewer events where they would be too close.

    >>> interval(1000, 25), interval(20, 25)
    (40, 5)
    """
    return max(steps // events, FEWEST)
