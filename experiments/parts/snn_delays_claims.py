"""What is claimed of the delay networks' tables."""

from functools import partial

from experiments.harness import Claim, Measured
from experiments.parts.snn_delays_rows import METHODS, SPARSE

METRICS: dict[str, str] = {
    "accuracy": "of test clips after the last epoch, learned delays rounded to whole steps, %",
    "unrounded": "the same with the bumps of training instead of rounded delays, %",
    "spikes": "per hidden neuron and clip, over the first 100 test clips, mean of layers",
    "best": "accuracy after the epoch where it was highest, so chosen by the test clips, %",
    "moved": "mean distance of delays from their start, in steps of 10 ms; masked synapses count "
    "as well",
    "ends": "share of delays within half a step of the shortest or longest, without masked "
    "synapses, %",
    "parameters": "trained, in thousands; a masked synapse counts neither as a weight nor as a "
    "delay",
}
TRIANGLES, SHARED = "triangles", "two taps share the weight (v1)"
HEAVISIDE = "no membrane (Heaviside)"


def claims(measured: Measured) -> list[Claim]:
    """The claims of the table that was measured."""
    special = {"variants": variant_claims, "sparse": sparse_claims}
    return special.get(measured.preset, method_claims)(measured)


def method_claims(measured: Measured) -> list[Claim]:
    """The order of the methods, and that delays move and can be rounded."""
    learned, fixed, none = (METHODS[name] for name in ("learned", "fixed", "none"))
    show = lambda *names: ", ".join(measured.show(name, "accuracy") for name in names)
    gap = partial(measured.gap, metric="accuracy")
    lost = measured.mean(learned, "unrounded") - measured.mean(learned, "accuracy")
    return [
        Claim(
            "learned-over-none",
            "learned delays are at least 1 point above none",
            gap(learned, none) >= 1,
            show(learned, none),
            "the digits may be told apart without the order of sounds",
        ),
        Claim(
            "learned-over-fixed",
            "learned delays are no worse than fixed random ones",
            gap(learned, fixed) >= 0,
            show(learned, fixed),
            "random delays may already hold all that this task needs",
        ),
        Claim(
            "fixed-over-none",
            "fixed random delays are no worse than none",
            gap(fixed, none) >= 0,
            show(fixed, none),
            "random delays may mix sounds up",
        ),
        Claim(
            "rounding",
            "rounded delays lose less than 1 point against the bumps of training",
            lost < 1,
            f"{measured.show(learned, 'accuracy')}, {measured.show(learned, 'unrounded')}",
            "bumps may not have become narrow enough",
        ),
        Claim(
            "delays-move",
            "positions go over half a step on average",
            measured.mean(learned, "moved") > 0.5,
            measured.show(learned, "moved"),
            "the rate of positions may be too low",
        ),
    ]


def variant_claims(measured: Measured) -> list[Claim]:
    """What a small network shows of the options, by margins that a pilot on seed 100 fixed."""
    learned, fixed, none = (METHODS[name] for name in ("learned", "fixed", "none"))
    show = lambda *names: ", ".join(measured.show(name, "accuracy") for name in names)
    gap = partial(measured.gap, metric="accuracy")
    only = ("variants",)
    return [
        Claim(
            "small-network-learned-delays",
            "in a small network learned delays are at least 5 points above fixed ones and none",
            min(gap(learned, fixed), gap(learned, none)) >= 5,
            show(learned, fixed, none),
            presets=only,
        ),
        Claim(
            "other-bumps",
            "triangles and two shared taps are at most 8 points below Gaussians",
            min(gap(SHARED, learned), gap(TRIANGLES, learned)) >= -8,
            show(learned, TRIANGLES, SHARED),
            presets=only,
        ),
        Claim(
            "no-membrane",
            "neurons without a membrane, with learned delays, are at most 8 points below LIF "
            "neurons, and at least 5 above LIF neurons without delays",
            gap(HEAVISIDE, learned) >= -8 and gap(HEAVISIDE, none) >= 5,
            show(learned, HEAVISIDE, none),
            "delays may not stand in for memory",
            presets=only,
        ),
    ]


def sparse_claims(measured: Measured) -> list[Claim]:
    """The paper's ablation in words, set before any of its seeds."""
    learned, fixed, none = (SPARSE[0.1, name] for name in ("learned", "fixed", "none"))
    gap = partial(measured.gap, metric="accuracy")
    show = lambda *names: ", ".join(measured.show(name, "accuracy") for name in names)
    whole = gap(SPARSE[1.0, "learned"], SPARSE[1.0, "none"])
    only = ("sparse",)
    return [
        Claim(
            "order-with-few-synapses",
            "with a tenth of the synapses learned delays are above fixed ones, those above none",
            gap(learned, fixed) > 0 and gap(fixed, none) > 0,
            show(learned, fixed, none),
            "so few synapses may not train in 12 epochs",
            presets=only,
        ),
        Claim(
            "delays-matter-more-with-few-synapses",
            "learned delays gain more over none with a tenth of the synapses than with all",
            gap(learned, none) > whole,
            f"{gap(learned, none):+.2f} and {whole:+.2f} points",
            "so few synapses may not train in 12 epochs",
            presets=only,
        ),
    ]
