"""What the tables of `man.py` should show, and what the rows of its ablation are called."""

from collections.abc import Sequence

from experiments.harness import Claim, Measured

NONE, EMA, BIAS, BOTH = "none", "EMA", "bias block", "EMA + bias block"
METRICS: dict[str, str] = {"error": "of test images after the last epoch, %"}


def claims(measured: Measured, weights: Sequence[tuple[float, float]]) -> list[Claim]:
    """The loss weights of the authors' command, and what a short training can show.

    weights: InfoPro's on ResNet-32, K = 16, before blocks of stage 1, 2 and 3.
    """
    found = [tuple(round(w, 4) for w in pair) for pair in weights]
    expected = [(4.6429, 0.4643), (4.2857, 0.4286), (3.9286, 0.3929)]
    table = [
        Claim(
            "loss-weights",
            "InfoPro's weights on ResNet-32, K = 16: (4.643, 0.4643), (4.286, 0.4286), "
            "(3.929, 0.3929) before blocks of stage 1, 2, 3",
            found == expected,
            str(found),
            presets=("smoke", "small", "paper"),
        )
    ]
    if BOTH not in measured.rows:
        return table
    show = lambda *names: ", ".join(measured.show(name, "error") for name in names)
    gain = measured.gap(NONE, BOTH, "error")
    alone = measured.gap(NONE, EMA, "error")
    over_control = measured.gap(BIAS, BOTH, "error")
    return [
        *table,
        Claim(
            "momentum-helps",
            "copy and bias together are at least 1 point better than the host alone",
            gain >= 1,
            show(NONE, BOTH),
            "the published gains take 400 epochs and more modules",
        ),
        Claim(
            "copy-helps",
            "the moving copy alone is no worse than the host alone",
            alone >= 0,
            show(NONE, EMA),
            "in few steps the copy is little more than random features",
        ),
        Claim(
            "more-than-capacity",
            "copy and bias together are no worse than the bias alone, within 1 point",
            over_control >= -1,
            show(BIAS, BOTH),
            "the bias alone adds as many trained parameters",
        ),
    ]
