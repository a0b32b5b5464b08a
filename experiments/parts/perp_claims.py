"""What the table of PERP should show, and its figure."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from experiments.harness import Claim, Measured
from experiments.harness.dots import panel

SMALL = ("small", "more")
METRICS: dict[str, str] = {
    "perplexity": "of test text, per character in the rows of text and per token in all others",
    "sparsity": "zeros among the prunable weights at the end, %",
    "trained": "retrained parameters as a share of the network's, %; 0 by blocks, which take turns",
    "error_pruned": "mean squared error of blocks' outputs after pruning, on training text",
    "error_after": "the same after reconstruction; equal to error_pruned in rows not by blocks",
    "accuracy": "of test images, %",
}


def claims(measured: Measured) -> list[Claim]:
    """What small networks can show; margins were fixed before any seed of the table was trained."""
    if "text 60 %: none" not in measured.rows:
        return []
    found = [*_text_claims(measured), *_block_claims(measured), *_image_claims(measured)]
    if "stories: dense" not in measured.rows:
        return found
    return [*found, *_stories_claim(measured), _depth_claim(measured)]


def _text_claims(measured: Measured) -> list[Claim]:
    ppl = partial(measured.mean, metric="perplexity")
    show = lambda *rows: ", ".join(measured.show(row, "perplexity") for row in rows)
    none, biases, norms, masked = (
        f"text 60 %: {name}" for name in ("none", "biases", "norms", "mask lora")
    )
    kept, cut = "text 70 %: mask lora", "text 70 %: lora prune"
    return [
        Claim(
            "order-of-subsets",
            "perplexity at 60 %: none is above biases and norms, and both are above mask LoRA",
            ppl(none) > max(ppl(biases), ppl(norms)) and min(ppl(biases), ppl(norms)) > ppl(masked),
            show(none, biases, norms, masked),
            presets=SMALL,
        ),
        Claim(
            "mask-while-training",
            "at 70 % mask LoRA is better than LoRA that meets the mask only when it is merged",
            ppl(kept) < ppl(cut),
            show(kept, cut),
            presets=SMALL,
        ),
        Claim(
            "wanda-before-retraining",
            "without retraining Wanda loses less than magnitude at 60 %",
            ppl("text 60 %, wanda: none") < ppl(none),
            show("text 60 %, wanda: none", none),
            presets=SMALL,
        ),
    ]


def _stories_claim(measured: Measured) -> list[Claim]:
    rows = [f"stories 50 %: {name}" for name in ("none", "norms", "mask lora")]
    none, norms, masked = (measured.mean(row, "perplexity") for row in rows)
    return [
        Claim(
            "stories",
            "a published Llama, half of it pruned: norms recover perplexity, mask LoRA more",
            none > norms > masked,
            ", ".join(measured.show(row, "perplexity") for row in rows),
            presets=("more",),
        )
    ]


def _block_claims(measured: Measured) -> list[Claim]:
    row, none = "text 60 %, magnitude, by blocks: mask lora", "text 60 %: none"
    before, after = (measured.mean(row, f"error_{when}") for when in ("pruned", "after"))
    better = measured.mean(row, "perplexity") < measured.mean(none, "perplexity")
    return [
        Claim(
            "reconstruction",
            "reconstruction of blocks pruned by magnitude lowers their error and the perplexity",
            after < before and better,
            f"error {before:.3g} to {after:.3g}; {measured.show(row, 'perplexity')}, "
            f"{measured.show(none, 'perplexity')}",
            presets=SMALL,
        )
    ]


def _recovered(measured: Measured, depth: int) -> tuple[float, float, float, float]:
    """Accuracy dense, pruned, and with trained norms; percent of the loss that these bring back."""
    of = partial(measured.mean, metric="accuracy")
    name = f"ResNet-{depth}"
    dense, none, norms = (of(f"{name}{end}") for end in (": dense", " 80 %: none", " 80 %: norms"))
    share = 100 * (norms - none) / (dense - none) if dense > none else float("nan")
    return dense, none, norms, share


def _depth_claim(measured: Measured) -> Claim:
    found = {depth: _recovered(measured, depth) for depth in (32, 56)}
    return Claim(
        "norms-recover-deeper",
        "so they do in ResNet-32 and ResNet-56",
        all(share >= 70 for *_, share in found.values()),
        "; ".join(
            f"ResNet-{depth} {share:.0f} %: {none:.1f} to {norms:.1f} %, dense {dense:.1f} %"
            for depth, (dense, none, norms, share) in found.items()
        ),
        presets=("more",),
    )


def _image_claims(measured: Measured) -> list[Claim]:
    of = partial(measured.mean, metric="accuracy")
    named = lambda name: f"ResNet-20 80 %: {name}"
    dense, none, norms, share = _recovered(measured, 20)
    masked, full = of(named("mask lora")), of(named("full"))
    zeros = [
        value
        for name, found in measured.rows.items()
        if name.startswith("ResNet-20 80 %")
        for value in found["sparsity"]
    ]
    return [
        Claim(
            "pruning-hurts",
            "80 % pruned by magnitude, ResNet-20 loses more than 20 points",
            dense - none > 20,
            f"{dense:.1f} to {none:.1f} %",
            presets=SMALL,
        ),
        Claim(
            "norms-recover",
            "training the batch norms alone brings back at least 70 % of what was lost",
            share >= 70,
            f"{share:.0f} %: {none:.1f} to {norms:.1f} %, dense {dense:.1f} %",
            presets=SMALL,
        ),
        Claim(
            "images-in-order",
            "all weights are as good as mask LoRA and mask LoRA as the norms, within 2 points",
            full >= masked - 2 and masked >= norms - 2,
            f"full {full:.1f}, mask LoRA {masked:.1f}, norms {norms:.1f} %",
            presets=SMALL,
        ),
        Claim(
            "zeros-kept",
            "after retraining and merging four fifths of the pruned weights are 0 as before",
            max(zeros) - min(zeros) < 1e-9 and min(zeros) > 79.9,
            f"{min(zeros):.3f} to {max(zeros):.3f} %",
            presets=SMALL,
        ),
    ]


def figure(table: Mapping[str, Any]) -> Any:
    """Perplexity of the two language models and accuracy of the ResNets, by row."""
    from matplotlib.figure import Figure

    rows = table["rows"]
    parts = {"text": "perplexity", "stories": "perplexity", "ResNet": "accuracy"}
    shown = {name: [row for row in rows if row["name"].startswith(name)] for name in parts}
    shown = {name: chosen for name, chosen in shown.items() if chosen} or {"": rows}
    height = 0.3 * max(map(len, shown.values())) + 1.2
    drawing = Figure(figsize=(5.4 * len(shown), height), layout="constrained")
    panels = drawing.subplots(1, len(shown), squeeze=False)[0]
    for axes, (name, chosen) in zip(panels, shown.items(), strict=True):
        metric = parts.get(name, "perplexity")
        panel(axes, chosen, metric, metric if metric == "perplexity" else "accuracy, %")
    return drawing
