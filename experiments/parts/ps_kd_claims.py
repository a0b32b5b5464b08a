"""What the table of PS-KD is judged by."""

from experiments.harness import Claim, Measured

METRICS: dict[str, str] = {
    "error": "of test images after the last epoch, %",
    "nll": "mean negative log-likelihood of the same images, nats",
    "ece": "expected calibration error on them, 10 bins as in the paper, x 100",
    "aurc": "area under the risk-coverage curve (error of the most confident) on them, x 1000",
    "e_aurc": "AURC above the least that as many errors allow, x 1000",
    "top5": "of the same images those whose label is not among the 5 most probable classes, %",
}


def claims(measured: Measured) -> list[Claim]:
    """The margins were set before any seed of the table was trained."""
    if "PS-KD" not in measured.rows:
        return []
    mean = lambda metric, row="PS-KD": measured.mean(row, metric)
    show = lambda metric, *names: ", ".join(measured.show(row, metric) for row in names)
    both = ("PS-KD", "CE")
    return [
        Claim(
            "likelier",
            "PS-KD's negative log-likelihood is at least 10 % below that of cross-entropy",
            mean("nll") <= 0.9 * mean("nll", "CE"),
            show("nll", *both),
            "cross-entropy may not have overfitted",
        ),
        Claim(
            "calibrated",
            "PS-KD's calibration error is at least 10 % below that of cross-entropy",
            mean("ece") <= 0.9 * mean("ece", "CE"),
            show("ece", *both),
            "soft targets can make a network that does not overfit underconfident",
        ),
        Claim(
            "ranks-its-confidence",
            "PS-KD's AURC is at most 1 % above that of cross-entropy",
            mean("aurc") <= 1.01 * mean("aurc", "CE"),
            show("aurc", *both),
        ),
        Claim(
            "as-accurate",
            "PS-KD's error is at most 0.3 points above that of cross-entropy",
            mean("error") <= mean("error", "CE") + 0.3,
            show("error", *both),
        ),
    ]
