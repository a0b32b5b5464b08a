"""Early stopping: which evaluation was the best, and whether to go on."""

import math
from typing import NamedTuple


class Stopping(NamedTuple):
    """What has been seen of the monitored value; plain numbers, so that it can be saved as JSON.

    Attributes:
        best: the best value so far, `None` before the first.
        step: the step it was measured at.
        stale: evaluations since then.
        stopped: whether `stale` reached the patience.
    """

    best: float | None = None
    step: int = 0
    stale: int = 0
    stopped: bool = False

    def after(self, value: float, step: int, mode: str, patience: int | None) -> "Stopping":
        """The next record, after `value` was measured at `step`.

        Args:
            value: the monitored value; NaN is never an improvement.
            step: where it was measured.
            mode: `"max"` if larger is better, `"min"` if smaller is.
            patience: stop after so many evaluations in a row without improvement; `None`: never.

        Example:
            >>> Stopping(best=0.5, step=10).after(0.4, 20, "max", patience=1)
            Stopping(best=0.5, step=10, stale=1, stopped=True)
        """
        sign = 1 if mode == "max" else -1
        better = self.best is None or sign * value > sign * self.best
        if better and not math.isnan(value):
            return Stopping(value, step)
        stale = self.stale + 1
        return self._replace(stale=stale, stopped=patience is not None and stale >= patience)
