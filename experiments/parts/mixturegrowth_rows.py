"""The rows of MixtureGrowth's table."""

from dataclasses import replace
from functools import partial
from typing import Any

from experiments.harness import Row

MODES = {
    "orthogonal": "orthogonal",
    "copy": "copy",
    "zero": "zero",
    "none": "none",
    "random blocks": "blocks",
    "random coefficients": "random",
}


def rows(config: Any) -> list[Row]:
    """The target, the members, MixtureGrowth in all modes, and Net2WiderNet."""
    of = partial(replace, config)
    table = {
        "target from scratch": of(method="scratch"),
        "member 0": of(method="member"),
        "member 0, trained on": of(method="continued"),
        "ensemble": of(method="ensemble"),
    }
    grown = {f"MixtureGrowth, {name}": of(growth=mode) for name, mode in MODES.items()}
    if config.dataset == "cifar10" and config.width == 1:
        del grown["MixtureGrowth, random coefficients"]
    table |= grown | {"Net2WiderNet": of(method="net2wider")}
    if config.dataset == "digits":  # smoke: every option once
        table["MixtureGrowth, options"] = of(
            sets=(0, 1, 1, 0), both=0.1, first_share=0.5, keep_momentum=False
        )
        table["MixtureGrowth, more options"] = of(second="copied", extra=1, held="members")
    if config.width > 1:
        table["target from scratch, 200 epochs"] = of(method="scratch", matched=False)
        table["MixtureGrowth, sets swapped"] = of(sets=(0, 1, 1, 0))
        table["MixtureGrowth, momentum restarted"] = of(keep_momentum=False)
        table["MixtureGrowth, both in phase 2"] = of(both=0.1)
        table["MixtureGrowth, half of the data first"] = of(first_share=0.5)
        table["MixtureGrowth, member 1 from member 0"] = of(second="copied")
        table["MixtureGrowth, a template more"] = of(extra=1)
        table["MixtureGrowth, members' coefficients held"] = of(held="members")
        table["MixtureGrowth, coefficients of the ends held"] = of(held="ends")
    return [Row(name, own) for name, own in table.items()]
