"""The claims of `lth_rewinding.py`."""

from experiments.harness import Claim, Measured

POINTS = ("rewind to 0", "rewind to 40", "rewind to 160")
MEASURES = ("pruning distance", "order distance", "pruning angle", "order angle")


def claims(measured: Measured) -> list[Claim]:
    """What tickets should show at this scale."""
    found = [_density(measured)]
    if "resnet20 rewind to 0" in measured.rows:
        found += _late_rewinding(measured)
    if POINTS[1] not in measured.rows:
        return found
    return [*found, _over_random(measured), _over_new(measured), *_stable(measured)]


def _late_rewinding(measured: Measured) -> list[Claim]:
    """What the paper is about: a deep network needs a later step than 0 to rewind to."""
    late = next(p for k in (500, 1000) if (p := f"resnet20 rewind to {k}") in measured.rows)
    first, presets = "resnet20 rewind to 0", ("middle", "paper")
    show = lambda name: ", ".join(f"{p}: {measured.show(p, name)}" for p in (first, late))
    mean = measured.mean
    return [
        Claim(
            "late-rewinding",
            "tickets of ResNet-20 that are rewound to a later step are better than to step 0",
            mean(late, "ticket") > mean(first, "ticket"),
            show("ticket"),
            presets=presets,
        ),
        Claim(
            "late-over-random",
            "and better than random masks with the same counts in every layer",
            mean(late, "ticket") > mean(late, "random layer"),
            f"{measured.show(late, 'ticket')}, {measured.show(late, 'random layer')}",
            presets=presets,
        ),
        Claim(
            "barrier-falls",
            "the rise of error between two data orders is lower for the later step",
            mean(late, "barrier, ticket") < mean(first, "barrier, ticket"),
            show("barrier, ticket"),
            presets=presets,
        ),
    ]


def _density(measured: Measured) -> Claim:
    rows = {name: row["density"] for name, row in measured.rows.items()}
    apart = {name: max(d) - min(d) for name, d in rows.items() if max(d) != min(d)}
    text = "every seed of a row ends with the same number of weights"
    shown = ", ".join(f"{name} {100 * d[0]:.2f} %" for name, d in rows.items())
    return Claim("density", text, not apart, shown, presets=("smoke", "small", "middle", "paper"))


def _over_random(measured: Measured) -> Claim:
    gaps = _gaps(measured, "random layer")
    text = "tickets are at least 1 point above random masks with the same counts in every layer"
    return Claim("over-random", text, min(gaps.values()) >= 1, _shown(gaps), presets=("small",))


def _over_new(measured: Measured) -> Claim:
    gaps = _gaps(measured, "re-initialised")
    text = "tickets are above their own masks with new initial weights"
    return Claim("over-new-weights", text, min(gaps.values()) > 0, _shown(gaps), presets=("small",))


def _stable(measured: Measured) -> list[Claim]:
    found = []
    for measure in MEASURES:
        pairs = {
            point: [measured.mean(point, f"{measure}, {name}") for name in ("ticket", "random")]
            for point in POINTS
        }
        shown = "; ".join(f"{p}: {t:.3g} and {r:.3g}" for p, (t, r) in pairs.items())
        name = measure.replace(" ", "-")
        found.append(
            Claim(
                f"{name}-below-random",
                f"{measure}: at every k tickets end closer together than random masks",
                all(ticket < random for ticket, random in pairs.values()),
                shown,
                presets=("small",),
            )
        )
        tickets = [ticket for ticket, _ in pairs.values()]
        found.append(
            Claim(
                f"{name}-falls-with-k",
                f"{measure} of tickets falls with k (in part because fewer steps remain)",
                tickets == sorted(tickets, reverse=True),
                " > ".join(f"{ticket:.3g}" for ticket in tickets),
                "tickets of so small a network end close together from step 0 on: the differences "
                "between rewind points are smaller than the spread between seeds",
                presets=("small",),
            )
        )
    return found


def _gaps(measured: Measured, other: str) -> dict[str, float]:
    return {p: measured.mean(p, "ticket") - measured.mean(p, other) for p in POINTS}


def _shown(gaps: dict[str, float]) -> str:
    return ", ".join(f"{point}: {gap:+.2f}" for point, gap in gaps.items())
