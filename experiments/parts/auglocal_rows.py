"""Rows of `auglocal.py`; `preset` is `experiments.auglocal.Config`."""

from dataclasses import replace
from typing import Any

from experiments.harness import Row

NETWORKS: dict[str, dict[str, Any]] = {
    "ResNet-32": {"blocks": (5, 5, 5), "depths": (1, 2, 3, 4, 5)},
    "ResNet-110": {"blocks": (18, 18, 18), "depths": (1, 2, 3, 4, 5, 6)},
}
"""The published networks and depths of heads."""

PUBLISHED = {
    "backprop, ResNet-110": 94.61,
    "predsim, ResNet-110": 74.95,
    "infopro, ResNet-110": 86.95,
    "auglocal, ResNet-110, d = 6": 93.96,
}
"""ResNet-110 with 55 local layers on CIFAR-10, as quoted from the paper's main table."""


def network_rows(preset: Any, of: str = "") -> list[Row]:
    """Backprop, the older kinds of head, AugLocal from shallow to deep heads, its ablations.

    of: stands behind the name of each method.
    """
    plain = [
        Row(f"{name}{of}", replace(preset, method=name, depth=preset.depths[0]))
        for name in ("backprop", *preset.baselines)
    ]
    deep = [
        Row(f"auglocal{of}, d = {d}", replace(preset, method="auglocal", depth=d))
        for d in preset.depths
    ]
    most = replace(preset, method="auglocal", depth=max(preset.depths))
    deep += [
        Row(f"auglocal{of}, d = {most.depth}, {name}", replace(most, selection=name))
        for name in preset.ablations
    ]
    return [*plain, *deep]


def published_rows(preset: Any) -> list[Row]:
    """The rows of both published networks, with the figures that are known of them."""
    known = {name: {"accuracy": value} for name, value in PUBLISHED.items()}
    return [
        replace(row, paper=known.get(row.name, {}))
        for network, shape in NETWORKS.items()
        for row in network_rows(replace(preset, **shape, depth=shape["depths"][-1]), f", {network}")
    ]
