"""The rows of SLTT's tables; `config` is `sltt.Config`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from experiments.harness import Row


def compared(config: Any, known: Mapping[str, float]) -> list[Row]:
    """Through time, checkpointed, and SLTT with fewer and fewer teaching steps."""
    methods = {
        "BPTT": replace(config, method="bptt"),
        "BPTT checkpointed": replace(config, method="bptt_checkpointed", trained=False),
        "SLTT": config,
        "SLTT-2": replace(config, K=2),
        "SLTT-1": replace(config, K=1),
    }
    return [
        Row(name, own, {"accuracy": known[name]} if name in known else {})
        for name, own in methods.items()
    ]


def varied(config: Any) -> list[Row]:
    """A truncated gradient, other surrogates and losses."""
    config = replace(config, lengths=(config.T,))
    return [
        Row("BPTT through 2 steps", replace(config, method="truncated")),
        Row("SLTT, rectangle", replace(config, surrogate="rectangle")),
        Row("SLTT, sigmoid", replace(config, surrogate="sigmoid")),
        Row("SLTT, cross-entropy alone", replace(config, mse_share=0.0)),
        Row("SLTT, squares to the label", replace(config, mse_target="one-hot")),
    ]


def sounds(config: Any) -> list[Row]:
    """Spoken digits, whose frames differ, at a strong and a weak leak."""
    table = []
    for tau in (1.1, 2.0):
        sound = replace(
            config,
            network="mlp",
            dataset="spoken_digits",
            T=80,
            tau=tau,
            duration="10ep",
            shrink=1,
            train=None,
            test=None,
            lengths=(80,),
        )
        named = {
            "BPTT": replace(sound, method="bptt"),
            "SLTT": sound,
            "OTTT": replace(sound, method="ottt"),
        }
        table += [Row(f"sounds, tau {tau}, {name}", own) for name, own in named.items()]
    return table
