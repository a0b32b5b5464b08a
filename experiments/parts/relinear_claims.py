"""What the table of ReLinear should show, and its figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.harness import Claim, Measured
from experiments.harness.dots import panel

METRICS: dict[str, str] = {
    "accuracy": "of test points or images, %; deep: mean of 5 networks; checkpoint: 1000 images of "
    "CIFAR-10",
    "validation": "of validation points or images, %; the best rate is chosen by it",
    "parameters": "number of the network's parameters, those that rate 0 leaves as they are "
    "included",
    "rmse": "root mean square error on test points of the wave, whose values lie between -1 and 1",
    "diverged": "share of 5 networks with weights not finite or training accuracy below 60 %, from "
    "0 to 1",
    "difference": "largest between logits of ResNet-20 and of a QResNet-20 that contains it, on "
    "100 test images",
}


def claims(measured: Measured) -> list[Claim]:
    """What the method should show at this scale."""
    if CONVENTIONAL in measured.rows:
        return _paper_claims(measured)
    if "checkpoint" not in measured.rows:
        return []
    return [*_plane_claims(measured), *_digits_claims(measured), _checkpoint_claim(measured)]


def _plane_claims(measured: Measured) -> list[Claim]:
    one = {form: measured.values(f"neuron: {form}", "accuracy") for form in NEURONS}
    deep = {name: measured.mean(f"deep: {name}", "diverged") for name in DEEP}
    show = lambda found: ", ".join(f"{name} {value:.3g}" for name, value in found.items())
    means = {form: float(np.mean(values)) for form, values in one.items()}
    quadratic = min(min(one["quadratic"]), min(one["compact"]))
    return [
        Claim(
            "one-neuron",
            "one quadratic neuron tells a disc from its ring (above 98 %), a linear one cannot "
            "(below 70 %)",
            quadratic > 98 and max(one["conventional"]) < 70,
            show(means),
            presets=("small",),
        ),
        Claim(
            "random-start-collapses",
            "12 quadratic layers without normalisation fail to train from random branches in at "
            "least 4 of 5 networks, from the ReLinear start in at most 1 of 5",
            deep["random start"] >= 0.8 and deep["quadratic, sg 0.01"] <= 0.2,
            f"share that failed: {show(deep)}",
            presets=("small",),
        ),
    ]


NEURONS = ("conventional", "compact", "quadratic")
DEEP = ("conventional", "random start", "random start, clipped", "quadratic, sg 0.01")


def _digits_claims(measured: Measured) -> list[Claim]:
    sweep = [f"digits: sg {gamma}" for gamma in ("0", "0.0001", "0.01", "1")]
    best = max(sweep, key=lambda row: measured.mean(row, "validation"))
    accuracy = {row: measured.mean(row, "accuracy") for row in [*sweep, "digits: conventional"]}
    plain = accuracy["digits: conventional"]
    return [
        Claim(
            "never-below-conventional",
            "the rate that validation chooses is at most half a point below rate 0",
            accuracy[best] >= accuracy[sweep[0]] - 0.5,
            f"{measured.show(best, 'accuracy')}, {measured.show(sweep[0], 'accuracy')}",
            presets=("small",),
        ),
        Claim(
            "rate-0-is-conventional",
            "at rate 0 the quadratic network ends as the conventional one, within half a point",
            abs(accuracy[sweep[0]] - plain) <= 0.5,
            f"{accuracy[sweep[0]]:.2f} and {plain:.2f} %",
            presets=("small",),
        ),
        Claim(
            "rate-1-collapses",
            "at rate 1 accuracy is at least 10 points below rate 0",
            accuracy[sweep[3]] <= accuracy[sweep[0]] - 10,
            f"{measured.show(sweep[3], 'accuracy')}, {measured.show(sweep[0], 'accuracy')}",
            presets=("small",),
        ),
    ]


def _paper_claims(measured: Measured) -> list[Claim]:
    sweep = [row for row in measured.rows if row.startswith("QResNet-20 sg ")]
    best = max(sweep, key=lambda row: measured.mean(row, "validation"))
    still, full = "QResNet-20 sg 0", "QResNet-20 sg 1"
    beside = lambda other: f"{measured.show(best, 'accuracy')}, {measured.show(other, 'accuracy')}"
    return [
        Claim(
            "accuracy-rises-with-the-rate",
            "the rate that validation chooses is above rate 0",
            measured.gap(best, still, "accuracy") > 0,
            beside(still),
            presets=("paper",),
        ),
        Claim(
            "accuracy-collapses-at-rate-1",
            "rate 1 is below rate 0",
            measured.gap(full, still, "accuracy") < 0,
            f"{measured.show(full, 'accuracy')}, {measured.show(still, 'accuracy')}",
            presets=("paper",),
        ),
        Claim(
            "better-than-conventional",
            "the quadratic network at the rate that validation chooses is above the conventional "
            "one",
            measured.gap(best, CONVENTIONAL, "accuracy") > 0,
            beside(CONVENTIONAL),
            "it has three times the parameters of the conventional one, so that it may overfit",
            presets=("paper",),
        ),
    ]


CONVENTIONAL = "QResNet-20 conventional"


def _checkpoint_claim(measured: Measured) -> Claim:
    value = lambda name: measured.mean("checkpoint", name)
    return Claim(
        "trained-start",
        "the published ResNet-20 gives the same logits from the linear path of a QResNet-20, and "
        "its known accuracy on these images (81 %) within 3 points",
        value("difference") < 1e-3 and abs(value("accuracy") - 81) <= 3,
        f"largest difference {value('difference'):.1e}, accuracy {value('accuracy'):.1f} %",
        presets=("small",),
    )


def figure(table: Mapping[str, Any]) -> Any:
    """The sweep of the rate, the arms on digits, and the problems in the plane."""
    from matplotlib.figure import Figure

    found = {row["name"]: row["metrics"] for row in table["rows"]}
    drawing = Figure(figsize=(13, 4.2), layout="constrained")
    sweep, arms, plane = drawing.subplots(1, 3)
    prefix = next((p for p in ("digits: ", "QResNet-20 ") if p + "sg 0" in found), "digits: ")
    rates = [name for name in found if name.startswith(prefix + "sg ")]
    cells = [found[name]["accuracy"] for name in rates]
    places = range(len(rates))
    means, spreads = ([cell[part] or 0.0 for cell in cells] for part in ("mean", "std"))
    sweep.errorbar(places, means, spreads, fmt="o-", capsize=3, label="quadratic, ReLinear-sg")
    if prefix + "conventional" in found:
        level = found[prefix + "conventional"]["accuracy"]["mean"]
        sweep.axhline(level, color="k", linestyle="--", linewidth=1, label="conventional")
    sweep.set_xticks(list(places), [name.removeprefix(prefix + "sg ") for name in rates])
    sweep.set(xlabel="rate of the quadratic parameters", ylabel="test accuracy, %")
    sweep.legend(frameon=False)
    rows, accuracy = table["rows"], "test accuracy, %"
    panel(arms, _named(rows, (prefix,), prefix), "accuracy", accuracy)
    panel(plane, _named(rows, ("neuron: ", "spiral: ", "deep: ")), "accuracy", accuracy)
    return drawing


def _named(
    rows: Sequence[Mapping[str, Any]], starts: tuple[str, ...], prefix: str = ""
) -> list[dict[str, Any]]:
    """The rows whose names start so, without the prefix in their names."""
    kept = [row for row in rows if row["name"].startswith(starts)]
    return [{**row, "name": row["name"].removeprefix(prefix)} for row in kept]
