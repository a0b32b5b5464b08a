"""The rows of `tpsgd.py`; `config` is its `Config`."""

from dataclasses import replace
from typing import Any

from experiments.harness import Row
from experiments.parts.tpsgd_rates import METHODS, MODES


def rows(config: Any) -> list[Row]:
    """Every rule on every network, spoken digits, and what memory depth and length take."""
    if config.dataset == "digits":
        return _smoke_rows(config)
    paper = config.duration == "100ep"
    width, units = (1000, 128) if paper else (256, 64)
    networks = {
        "MLP-1": replace(config, network="mlp", widths=(width,)),
        "MLP-2": replace(config, network="mlp", widths=(width, width)),
        "CNN": replace(
            config, network="cnn", widths=(1000,) if paper else (128,), pool_first=not paper
        ),
        "RNN": replace(config, network="rnn", widths=(units,)),
    }
    table = [_row(name, own, method) for name, own in networks.items() for method in METHODS]
    signs = ("sign-symmetry", "sDFA")
    table += [_row(name, networks[name], m) for name in ("MLP-1", "CNN") for m in signs]
    at_the_end = replace(networks["RNN"], targets="last")
    table.append(_row("RNN, last target", at_the_end, "tpSGD-l2"))
    table.append(_row("CNN, per channel", replace(networks["CNN"], per_channel=True), "tpSGD-l2"))
    table += [_row("MLP-2", networks["MLP-2"], f"tpSGD-l2-{mode}") for mode in MODES]
    others = {
        "GRU": replace(networks["RNN"], network="gru"),
        "LSTM": replace(networks["RNN"], network="lstm"),
        "RNN-2": replace(networks["RNN"], widths=(units, units)),
    }
    table += [_row(name, own, m) for name, own in others.items() for m in ("BP", "tpSGD-l2")]
    few = {
        "MLP-4": replace(config, network="mlp", widths=(width,) * 4),
        "speech RNN": replace(
            config, network="rnn", widths=(units,), dataset="spoken_digits", batch=50,
            duration=config.duration if paper else "20ep", train=None, test=None,
        ),
    }  # fmt: skip
    if paper:
        few["VGG-11"] = replace(config, network="vgg11", dataset="cifar10", per_channel=True)
    table += [
        _row(name, own, method)
        for name, own in few.items()
        for method in ("BP", "DRTP", "tpSGD-l2", "shallow")
    ]
    return table + _adaptor_rows(config, paper) + _memory_rows(config, width, units)


def _row(name: str, config: Any, method: str) -> Row:
    return Row(f"{name} {method}", replace(config, method=method))


def _adaptor_rows(config: Any, paper: bool) -> list[Row]:
    """A frozen network on changed images: as it is, and under heads that learn by each rule."""
    numbers = (None, None, config.duration) if paper else (2000, 1000, "20ep")
    train, test, duration = numbers
    head = replace(
        config, network="adaptor", dataset="cifar10", widths=(64,), train=train, test=test,
        duration=duration,
    )  # fmt: skip
    table = [_row("original", replace(head, train=10), "frozen")]
    for dataset in ("cifar10-colour", "cifar10-noise"):
        own, name = replace(head, dataset=dataset), dataset.removeprefix("cifar10-")
        table += [
            _row(name, own, method) for method in ("frozen", "BP", "DRTP", "tpSGD-l2", "shallow")
        ]
    return table


def _memory_rows(config: Any, width: int, units: int) -> list[Row]:
    deep = replace(config, network="mlp", widths=(width,), batch=4096, sizes=(2, 4, 8))
    long = replace(config, network="rnn", widths=(units,), sizes=(28, 56, 112))
    table = []
    for name, own in {"depth": deep, "length": long}.items():
        table += [_row(name, replace(own, trained=False), m) for m in ("BP", "tpSGD-l2")]
    return table


def _smoke_rows(config: Any) -> list[Row]:
    """Every rule, kind of layer, loss and mode; the frozen network of adaptors needs a file."""
    table = [_row("MLP-1", config, m) for m in METHODS if m != "tpSGD-l1"]
    cnn = replace(config, network="cnn", widths=(16,))
    lstm = replace(config, network="lstm", widths=(16,), targets="last")
    table += [
        _row("CNN", replace(cnn, per_channel=True), "tpSGD-l1"),
        _row("LSTM", lstm, "tpSGD-cosine"),
        _row("RNN", replace(lstm, network="rnn", targets="every"), "tpSGD-huber"),
    ]
    brief = replace(config, duration="1ep")
    two, cnn = replace(brief, widths=(16, 16)), replace(cnn, duration="1ep")
    gru = replace(brief, network="gru", widths=(16,))
    table += [_row("MLP-1", brief, m) for m in ("sDFA", "tpSGD-linear")]
    table += [_row("CNN", cnn, "sign-symmetry"), _row("GRU", gru, "tpSGD-bce")]
    table += [_row("MLP-2", two, f"tpSGD-l2-{mode}") for mode in MODES]
    deep = replace(config, widths=(64,), batch=1024, sizes=(2, 8), trained=False)
    return table + [_row("depth", deep, method) for method in ("BP", "tpSGD-l2")]
