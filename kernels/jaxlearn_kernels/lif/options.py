"""The options of a leaky integrate-and-fire neuron, shared by every implementation."""

import math
from dataclasses import dataclass

from jaxlearn_kernels.lif.surrogates import SURROGATES

RESETS = ("soft", "hard", "none")


@dataclass(frozen=True)
class Neuron:
    """A leaky integrate-and-fire neuron: charge, then fire, then reset, at every time step.

    ::

        u[t] = decay v[t-1] + (1 - decay) v_reset + gain x[t]     charge
        s[t] = H(u[t] - threshold)                                fire
        v[t] = u[t] - threshold s[t]                              reset "soft"
             = u[t] (1 - s[t]) + v_reset s[t]                     reset "hard"
             = u[t]                                               reset "none"

    with ``gain = 1 - decay`` under ``input_decay``, else 1. A time constant tau means
    ``decay = 1 - 1/tau``. Hashable, so that it can be a static argument of ``jax.jit``.

    Attributes:
      decay: share of the membrane that is left after one step, in [0, 1]; 1 never leaks.
      threshold: the neuron fires when ``u`` reaches it; a huge one (1e9) gives a readout.
      reset: what a spike does to the membrane: "soft", "hard" or "none".
      v_reset: resting level: leak target, hard-reset target and initial membrane.
      input_decay: also scale the input by ``1 - decay``.
      strict: fire at ``u > threshold`` instead of ``u >= threshold``.
      detach_reset: the spike inside the reset is a constant in the backward pass.
      detach_carry: ``v[t-1]`` is a constant in the charge's backward pass, which cuts every
        temporal route (SLTT: Meng et al., ICCV 2023, arXiv 2302.14311).
      surrogate: a name in ``SURROGATES``, used as ``ds/du`` in the backward pass.
      alpha: scale of the surrogate; None takes the default of that surrogate.

    Raises:
      ValueError: an option is out of range or unknown.

    >>> Neuron(decay=0.5, reset="hard", surrogate="atan").scale
    2.0
    """

    decay: float = 0.5
    threshold: float = 1.0
    reset: str = "soft"
    v_reset: float = 0.0
    input_decay: bool = False
    strict: bool = False
    detach_reset: bool = False
    detach_carry: bool = False
    surrogate: str = "triangle"
    alpha: float | None = None

    def __post_init__(self) -> None:
        for name in ("decay", "threshold", "v_reset"):
            _check_finite(name, getattr(self, name))
        if not 0.0 <= self.decay <= 1.0:
            raise ValueError(f"decay must lie in [0, 1], found {self.decay}; use 1 - 1/tau")
        if self.input_decay and self.decay == 1.0:
            raise ValueError("input_decay with decay 1 ignores the input; lower decay")
        if self.reset not in RESETS:
            raise ValueError(f"reset must be one of {', '.join(RESETS)}, found {self.reset!r}")
        if self.surrogate not in SURROGATES:
            raise ValueError(
                f"surrogate must be one of {', '.join(SURROGATES)}, found {self.surrogate!r}"
            )
        if self.alpha is not None:
            _check_finite("alpha", self.alpha)
            if self.alpha <= 0:
                raise ValueError(f"alpha must be positive, found {self.alpha}; None is the default")

    @property
    def gain(self) -> float:
        """Factor of the input in the charge: ``1 - decay`` under ``input_decay``, else 1."""
        return 1.0 - self.decay if self.input_decay else 1.0

    @property
    def scale(self) -> float:
        """The surrogate's scale: ``alpha``, or its default."""
        return SURROGATES[self.surrogate].alpha if self.alpha is None else self.alpha


def _check_finite(name: str, value: float) -> None:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite Python number, found {value!r}")
