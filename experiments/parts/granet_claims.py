"""What the tables of `granet.py` should show."""

from experiments.harness import Claim, Measured
from experiments.parts.granet_plasticity import KINDS

METRICS: dict[str, str] = {
    "accuracy": "of test images after the last step, %",
    "density": "share of the weights, biases aside, that is active, 0 to 1",
    "excess": "active weights more than the target density allows (0 is exact), number",
    "stray": "weights that are inactive and yet not zero, number",
    "recovery": "test accuracy after a prune of 80 % and training on, less that before it, points",
    "dense": "gain in test accuracy by training on from the checkpoint, nothing pruned, points",
    "global * %": "the same gain with so many % of the weights pruned first, over all layers "
    "together, points",
    "uniform * %": "the same gain with so many % of every layer's weights pruned first, points",
    "grow global * %": "as `global`, but as many weights are grown again from 0 in each layer, "
    "points",
    "grow uniform * %": "as `uniform`, but as many weights are grown again from 0 in each layer, "
    "points",
}


def claims(measured: Measured) -> list[Claim]:
    """What the method should show at this scale."""
    found = [_exact(measured)]
    if "pruned_early" in measured.rows:
        found += _small_claims(measured)
    if "plasticity_late" in measured.rows:
        found += [_restart(measured), _regrowth(measured)]
    return found


def _exact(measured: Measured) -> Claim:
    rows = {name: row for name, row in measured.rows.items() if "excess" in row}
    off = {
        name: (row["excess"], row["stray"])
        for name, row in rows.items()
        if any(row["excess"]) or any(row["stray"])
    }
    # uniform rows round in every layer by itself, and the released code keeps other counts
    other = ("uniform", "parity")
    allowed = {name for name in off if name.endswith(other) and not any(off[name][1])}
    text = "every sparse row ends with floor(N density) active weights, and zeros elsewhere"
    return Claim(
        "exact-density",
        text,
        set(off) == allowed,
        f"{len(rows)} rows, off target: {off or 'none'}",
        presets=("smoke", "small", "variants", "paper"),
    )


def _small_claims(measured: Measured) -> list[Claim]:
    def above(identity: str, row: str, other: str, margin: float) -> Claim:
        gap = measured.gap(row, other, "accuracy")
        shown = f"{measured.show(row, 'accuracy')}, {measured.show(other, 'accuracy')}"
        text = f"{row} is at least {margin:+g} points from {other} in mean accuracy"
        return Claim(identity, text, gap >= margin, f"{gap:+.2f}: {shown}", presets=("small",))

    early, late = (measured.mean(f"pruned_{when}", "recovery") for when in ("early", "late"))
    return [
        above("rigl-over-static", "rigl", "static", 0.3),
        above("granet-0-over-rigl", "granet_0", "rigl", 0.5),
        above("gmp-over-rigl", "gmp", "rigl", 0.5),
        above("granet-0.5-over-rigl", "granet_0.5", "rigl", 0.5),
        above("granet-0.5-over-static", "granet_0.5", "static", 0.3),
        Claim(
            "plasticity",
            "after pruning 80 % at once, the high learning rate recovers at least as well",
            early >= late,
            f"accuracy after minus before: early {early:+.2f}, late {late:+.2f}",
            presets=("small",),
        ),
    ]


def _restart(measured: Measured) -> Claim:
    recovered = {
        kind: [measured.mean(f"plasticity_{when}", f"{kind} 80 %") for when in ("early", "late")]
        for kind in KINDS
    }
    pairs = recovered.items()
    return Claim(
        "plasticity-restart",
        "restarted from a checkpoint after an 80 % prune of any kind, the high learning rate "
        "recovers at least as well as the low one",
        all(early >= late for early, late in recovered.values()),
        "; ".join(f"{kind}: early {early:+.2f}, late {late:+.2f}" for kind, (early, late) in pairs),
        presets=("small",),
    )


def _regrowth(measured: Measured) -> Claim:
    cases = {
        f"{when} {kind} {ratio} %": [
            measured.mean(f"plasticity_{when}", f"{form}{kind} {ratio} %") for form in ("", "grow ")
        ]
        for when in ("early", "late")
        for kind in ("global", "uniform")
        for ratio in (80, 98)
    }
    return Claim(
        "regrowth",
        "with as many weights grown again as were pruned it recovers at least as well as without",
        all(grown >= pruned for pruned, grown in cases.values()),
        "; ".join(
            f"{name}: {pruned:+.2f}, {grown:+.2f}" for name, (pruned, grown) in cases.items()
        ),
        "at this size a network pruned to a fifth gains more than a dense one, which regrowth "
        "makes it again; where the prune costs a point or more, regrowth helps",
        presets=("small",),
    )
