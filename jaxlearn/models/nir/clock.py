"""From continuous time to steps and back."""

import math
from typing import Literal, NamedTuple, get_args

Method = Literal["euler", "exact"]


class Clock(NamedTuple):
    """How continuous time becomes steps.

    Attributes:
        dt: seconds per step.
        method: forward Euler, or the exact solution for an input that is constant over a step.
    """

    dt: float
    method: Method

    def tau(self, decay: float) -> float:
        """The time constant of a decay below 1."""
        if self.method == "euler":
            return self.dt / (1 - decay)
        if decay == 0:
            raise ValueError('decay 0 has no time constant with method="exact"; use "euler"')
        return -self.dt / math.log(decay)

    def decay(self, tau: float) -> float:
        """The decay of a time constant."""
        decay = 1 - self.dt / tau if self.method == "euler" else math.exp(-self.dt / tau)
        if not 0 <= decay < 1:
            raise ValueError(f"tau={tau:g} is no time constant for steps of dt={self.dt:g}")
        return decay


def clock_of(dt: float, method: Method) -> Clock:
    """A clock of steps above 0.

    Raises:
        ValueError: for other steps or an unknown method.
    """
    if dt <= 0 or method not in get_args(Method):
        raise ValueError(f"dt={dt}, method={method!r}: expected dt > 0 and 'euler' or 'exact'")
    return Clock(dt, method)
