"""The figure that most tables need: one line per row with mean, spread and published value."""

from collections.abc import Mapping, Sequence
from typing import Any


def dots(table: Mapping[str, Any], metrics: Mapping[str, str], colours: Sequence[str] = ()) -> Any:
    """Draw one panel per metric with a line for every row that has it.

    A dot is the mean, whiskers are the sample standard deviation over seeds, strokes the seeds, a
    cross is the paper's figure. The means stand at the right.

    Args:
        table: the JSON of a table.
        metrics: label of the axis by metric; one that no row has gets no panel.
        colours: one per row; all alike by default.
    """
    from matplotlib.figure import Figure

    rows = table["rows"]
    metrics = {m: label for m, label in metrics.items() if any(m in r["metrics"] for r in rows)}
    width = 3.2 + 0.08 * max(len(row["name"]) for row in rows)  # of a panel and the names beside it
    size = (width * len(metrics), 0.32 * len(rows) + 1.0)
    drawing = Figure(figsize=size, layout="constrained")
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
    """Draw one metric on given axes; `rows` are rows of a table, the first on top."""
    chosen = [(row, colours[i] if colours else "C0") for i, row in enumerate(rows)]
    chosen = [(row, colour) for row, colour in reversed(chosen) if metric in row["metrics"]]
    shown, own = [row for row, _ in chosen], [colour for _, colour in chosen]
    cells = [row["metrics"][metric] for row in shown]
    means = [cell["mean"] or 0.0 for cell in cells]
    stds = [cell["std"] or 0.0 for cell in cells]
    places = range(len(shown))
    axes.hlines(places, 0, 1, transform=axes.get_yaxis_transform(), color="0.85", lw=0.6, zorder=0)
    ends = zip(*((m - s, m + s) for m, s in zip(means, stds, strict=True)), strict=True)
    axes.hlines(places, *ends, colors=own)
    axes.scatter(means, places, c=own, s=22)
    for place, cell in enumerate(cells):
        values = [value for value in cell.get("values", ()) if value is not None]
        axes.plot(values, [place] * len(values), "|", color=own[place])
    published = [(row["paper"][metric], i) for i, row in enumerate(shown) if metric in row["paper"]]
    if published:
        axes.plot(*zip(*published, strict=True), "kx", label="paper")
        axes.legend(fontsize="small")
    axes.set_yticks(places, [row["name"] for row in shown])
    axes.margins(x=0.08)
    beside = axes.secondary_yaxis("right")
    beside.set_yticks(places, [f"{m:.3g}" if abs(m) < 1000 else f"{m:.0f}" for m in means])
    beside.tick_params(length=0, labelsize="small")
    axes.set_xlabel(label)
