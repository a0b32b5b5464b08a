"""The figure that most tables need: one bar per row with its spread and the published value."""

from collections.abc import Mapping, Sequence
from typing import Any


def bars(table: Mapping[str, Any], metrics: Mapping[str, str], colours: Sequence[str] = ()) -> Any:
    """Draw one panel per metric with a horizontal bar for every row that has it.

    Whiskers are the sample standard deviation over seeds, a cross is the paper's figure. The axis
    starts at zero only where values come near it, so read lengths by the numbers at the bars.

    Args:
        table: the JSON of a table.
        metrics: label of the axis by metric; one that no row has gets no panel.
        colours: one per row; all alike by default.
    """
    from matplotlib.figure import Figure

    rows = table["rows"]
    metrics = {m: label for m, label in metrics.items() if any(m in r["metrics"] for r in rows)}
    drawing = Figure(figsize=(4.6 * len(metrics), 0.36 * len(rows) + 1.1), layout="constrained")
    panels = drawing.subplots(1, len(metrics), squeeze=False)[0]
    for axes, (metric, label) in zip(panels, metrics.items(), strict=True):
        panel(axes, rows, metric, label, colours)
    return drawing


def panel(
    axes: Any,
    rows: Sequence[Mapping[str, Any]],
    metric: str,
    label: str,
    colours: Sequence[str] = (),
) -> None:
    """Draw the bars of one metric on given axes; `rows` are rows of a table, the first on top."""
    chosen = [(row, colours[i] if colours else "C0") for i, row in enumerate(rows)]
    chosen = [(row, colour) for row, colour in reversed(chosen) if metric in row["metrics"]]
    shown, own = [row for row, _ in chosen], [colour for _, colour in chosen]
    means = [row["metrics"][metric]["mean"] or 0.0 for row in shown]
    stds = [row["metrics"][metric]["std"] or 0.0 for row in shown]
    names = [row["name"] for row in shown]
    drawn = axes.barh(names, means, xerr=stds, color=own, height=0.62, capsize=2)
    published = [(row["paper"][metric], row["name"]) for row in shown if metric in row["paper"]]
    if published:
        axes.plot(*zip(*published, strict=True), "kx", label="paper")
        axes.legend(fontsize="small")
    axes.margins(x=0.25)
    low, high = min(means), max(means)
    if low > 0.5 * high:
        left = low - 0.6 * (high - low) - max(stds) - 0.01 * high
        axes.set_xlim(left, high + max(stds) + 0.25 * (high - left))
    axes.bar_label(
        drawn,
        fmt=lambda value: f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}",
        padding=4,
        fontsize="small",
    )
    axes.set_xlabel(label)
