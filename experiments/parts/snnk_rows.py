"""The rows of `snnk.py`, and their settings; `config` is its `Config`."""

from dataclasses import replace
from functools import partial
from typing import Any

from experiments.harness import Row
from experiments.parts.snnk_networks import PATCH
from jaxlearn.data.uci import REGRESSION
from jaxlearn.models.layers.random_features import SPECTRA

METHODS = {
    "kernel": (*SPECTRA, "relu", "gelu", "softplus", "tanh"),
    "hidden": ("dense", "low-rank", "relu", "cos", "sin"),
    "closed": ("ridge", "adam"),
    "uci": ("ridge",),
    "adapter": (
        "probe",
        "bottleneck",
        "relu",
        "relu-bottleneck",
        "cos",
        "sin",
        "lora",
        "bitfit",
        "full",
    ),
    "uptrain": ("none", "ffn", "every-ffn", "pooler"),
}
IMAGES = ("digits", "fashion_mnist", "cifar10")
DATASETS = {
    "kernel": (),
    "hidden": IMAGES,
    "closed": IMAGES,
    "uci": tuple(REGRESSION),
    "adapter": ("digits", "sst2"),
    "uptrain": tuple(PATCH),
}
"""What each study can be made on; the kernels need no data."""
RATES = {
    "hidden": {"dense": 3e-3, "low-rank": 1e-2, "relu": 1e-2, "sin": 1e-2},
    "adapter": {"probe": 1e-2, "bottleneck": 1e-2, "relu": 1e-2, "relu-bottleneck": 1e-2},
}
"""Of Adam in `small`: those that were best on validation examples with seeds 100 to 102."""
CLOSED: dict[str, Any] = {"standardized": False}
CLOSED_BY_ADAM: dict[str, Any] = {"standardized": True, "learning_rate": 1e-2}
BERT: dict[str, Any] = {
    "schedule": "linear",
    "warmup": 0.06,
    "weight_decay": 0.1,
    "learning_rate": 1e-5,
}
"""The authors' training of BERT on GLUE, beside batches of 64, 128 tokens and 80 epochs."""
SST2_EPOCH = 6920 / 64
BERT_ADAPTERS = BERT | {"features": 8, "blocks": True, "steps": round(80 * SST2_EPOCH)}
BERT_FEATURES: dict[str, Any] = {"features": 16, "normalized": True, "floor": -5.0}
VIT_UPTRAINING: dict[str, Any] = {
    "features": 8,
    "schedule": "linear",
    "warmup": 0.1,
    "learning_rate": 1e-3,
    "uptrain_rate": 5e-5,
    "batch": 16,
    "steps": 2 * 40 * 45_000 // 16,
}
"""The authors' ViT: 40 epochs in batches of 16 (4 of 4); the first training, of 80, is ours."""


def rows(config: Any) -> list[Row]:
    """The studies one after the other."""
    made = [*_kernel_rows(config), *_hidden_rows(config), *_closed_rows(config)]
    return [*made, *_uci_rows(config), *_adapter_rows(config), *_uptrain_rows(config)]


def _kernel_rows(config: Any) -> list[Row]:
    of = partial(replace, config, study="kernel", dataset="none")
    if config.smoke:
        return [Row(f"kernel {method}", of(method=method)) for method in ("gelu",)]
    table = [Row(f"kernel {f}", of(method=f)) for f in ("cos", "sin", "exp", "gaussian", "relu")]
    for method in ("cos", "sin"):
        asymmetric = of(method=method, form="asymmetric")
        table.append(Row(f"kernel {method}, asymmetric", asymmetric))
    table.append(Row("kernel cos, A = -0.05", of(method="cos", knob=-0.05)))
    table.append(Row("kernel cos, orthogonal", of(method="cos", blocks=True)))
    table.append(Row("kernel relu, orthogonal", of(method="relu", blocks=True)))
    return [*table, Row("kernel gelu, power series", of(method="gelu"))]


def _hidden_rows(config: Any) -> list[Row]:
    of = partial(replace, config, study="hidden")
    falling = partial(of, method="relu", normalized=True, floor=-5.0)
    if config.smoke:
        return [Row("hidden relu-SNNK 16", falling(features=16))]
    rate = lambda name: {"learning_rate": RATES["hidden"][name]}
    table = [Row("hidden dense", of(method="dense", **rate("dense")))]
    for m in (16, 64, 256):
        own = of(method="relu", features=m, **rate("relu"))
        table.append(Row(f"hidden relu-SNNK {m}", own))
    floor = falling(features=64, **rate("relu"))
    table.append(Row("hidden relu-SNNK 64, rows of one norm, floor -5", floor))
    for method, name in (("low-rank", "low-rank, as large as SNNK"), ("sin", "sin-SNNK")):
        own = of(method=method, features=64, **rate(method))
        table.append(Row(f"hidden {name} 64", own))
    return table


def _closed_rows(config: Any) -> list[Row]:
    of = partial(replace, config, study="closed", method="ridge", **CLOSED)
    m = 64 if config.smoke else 1024
    adam = Row("bundle of 2, Adam", of(method="adam", features=m, **CLOSED_BY_ADAM))
    if config.smoke:
        return [Row("bundle of 2, closed form", of(depth=2, features=m))]
    closed = [Row(f"bundle of {d}, closed form", of(depth=d, features=m)) for d in (1, 2, 3)]
    return [Row("linear ridge", of(depth=0)), *closed, adam]


def _uci_rows(config: Any) -> list[Row]:
    if config.smoke:
        return []
    of = partial(replace, config, study="uci", method="ridge", features=512)
    pairs = [(table, depth) for table in ("concrete", "energy", "power") for depth in (0, 2)]
    name = lambda depth: "bundle of 2" if depth else "linear ridge"
    return [Row(f"{t}, {name(d)}", of(dataset=t, depth=d)) for t, d in pairs]


def _adapter_rows(config: Any) -> list[Row]:
    of = partial(replace, config, study="adapter", features=16)
    if config.smoke:
        return [Row("adapter relu", of(method="relu", dataset="digits"))]
    if config.train is None:
        of = partial(replace, config, study="adapter", dataset="sst2", **BERT_ADAPTERS)
        return [Row(f"adapter {m}", of(method=m)) for m in METHODS["adapter"]]
    of = partial(of, dataset="sst2", train=1000, batch=50, steps=80)
    return [Row(f"adapter {m}", of(method=m, learning_rate=r)) for m, r in RATES["adapter"].items()]


def _uptrain_rows(config: Any) -> list[Row]:
    of = partial(replace, config, study="uptrain", features=16, learning_rate=1e-2)
    if config.smoke:
        return [Row("uptrain ffn", of(method="ffn"))]
    size: dict[str, Any] = {"width": 32, "steps": 200, "dataset": "digits", "train": None}
    if config.train is None:
        size = {"width": 192, "dataset": "cifar10", **VIT_UPTRAINING}
    of = partial(of, **size)
    names = {"none": "none", "ffn": "ffn", "every-ffn": "every ffn"}
    table = [Row(f"uptrain {name}", of(method=method)) for method, name in names.items()]
    if config.train is None:
        own = of(method="every-ffn", **BERT_FEATURES)
        table.append(Row("uptrain every ffn, rows of one norm, floor -5", own))
    return [*table, Row("uptrain pooler", of(method="pooler", features=512))]
