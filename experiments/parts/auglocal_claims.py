"""What the tables of `auglocal.py` should show."""

from experiments.harness import Claim, Measured

METRICS: dict[str, str] = {
    "accuracy": "of test images after the last epoch, %",
    "cka": "linear CKA with backprop's layers of the same seed, at most 500 test images, mean over "
    "layers, 0 to 1",
    "probe": "of at most 2,000 test images, by a linear classifier of the pooled middle layer (at "
    "most 5,000 to fit), %",
}
SCHEDULE = "ResNet-32, d = 3: depths 3 x 6 then 2 x 6, and the first head copies layers 5, 10, 15"


def claims(measured: Measured) -> list[Claim]:
    """What must hold of the method at any scale, and what a short training can show.

    A network is told by what stands behind the name of a method, as in "backprop, ResNet-110".
    """
    from jaxlearn.rules.auglocal import pyramid, uniform_selection

    depths, selected = pyramid(16, 3), uniform_selection(0, 16, 3)
    schedule = Claim(
        "head-schedule",
        SCHEDULE,
        depths == [3] * 6 + [2] * 6 and selected == [5, 10, 15],
        f"{depths}, {selected}",
        presets=("smoke", "small", "paper"),
    )
    networks = [name[8:] for name in measured.rows if name.startswith("backprop")]
    return [schedule, *(claim for of in networks for claim in _of_network(measured, of))]


def _of_network(measured: Measured, of: str) -> list[Claim]:
    deep = [name for name in measured.rows if name.startswith(f"auglocal{of}, d = ")]
    deep = [name for name in deep if name[-1].isdigit()]
    first, last, plain, greedy = deep[0], deep[-1], f"backprop{of}", f"greedy{of}"
    over_greedy = measured.gap(last, greedy, "accuracy")
    below = measured.gap(plain, last, "accuracy")
    with_depth = measured.gap(last, first, "accuracy")
    show = lambda *names: ", ".join(measured.show(name, "accuracy") for name in names)
    suffix = of.replace(", ", "-").lower()
    return [
        Claim(
            f"better-than-greedy{suffix}",
            "the deepest heads are at least 3 points above linear heads",
            over_greedy >= 3,
            show(last, greedy),
            "within few epochs shallow heads may learn as fast as deep ones",
        ),
        Claim(
            f"depth-helps{suffix}",
            "the deepest heads are no worse than the shallowest, within 1 point",
            with_depth >= -1,
            show(last, first),
            "within few epochs shallow heads may learn as fast as deep ones",
        ),
        Claim(
            f"near-backprop{suffix}",
            "the deepest heads are within 3 points of backprop",
            below <= 3,
            show(plain, last),
            "backprop may need fewer epochs than local learning",
        ),
        *(
            Claim(
                f"above-{name}{suffix}",
                f"evenly spaced layers are no worse in heads than {name} ones",
                measured.gap(last, f"{last}, {name}", "accuracy") >= 0,
                show(last, f"{last}, {name}"),
                presets=("paper",),
            )
            for name in ("consecutive", "repeated")
            if f"{last}, {name}" in measured.rows
        ),
    ]
