"""The figure of the SNNK table."""

from collections.abc import Mapping
from typing import Any

SIZES = ("rmse_64", "rmse_512", "rmse_4096")
KINDS = {"hidden": "o", "bundle": "s", "linear ridge": "^"}


def figure(table: Mapping[str, Any]) -> Any:
    """Errors of the estimators, and accuracies by trainable parameters of what was replaced."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = drawing.subplots(1, 2)
    shown = [row for row in table["rows"] if "slope" in row["metrics"]]
    names = [row["name"].removeprefix("kernel ") for row in shown]
    for metric in [m for m in SIZES if m in shown[0]["metrics"]]:
        values = [row["metrics"][metric]["mean"] for row in shown]
        left.plot(values, names, "o", label=f"m = {metric.removeprefix('rmse_')}")
    left.set_xscale("log")
    left.invert_yaxis()
    left.set_xlabel("root mean square error of the estimate")
    left.legend(frameon=False)
    _costs(right, table)
    return drawing


def _costs(axes: Any, table: Mapping[str, Any]) -> None:
    for i, (kind, mark) in enumerate(KINDS.items()):
        found = [row for row in table["rows"] if row["name"].startswith(kind)]
        found.sort(key=lambda row: -row["metrics"]["accuracy"]["mean"])
        for place, row in enumerate(found):
            x, y = row["metrics"]["layer_params"]["mean"], row["metrics"]["accuracy"]["mean"]
            axes.plot(x, y, mark, color=f"C{i}")
            name = row["name"].removeprefix("hidden ")
            # bundles are of one size and nearly as good: their names would lie on each other
            at = (6, 3 - 7 * place) if kind == "bundle" else (4, 3)
            side = {"ha": "right", "xytext": (-6, -3)} if mark == "^" else {"xytext": at}
            text = {"textcoords": "offset points", "fontsize": "x-small"}
            axes.annotate(name, (x, y), **side, **text)
    axes.set_xscale("log")
    axes.margins(x=0.25)
    axes.set_xlabel("trained parameters of the layer, or of the whole bundle")
    axes.set_ylabel("test accuracy, %")
