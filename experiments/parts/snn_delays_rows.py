"""The rows of the delay networks' tables: how they differ from the preset, by name."""

from collections.abc import Mapping
from typing import Any, Literal

Method = Literal["learned", "fixed", "none", "constant", "dense", "gru"]
METHODS: dict[Method, str] = {
    "learned": "learned delays",
    "fixed": "fixed random delays",
    "none": "no delays",
    "constant": "learned delays, narrow from the beginning",
    "dense": "a weight for every delay",
    "gru": "GRU",
}
_SPARSE = {"density": 0.1}
_DELTA = {"threshold": 1.0}
VARIANTS: dict[str, Mapping[str, Any]] = {
    "learned delays": {},
    "fixed random delays": {"method": "fixed"},
    "no delays": {"method": "none"},
    "triangles": {"bump": "triangle"},
    "two taps share the weight (v1)": {"bump": "v1"},
    "learned leak (PLIF)": {"neuron": "plif"},
    "no membrane (Heaviside)": {"neuron": "heaviside"},
    "spikes filtered": {"filtered": True},
    "spans masked": {"augment": "mask"},
    "CutMix in time": {"augment": "cutmix"},
    "a tenth of the synapses": _SPARSE,
    "a tenth of the synapses, no delays": _SPARSE | {"method": "none"},
    "pruned to a tenth": _SPARSE | {"pruned": True},
    "three layers": {"widths": (24, 24, 24)},
    "delta spikes": _DELTA,
    "delta spikes, no delays": _DELTA | {"method": "none"},
}
SPARSE: dict[tuple[float, Method], str] = {
    (1.0, "learned"): "all synapses, learned delays",
    (1.0, "fixed"): "all synapses, fixed random delays",
    (1.0, "none"): "all synapses, no delays",
    (0.1, "learned"): "a tenth, learned delays",
    (0.1, "fixed"): "a tenth, fixed random delays",
    (0.1, "none"): "a tenth, no delays",
}
"""Rows by density of the synapses and method."""
