"""Integrate-and-fire neurons: nothing leaks."""

from typing import Any

from flax import linen
from jaxlearn_kernels.lif import Neuron

from jaxlearn.models.layers.lif import Lif, LifSequence


def integrate_and_fire(**options: Any) -> Neuron:
    """`u[t] = v[t-1] + x[t]`, for `Lif` and `LifSequence`: a neuron whose decay is 1.

    Args:
        options: the other fields of `Neuron`.

    Raises:
        ValueError: when the options name a decay or one that needs a leak.

    Example:
        >>> integrate_and_fire(reset="hard").decay
        1.0
    """
    if "decay" in options:
        raise ValueError("integrate_and_fire has decay 1; use Neuron(decay=...) for a leak")
    return Neuron(decay=1.0, **options)


def neuron_examples(detach_carry: bool = False) -> dict[str, tuple[linen.Module, linen.Module]]:
    """One step and all steps, for the battery of neurons."""
    neuron = integrate_and_fire(detach_carry=detach_carry)
    return {"integrate-and-fire": (Lif(neuron), LifSequence(neuron))}
