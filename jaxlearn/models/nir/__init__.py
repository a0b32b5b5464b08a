"""Spiking networks to and from NIR, the exchange format of simulators and neuromorphic chips.

Pedersen et al., "Neuromorphic intermediate representation: a unified instruction set for
interoperable brain-inspired computing", Nature Communications 2024, arXiv 2311.14641. NIR describes
neurons in continuous time; what runs here are steps of `dt`::

    NIR                                    here, with decay = 1 - dt/tau ("euler") or exp(-dt/tau)
    LIF    tau v' = (v_leak - v) + R I     u = decay v + (1 - decay) v_reset + (1 - decay) R x
    IF     v' = R I                        u = v + dt R x
    CubaLIF  tau_syn i' = -i + w_in S      i = alpha i + (1 - alpha) w_in x, then as LIF with R i
    LI, I    as LIF and IF                 the same, without spikes
    Threshold, Affine, Linear, Conv2d, Flatten

Its neurons fire at `v > v_threshold` and are reset to a value: `Neuron(strict=True, reset="hard")`.
Images have their channels first there and last here; weights are reordered on the way.
"""

from jaxlearn.models.nir.reading import from_nir
from jaxlearn.models.nir.writing import to_nir

__all__ = ["from_nir", "to_nir"]
