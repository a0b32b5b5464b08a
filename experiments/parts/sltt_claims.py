"""What the table of SLTT is judged by, and its figure."""

from collections.abc import Mapping
from typing import Any

from experiments.harness import Claim, Measured
from experiments.harness.dots import panel

METRICS: dict[str, str] = {
    "accuracy": "of test images or sounds after the last step, %",
    "time_vs_sltt": "time of a training step over SLTT's, median of timings in turn; 1 by "
    "definition for SLTT itself",
    "temp_mb_*": "temporaries that XLA reserves for a training step over so many time steps, MB",
    "cosine": "between SLTT's gradient and BPTT's on one training batch, mean of evaluations "
    "during training",
}


def claims(measured: Measured) -> list[Claim]:
    """The margins were set before any seed of the table was trained."""
    gap = measured.gap("SLTT", "BPTT", "accuracy")
    names = sorted(
        (name for name in measured.rows["SLTT"] if name.startswith("temp_mb_")),
        key=lambda name: int(name.removeprefix("temp_mb_")),
    )
    memory = {row: [measured.mean(row, name) for name in names] for row in ("SLTT", "BPTT")}
    longest = names[-1].removeprefix("temp_mb_")
    times = [measured.mean(row, "time_vs_sltt") for row in ("SLTT", "SLTT-2", "SLTT-1")]
    cosine = measured.mean("SLTT", "cosine")
    full = ("small", "paper", "cifar100")
    everywhere = ("smoke", *full)
    return [
        Claim(
            "as-accurate-as-bptt",
            "SLTT's mean accuracy is no more than 2 points below BPTT's",
            gap >= -2,
            f"{gap:+.2f}: {measured.show('SLTT', 'accuracy')}, {measured.show('BPTT', 'accuracy')}",
            presets=full,
        ),
        Claim(
            "memory-flat-in-T",
            f"SLTT's temporaries grow by less than 5 % up to T = {longest}",
            max(memory["SLTT"]) < 1.05 * min(memory["SLTT"]),
            f"{', '.join(f'{mb:.1f}' for mb in memory['SLTT'])} MB",
            presets=everywhere,
        ),
        Claim(
            "less-memory-than-bptt",
            "SLTT reserves less than BPTT at every T >= 4",
            all(
                ours < theirs
                for name, ours, theirs in zip(names, memory["SLTT"], memory["BPTT"], strict=True)
                if int(name.removeprefix("temp_mb_")) >= 4
            ),
            f"BPTT {', '.join(f'{mb:.1f}' for mb in memory['BPTT'])} MB",
            presets=everywhere,
        ),
        Claim(
            "time-falls-with-K",
            "a step of SLTT-2 takes less time than SLTT's, one of SLTT-1 less than SLTT-2's",
            times[0] > times[1] > times[2],
            f"{times[0]:.2f}, {times[1]:.2f}, {times[2]:.2f} of SLTT's step",
            presets=full,
        ),
        Claim(
            "gradients-agree",
            "the mean cosine between SLTT's gradient and BPTT's is above 0.95",
            cosine > 0.95,
            f"{cosine:.4f}",
            presets=full,
        ),
        *_sounds(measured),
    ]


def _sounds(measured: Measured) -> list[Claim]:
    """Where the leak is weak, what SLTT leaves out matters; only on frames that differ."""
    row = "sounds, tau {}, {}".format
    if row(2.0, "BPTT") not in measured.rows:
        return []
    gaps = [measured.gap(row(tau, "BPTT"), row(tau, "SLTT"), "accuracy") for tau in (1.1, 2.0)]
    cosines = [measured.mean(row(tau, "SLTT"), "cosine") for tau in (1.1, 2.0)]
    return [
        Claim(
            "gap-opens-with-tau",
            "sounds: BPTT gains more over SLTT at tau = 2 than at tau = 1.1",
            gaps[1] > gaps[0],
            f"{gaps[1]:+.2f} and {gaps[0]:+.2f} points",
            "what is lost may not be what these sounds are told apart by",
        ),
        Claim(
            "cosine-falls-with-tau",
            "sounds: SLTT's gradient is further from BPTT's at tau = 2 than at tau = 1.1",
            cosines[1] < cosines[0],
            f"cosines {cosines[1]:.4f} and {cosines[0]:.4f}",
        ),
    ]


def figure(table: Mapping[str, Any]) -> Any:
    """Accuracy by row, time of a step by row, and memory against T."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(15, 1.2 + 0.3 * len(table["rows"])), layout="constrained")
    left, middle, right = drawing.subplots(1, 3)
    panel(left, table["rows"], "accuracy", "test accuracy, %")
    panel(middle, table["rows"], "time_vs_sltt", "time of a training step, SLTT = 1")
    for row in table["rows"]:
        cells = {int(k[8:]): v for k, v in row["metrics"].items() if k.startswith("temp_mb_")}
        if len(cells) > 1:
            means = [cells[T]["mean"] for T in sorted(cells)]
            right.plot(sorted(cells), means, "o-", label=row["name"])
    right.set_xlabel("time steps T")
    right.set_ylabel("temporaries of a step, MB")
    right.set_xscale("log", base=2)
    right.set_yscale("log")
    right.legend(fontsize="small")
    return drawing
