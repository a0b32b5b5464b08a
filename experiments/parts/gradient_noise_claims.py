"""What the tables of `gradient_noise.py` should show."""

from experiments.harness import Claim, Measured

METRICS: dict[str, str] = {
    "best": "test accuracy of the restart with the best validation accuracy, %",
    "mean": "test accuracy, mean over restarts, %",
    "success": "restarts with 0.9 of `best` or more that beat always giving the most frequent "
    "answer, %",
    "under_*": "restarts wrong on fewer than so many % of the longer exercises, number",
    "weight": "largest absolute weight of the hidden layers at the end, in any restart",
    "classes": "most classes that a restart names on the test images, number",
    "same_length": "exercises of the longest trained length with right results, mean over "
    "restarts, %",
    "digits": "right digits in the results of the longer exercises, mean over restarts, %",
    "switched": "step that ended the linear start, mean over restarts (-1 where none did)",
}


def claims(measured: Measured) -> list[Claim]:
    """What noise should and should not change at this scale."""
    stuck = [name for name in measured.rows if name.startswith("zeros") and "noise" not in name]
    if not stuck:
        return []
    weights, classes = (
        [value for name in stuck for value in measured.values(name, metric)]
        for metric in ("weight", "classes")
    )
    found = [
        Claim(
            "zeros-stay-zeros",
            "without noise a network of zeros keeps all hidden weights at exactly 0 and names one "
            "class, in every restart",
            set(weights) == {0.0} and set(classes) == {1.0},
            f"largest weight {max(weights):g}, classes {max(classes):g}",
            presets=("smoke", "small", "paper"),
        )
    ]
    if measured.preset != "small":
        return found
    best = measured.values("zeros, noise", "best")
    gain = measured.gap("simple, noise", "simple", "mean")
    same = measured.gap("he, little noise", "he", "mean")
    kind = measured.gap("simple, noise", "simple, constant noise", "mean")
    shown = lambda *names: ", ".join(measured.show(name, "mean") for name in names)
    return [
        *found,
        Claim(
            "noise-trains-zeros",
            "with noise the best restart from zeros reaches 50 %, for every seed",
            min(best) >= 50,
            f"best restarts {', '.join(f'{value:.1f}' for value in best)} %",
            presets=("small",),
        ),
        Claim(
            "noise-helps-a-simple-start",
            "mean accuracy from N(0, 0.1^2) is at least 20 points higher with noise",
            gain >= 20,
            f"{gain:+.2f}: {shown('simple, noise', 'simple')}",
            presets=("small",),
        ),
        Claim(
            "good-starts-need-none",
            "from He's start little noise (variance 0.01) costs at most 5 points of mean accuracy",
            same >= -5,
            f"{same:+.2f}: {shown('he, little noise', 'he', 'he, noise')}",
            presets=("small",),
        ),
        Claim(
            "annealing-helps",
            "mean accuracy from N(0, 0.1^2) is at least 20 points higher with annealed than with "
            "constant noise",
            kind >= 20,
            f"{kind:+.2f}: {shown('simple, noise', 'simple, constant noise')}",
            presets=("small",),
        ),
    ]
