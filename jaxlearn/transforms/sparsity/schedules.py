"""When masks change, how dense they are then, and how much is regrown.

Numbers of steps are those taken so far, so the first event of an interval of 100 comes with the
100th update.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

Rate = Callable[[jax.Array], jax.Array]
"""`rate(count)`: the share of the active weights to swap at step `count`."""


class Window(NamedTuple):
    """Every `interval` steps from `start` to `stop`, both included.

    Example:
        >>> window = Window(start=0, stop=20, interval=10)
        >>> [count for count in range(1, 31) if window.due(count)]
        [10, 20]
    """

    start: int
    stop: int
    interval: int

    def due(self, count: jax.Array | int) -> jax.Array:
        """Whether step `count` ends an interval of the window."""
        inside = (jnp.asarray(count) >= self.start) & (jnp.asarray(count) <= self.stop)
        return inside & (count % self.interval == 0)


def window(start: int, stop: int, interval: int) -> Window:
    """A checked `Window`.

    Raises:
        ValueError: when the interval is below 1 or no event falls between start and stop.
    """
    if interval < 1:
        raise ValueError(f"interval must be at least 1 step, found {interval}")
    if start < 0 or stop // interval <= start // interval:
        raise ValueError(
            f"no event between start={start} and stop={stop} with interval={interval}: "
            "stop at least one interval after start"
        )
    return Window(start, stop, interval)


class Cubic(NamedTuple):
    """Density from `initial` to `final`, first fast and then slowly (Zhu & Gupta 2017, eq. 1).

    At the k-th of n intervals `density = final + (initial - final) (1 - k/n)^power`. With `power=1`
    it is linear. The last event reaches `final` exactly. The released code of GraNet, where it
    prunes over all layers, stops one event earlier, `(initial - final) / n^power` short of the
    target: `code_parity=True` does too.

    Example:
        >>> cubic = Cubic(window(0, 100, 10), initial=0.5, final=0.05)
        >>> [round(1 - density, 5) for density in cubic.densities()][1::4]
        [0.62195, 0.89375, 0.94955]
    """

    window: Window
    initial: float
    final: float
    power: float = 3.0
    code_parity: bool = False

    def densities(self) -> list[float]:
        """The density at each event, the start counted as event 0."""
        first, last = (at // self.window.interval for at in self.window[:2])
        n = last - first
        steps = range(n if self.code_parity else n + 1)
        return [self.final + (self.initial - self.final) * (1 - k / n) ** self.power for k in steps]

    def event(self, count: jax.Array) -> jax.Array:
        """Which entry of `densities()` holds at step `count`; the last one after the window."""
        first = self.window.start // self.window.interval
        return jnp.clip(count // self.window.interval - first, 0, len(self.densities()) - 1)


def cubic(
    window: Window, initial: float, final: float, *, power: float = 3.0, code_parity: bool = False
) -> Cubic:
    """A checked `Cubic`.

    Raises:
        ValueError: unless `0 < final <= initial <= 1`.
    """
    if not 0 < final <= initial <= 1:
        raise ValueError(
            f"densities must be 0 < final <= initial <= 1, found final={final}, initial={initial}"
        )
    return Cubic(window, initial, final, power, code_parity)


def one_shot(at: int, final: float) -> Cubic:
    """Dense until step `at`, then `final` at once: a schedule with one event.

    Example:
        >>> schedule = one_shot(7, 0.2)
        >>> [count for count in range(1, 20) if schedule.window.due(count)], schedule.densities()[1]
        ([7], 0.2)
    """
    return cubic(window(0, at, at), 1.0, final)


def cosine(initial: float, final: float, steps: int) -> Rate:
    """`final + (initial - final)/2 (1 + cos(pi count / steps))`, held at `final` afterwards.

    GraNet anneals its prune rate from 0.5 to 0.005 over all of training; RigL (Evci et al., ICML
    2020, eq. 1) from alpha to 0 until its last mask update.
    """
    if not 0 <= final <= initial <= 1:
        raise ValueError(f"rates must be 0 <= final <= initial <= 1, found {initial}, {final}")
    if steps < 1:
        raise ValueError(f"the rate needs at least 1 step to fall over, found {steps}")

    def rate(count: jax.Array) -> jax.Array:
        progress = jnp.minimum(count / steps, 1.0)
        return final + (initial - final) / 2 * (1 + jnp.cos(jnp.pi * progress))

    return rate


def constant(rate: float) -> Rate:
    """The same share at every event."""
    if not 0 <= rate <= 1:
        raise ValueError(f"a rate is a share between 0 and 1, found {rate}")
    return lambda count: jnp.full(jnp.shape(count), rate)
