"""The rows of PERP's tables, and the rates at which each subset is trained."""

from dataclasses import replace
from typing import Any

from experiments.harness import Row
from jaxlearn.parametrizations.retrain import Subset

RATES: dict[Subset, float] = {
    "biases": 3e-2,
    "norms": 3e-2,
    "head": 5e-3,
    "head_lora": 1e-2,
    "lora": 1e-2,
    "lora_prune": 1e-2,
    "mask_lora": 1e-2,
    "scale_lora": 1e-2,
    "full": 3e-3,
}
"""Highest rates for text. Those of biases, norms and mask LoRA were chosen with seed 100 (3e-3 to
3e-2, validation perplexity) on a network of width 96; the others were taken near them."""


def _by_blocks(prefix: str, config: Any) -> Row:
    return _retrain_row(f"{prefix}, by blocks: ", config, "mask_lora", method="reconstruct")


def _retrain_row(prefix: str, config: Any, *subsets: Subset, **options: Any) -> Row:
    own = replace(config, subsets=subsets, **options)
    if subsets and "rate" not in options and config.steps > 10:
        own = replace(own, rate=min(RATES[name] for name in subsets))
    return Row(f"{prefix}{' + '.join(subsets).replace('_', ' ') or 'none'}", own)


def rows(config: Any) -> list[Row]:
    """The table of a preset."""
    if config.task == "opt":
        return _paper_rows(config)
    if config.steps <= 10:
        return _smoke_rows(config)
    return _more_rows(config) if config.extended else _small_rows(config)


def _small_rows(config: Any) -> list[Row]:
    table = [Row("text: dense", replace(config, method="dense"))]
    for own in ((), ("biases",), ("norms",), ("mask_lora",), ("scale_lora",), ("full",)):
        table.append(_retrain_row("text 60 %: ", config, *own))
    deeper = replace(config, sparsity=0.7)
    for own in ((), ("mask_lora",), ("lora_prune",)):
        table.append(_retrain_row("text 70 %: ", deeper, *own))
    for name in ("wanda", "sparsegpt"):
        table.append(_retrain_row(f"text 60 %, {name}: ", replace(config, pruner=name)))
    for name in ("magnitude", "wanda"):
        table.append(_by_blocks(f"text 60 %, {name}", replace(config, pruner=name)))
    return table + _vision_rows(config)


def _more_rows(config: Any) -> list[Row]:
    """What `small` leaves out for the sake of time: all pruners and subsets, n:m, a real Llama."""
    table = _small_rows(config)
    for own in (("head",), ("head_lora",), ("lora",), ("lora_prune",), UNION):
        table.append(_retrain_row("text 60 %: ", config, *own))
    table.append(_retrain_row("ResNet-20 80 %: ", _images(config), "biases", "head", rate=0.02))
    table += [row for depth in (32, 56) for row in _depth_rows(replace(config, depth=depth))]
    for name in ("random", "wanda_matrix"):
        pruned_so = replace(config, pruner=name)
        table.append(_retrain_row(f"text 60 %, {name.replace('_', ' ')}: ", pruned_so))
    halves = replace(config, pattern="2:4")
    table += [_retrain_row("text 2:4: ", halves, *own) for own in ((), ("mask_lora",))]
    table.append(_by_blocks("text 60 %, sparsegpt", replace(config, pruner="sparsegpt")))
    stories = replace(config, task="stories", sparsity=0.5, test=64, train=128)
    table.append(Row("stories: dense", replace(stories, method="dense")))
    for own in ((), ("norms",), ("mask_lora",), ("full",)):
        table.append(_retrain_row("stories 50 %: ", stories, *own))
    return table


UNION: tuple[Subset, ...] = ("biases", "norms", "head_lora", "mask_lora")


def _images(config: Any) -> Any:
    return replace(config, task="vision", sparsity=0.8, batch=32, steps=30, test=500, train=4000)


def _vision_rows(config: Any) -> list[Row]:
    table, images = _depth_rows(config), _images(config)
    # magnitude pruning to 0 % drops nothing
    kept = replace(images, sparsity=0.0, subsets=("norms",), rate=VISION_RATES[("norms",)])
    return [*table, Row("ResNet-20, nothing pruned: norms", kept)]


def _depth_rows(config: Any) -> list[Row]:
    images, name = _images(config), f"ResNet-{config.depth}"
    table = [Row(f"{name}: dense", replace(images, method="dense"))]
    for own in ((), ("norms",), ("mask_lora",), ("full",)):
        rate = VISION_RATES.get(own, 0.02)
        table.append(_retrain_row(f"{name} 80 %: ", images, *own, rate=rate))
    return table


VISION_RATES: dict[tuple[str, ...], float] = {
    ("norms",): 0.02,
    ("mask_lora",): 0.1,
    ("full",): 0.02,
}
"""Of momentum on ResNet-20, with seed 100: mask LoRA had 60.0 % at 0.02 and 62.8 % at 0.1."""


def _smoke_rows(config: Any) -> list[Row]:
    """Every pruner, every subset in some union, both methods, n:m."""
    pruners = ("magnitude", "random", "wanda", "wanda_matrix", "sparsegpt")
    unions: tuple[tuple[Subset, ...], ...] = (
        UNION,
        ("head", "lora_prune"),
        ("scale_lora",),
        ("lora",),
        ("full",),
    )
    table = [Row("dense", replace(config, method="dense"))]
    for i, (name, own) in enumerate(zip(pruners, unions, strict=True)):
        cut = replace(config, pruner=name, pattern=("unstructured", "2:4")[i % 2])
        table += [_retrain_row(f"{name}: ", cut), _retrain_row(f"{name}: ", cut, *own)]
    return [*table, _by_blocks("sparsegpt", replace(config, pruner="sparsegpt"))]


def _paper_rows(config: Any) -> list[Row]:
    table = [Row("OPT-2.7B: dense", replace(config, method="dense"))]
    for share in (0.5, 0.6, 0.7):
        own = replace(config, sparsity=share, subsets=())
        prefix = f"OPT-2.7B {100 * share:.0f} %"
        for name in ("magnitude", "wanda", "sparsegpt"):
            chosen = replace(own, pruner=name)
            table += [_retrain_row(f"{prefix}, {name}: ", chosen)]
            blocks = {"method": "reconstruct", "rate": config.rate}
            table += [_retrain_row(f"{prefix}, {name}, by blocks: ", chosen, "mask_lora", **blocks)]
        for subsets in (*((name,) for name in RATES), UNION):
            table += [_retrain_row(f"{prefix}, magnitude: ", own, *subsets, rate=config.rate)]
    return table
