"""What the table of boosted networks should show."""

import numpy as np

from experiments.harness import Claim, Measured

METRICS: dict[str, str] = {
    "accuracy": "of test examples, mean over a seed's folds, %",
    "accuracy half": "the same with the first half of the boosting stages alone, %",
    "accuracy random half": "the same with a random half of the hidden units, mean of 10 draws, %",
    "rmse": "root mean squared error on test examples, mean over a seed's folds, target's unit",
    "rmse half": "the same with the first half of the boosting stages alone, target's unit",
    "rmse random half": "the same with a random half of the hidden units, mean of 10 draws, "
    "target's unit",
    "accuracy linear head": "of the network that gave the features (perceptron, ResNet-20), by its "
    "own last layer, %",
}
SMALL_SETS = ("breast-cancer", "sonar", "ionosphere", "digits", "energy", "concrete")
DEEP = {
    "digits": ("on-deep-features", "a perceptron"),
    "cifar10": ("on-convolutional-features", "the published ResNet-20"),
}
"""Networks whose last layer boosting replaces, by data set, with the claim about each."""
METHODS = ("gbnn", "adam", "sgd", "lbfgs")


def claims(measured: Measured) -> list[Claim]:
    """What boosting should show at this scale."""
    if f"{SMALL_SETS[0]}, adam" not in measured.rows:
        return []
    classed = [n for n in SMALL_SETS if "accuracy" in measured.rows[f"{n}, gbnn"]]
    near = {name: _near(measured, name, name in classed) for name in SMALL_SETS}
    mean = lambda method, metric: float(
        np.mean([measured.mean(f"{name}, {method}", metric) for name in classed])
    )
    whole, half = mean("gbnn", "accuracy"), mean("gbnn", "accuracy half")
    loss = mean("adam", "accuracy") - mean("adam", "accuracy random half")
    ours = lambda name, metric: measured.mean(f"{name}, gbnn", metric)
    change = {n: ours(n, "accuracy") - ours(n, "accuracy half") for n in classed}
    tops = {n: measured.mean(f"{n}, deep", "accuracy") for n in DEEP}
    heads = {n: measured.mean(f"{n}, deep", "accuracy linear head") for n in DEEP}
    return [
        Claim(
            "as-good-as-joint-training",
            "within 2 points (or 10 % of RMSE) of the best of Adam, SGD and L-BFGS on at least 4 "
            "of 6 tables",
            sum(ok for ok, _ in near.values()) >= 4,
            "; ".join(f"{name} {text}" for name, (_, text) in near.items()),
            presets=("small",),
        ),
        Claim(
            "half-the-units-suffice",
            "the first half of the units loses at most 1 point of accuracy on average",
            whole - half <= 1,
            f"{whole:.2f} with all, {half:.2f} with half",
            presets=("small",),
        ),
        Claim(
            "random-halves-lose-more",
            "a random half of an Adam-trained network loses more accuracy than the last half of a "
            "boosted one, on average",
            loss > whole - half,
            f"random half {loss:.2f} points, last half {whole - half:.2f}",
            presets=("small",),
        ),
        Claim(
            "does-not-overgrow",
            "from T/2 to T stages accuracy falls by at most 1 point on average",
            whole - half >= -1,
            ", ".join(f"{name} {points:+.2f}" for name, points in change.items()),
            presets=("small",),
        ),
        *(
            Claim(
                identity,
                f"boosting on frozen features of {network} is within 1 point of its own "
                "linear head",
                tops[name] >= heads[name] - 1,
                f"boosted {tops[name]:.2f}, linear head {heads[name]:.2f}",
                presets=("small",),
            )
            for name, (identity, network) in DEEP.items()
        ),
    ]


def _near(measured: Measured, name: str, classes: bool) -> tuple[bool, str]:
    metric = "accuracy" if classes else "rmse"
    values = [measured.mean(f"{name}, {method}", metric) for method in METHODS]
    ours, best = values[0], max(values[1:]) if classes else min(values[1:])
    ok = ours >= best - 2 if classes else ours <= 1.1 * best
    return ok, f"{ours:.4g} against {best:.4g}"
