"""What SNNK should show at small scale; margins were fixed after a pilot."""

from experiments.harness import Claim, Measured

METRICS: dict[str, str] = {
    "slope": "exponent s of the estimate's error, m^s by the number m of features; -1/2 is "
    "expected",
    "rmse_*": "root mean square error of the estimate by so many features, over 32 random pairs of "
    "vectors",
    "accuracy": "of test images or sentences, %; uptrain: after the second training",
    "layer_params": "number trained in the compared hidden layer, or in all of a bundle or ridge "
    "regression",
    "rmse": "root mean square error on a table's test rows, in units of its target; seed s is the "
    "s-th split",
    "adapter_params": "number of trained parameters, those of the classifier left out",
    "before": "test accuracy of the ViT before layers are replaced and it is trained on, %",
    "network_params": "number of parameters of the ViT after the replacement",
}


def claims(measured: Measured) -> list[Claim]:
    """What the method should show at this scale."""
    slopes = {row: measured.mean(row, "slope") for row in measured.rows if row.startswith("kernel")}
    off = max(abs(slope + 0.5) for slope in slopes.values())
    shown = f"slopes from {min(slopes.values()):.3f} to {max(slopes.values()):.3f}"
    text = "the error of every estimator falls as m^s with s within 0.1 of -1/2"
    found = [Claim("error-slope", text, off <= 0.1, shown)]
    if "hidden relu-SNNK 64" in measured.rows:
        found += [*_layer_claims(measured), *_network_claims(measured)]
    return found


def _near(
    measured: Measured,
    identity: str,
    text: str,
    rows: tuple[str, str],
    margin: float,
    cost: str,
    fewer: float,
) -> Claim:
    """The first row is within `margin` points of the second with `fewer` times fewer parameters."""
    gap = measured.gap(*rows, "accuracy")
    ratio = measured.mean(rows[1], cost) / measured.mean(rows[0], cost)
    shown = f"{gap:+.2f} points, {ratio:.1f} times fewer parameters"
    return Claim(identity, text, gap >= -margin and ratio >= fewer, shown)


def _layer_claims(measured: Measured) -> list[Claim]:
    snnk = {m: measured.mean(f"hidden relu-SNNK {m}", "accuracy") for m in (16, 64, 256)}
    gain = measured.gap("bundle of 2, closed form", "linear ridge", "accuracy")
    tables = ("concrete", "energy", "power")
    ratios = {
        t: measured.mean(f"{t}, bundle of 2", "rmse") / measured.mean(f"{t}, linear ridge", "rmse")
        for t in tables
    }
    return [
        _near(
            measured,
            "hidden-layer",
            "256 ReLU features are within 5 points of the dense layer, at a third of its size",
            ("hidden relu-SNNK 256", "hidden dense"),
            5,
            "layer_params",
            3,
        ),
        Claim(
            "more-features",
            "accuracy rises from 16 to 64 to 256 features",
            snnk[16] < snnk[64] < snnk[256],
            ", ".join(f"{m}: {accuracy:.2f}" for m, accuracy in snnk.items()),
        ),
        Claim(
            "closed-form",
            "two bundled layers without a gradient step are 3 points above linear ridge",
            gain >= 3,
            f"{gain:+.2f} points",
            "the margin was the figure of the pilots, without slack",
        ),
        Claim(
            "tables",
            "on all three tables the bundle's error is below that of linear ridge",
            max(ratios.values()) < 1,
            ", ".join(f"{t} {ratio:.2f} of it" for t, ratio in ratios.items()),
        ),
    ]


def _network_claims(measured: Measured) -> list[Claim]:
    replaced = [measured.gap(f"uptrain {m}", "uptrain none", "accuracy") for m in ("ffn", "pooler")]
    return [
        _adapter_claim(measured),
        Claim(
            "uptraining",
            "with SNNK layers in its upper half, or as its pooler, the ViT trained on is within 3 "
            "points of itself trained on unchanged",
            min(replaced) >= -3,
            f"hidden layers {replaced[0]:+.2f}, pooler {replaced[1]:+.2f} points",
        ),
    ]


def _adapter_claim(measured: Measured) -> Claim:
    """Against the better of a bottleneck and of no adapter at all, each at its own rate."""
    other = max(
        ("adapter bottleneck", "adapter probe"), key=lambda row: measured.mean(row, "accuracy")
    )
    gap = measured.gap("adapter relu", other, "accuracy")
    size = lambda row: measured.mean(row, "adapter_params")
    ratio = size("adapter bottleneck") / size("adapter relu")
    return Claim(
        "adapter",
        "the SNNK adapter is within 1.5 points of the bottleneck or, if that is better, of the "
        "classifier alone, at half the bottleneck's size or less",
        gap >= -1.5 and ratio >= 2,
        f"{gap:+.2f} points from the {other.removeprefix('adapter ')}, {ratio:.1f} times fewer "
        "parameters than the bottleneck",
    )
