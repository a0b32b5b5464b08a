"""What the table of target projection SGD should show, and its figure."""

from collections.abc import Mapping
from typing import Any

from experiments.harness import Claim, Measured

METRICS: dict[str, str] = {
    "accuracy": "of test images or clips after the last step, %; frozen: the pretrained network as "
    "it is",
    "alignment": "mean cosine of outputs and targets in the first hidden layer, last training "
    "batch",
    "codes": "share of test examples whose class has the code nearest to the last hidden layer's "
    "output, %",
    "temp_mb_*": "temporaries XLA reserves for a training step with so many hidden layers or time "
    "steps, MB",
}


def claims(measured: Measured) -> list[Claim]:
    """What the method should show at this scale; margins fixed before the table's seeds ran."""
    found = [_memory_claim(measured)]
    if "MLP-4 BP" not in measured.rows:
        return found
    near = [_above(measured, f"{name} tpSGD-l2", f"{name} BP", -5) for name in NETWORKS]
    better = [_above(measured, f"{name} tpSGD-l2", f"{name} shallow", 1) for name in NETWORKS]
    drtp = [_above(measured, f"{name} tpSGD-l2", f"{name} DRTP", -0.5) for name in NETWORKS]
    lost = [measured.gap(f"MLP-{n} BP", f"MLP-{n} tpSGD-l2", "accuracy") for n in (1, 4)]
    deeper = Claim(
        "gap-grows-with-depth",
        "tpSGD-l2 loses more against BP with four hidden layers than with one",
        lost[1] > lost[0],
        f"{lost[0]:.2f} points with one, {lost[1]:.2f} with four",
    )
    return [
        *near,
        *better,
        *drtp,
        deeper,
        *_adaptor_claims(measured),
        _flat_claim(measured),
        *found,
    ]


def _adaptor_claims(measured: Measured) -> list[Claim]:
    """A frozen network on changed images, with a head that learns by target projection."""
    shifts = ("colour", "noise")
    gains, losses = (
        [measured.gap(f"{name} tpSGD-l2", f"{name} {other}", "accuracy") for name in shifts]
        for other in ("frozen", "BP")
    )
    shown = lambda gaps, other: "; ".join(
        f"{gap:+.2f}: "
        + ", ".join(measured.show(f"{name} {m}", "accuracy") for m in ("tpSGD-l2", other))
        for gap, name in zip(gaps, shifts, strict=True)
    )
    return [
        Claim(
            "adaptor-adapts",
            "on images with other colours and with noise a head that learns by tpSGD is at least 3 "
            "points above the pretrained network as it is",
            min(gains) >= 3,
            shown(gains, "frozen"),
        ),
        Claim(
            "adaptor-near-bp",
            "in both cases it is within 2 points of the same head under backpropagation, or above",
            min(losses) >= -2,
            shown(losses, "BP"),
        ),
    ]


NETWORKS = ("MLP-1", "CNN", "RNN")


WHY = {
    "CNN": "filters are shared between places and cannot meet targets that differ by place: the "
    "more the convolution learns, the less its outputs tell",
    "RNN": "every row is pushed towards the code of the class, and nothing tells the layer what to "
    "keep for the rows to come",
    "MLP-1": "random tanh features of this width are nearly as good for a trained readout",
}
"""What may be the reason where a claim about a network fails."""


def _above(measured: Measured, row: str, other: str, margin: float) -> Claim:
    gap = measured.gap(row, other, "accuracy")
    return Claim(
        f"{row}-beside-{other.split()[-1]}".lower().replace(" ", "-"),
        f"{row} is at least {margin:+g} points from {other} in mean accuracy",
        gap >= margin,
        f"{gap:+.2f}: {measured.show(row, 'accuracy')}, {measured.show(other, 'accuracy')}",
        WHY[row.split()[0]],
    )


def _sizes(measured: Measured, row: str) -> list[float]:
    names = sorted(measured.rows[row], key=lambda name: int(name.removeprefix("temp_mb_")))
    return [measured.mean(row, name) for name in names]


def _memory_claim(measured: Measured) -> Claim:
    ours, theirs = (_sizes(measured, f"depth {method}") for method in ("tpSGD-l2", "BP"))
    return Claim(
        "half-the-memory",
        "with 8 hidden layers tpSGD reserves at most half of BP's temporaries",
        ours[-1] <= 0.5 * theirs[-1],
        f"{ours[-1]:.1f} and {theirs[-1]:.1f} MB",
        "tpSGD's figure is flat in depth at some five activations, those within a layer; BP's "
        "grows by one per layer, so that half takes ten layers",
    )


def _flat_claim(measured: Measured) -> Claim:
    ours, theirs = (_sizes(measured, f"length {method}") for method in ("tpSGD-l2", "BP"))
    return Claim(
        "memory-flat-in-time",
        "from 28 to 112 steps tpSGD's temporaries grow by less than 5 %, BP's at least threefold",
        ours[-1] < 1.05 * ours[0] and theirs[-1] > 3 * theirs[0],
        f"{ours[0]:.2f} to {ours[-1]:.2f} MB, BP {theirs[0]:.2f} to {theirs[-1]:.2f} MB",
    )


def figure(table: Mapping[str, Any]) -> Any:
    """Accuracy by network and rule, and memory by depth."""
    from matplotlib.figure import Figure

    accuracy: dict[str, dict[str, Any]] = {}
    for row in table["rows"]:
        network, method = row["name"].rsplit(" ", 1)
        if "accuracy" in row["metrics"]:
            accuracy.setdefault(network, {})[method] = row["metrics"]["accuracy"]
    drawing = Figure(figsize=(14, 4.5), layout="constrained")
    left, right = drawing.subplots(1, 2, width_ratios=(4, 1))
    methods = list(dict.fromkeys(method for cells in accuracy.values() for method in cells))
    for k, method in enumerate(methods):
        places = [i for i, cells in enumerate(accuracy.values()) if method in cells]
        cells = [own[method] for own in accuracy.values() if method in own]
        shift = (k - (len(methods) - 1) / 2) * 0.8 / len(methods)
        left.errorbar(
            [i + shift for i in places],
            [cell["mean"] for cell in cells],
            [cell["std"] or 0 for cell in cells],
            fmt="o",
            capsize=3,
            label=method,
        )
    left.set_xticks(range(len(accuracy)), list(accuracy), rotation=30, ha="right")
    left.set_ylabel("test accuracy, %")
    left.legend(ncols=5, fontsize="small", loc="lower left")
    left.set_ylim(bottom=0)
    for row in table["rows"]:
        if row["name"].startswith("depth"):
            cells = {int(name[8:]): cell["mean"] for name, cell in row["metrics"].items()}
            sizes = sorted(cells)
            label = row["name"].removeprefix("depth ")
            right.plot(sizes, [cells[size] for size in sizes], "o-", label=label)
    right.set_xlabel("hidden layers")
    right.set_ylabel("temporaries of a step, MB")
    right.set_ylim(bottom=0)
    right.legend()
    return drawing
