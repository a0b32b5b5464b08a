"""Four ways to teach one network, dense and sparse, on scikit-learn's digits.

Expected: every row above 90 % on the test images, and at a tenth of the weights within 4 points of
its dense row; about 1 minute of computing on 2 cores.

    python -m experiments table demo --preset small --seeds 3

Every row is a composition of the public API: a rule (backprop, AugLocal, single-forward or SLTT)
and a transform (Adam, or Adam inside GraNet). Nothing here is from a paper's
table; the four papers have experiments of their own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen

from experiments.harness import Bench, Claim, Experiment, Measured, Peer, Program, Row, Run, main
from experiments.parts.abstract import abstract, labelled
from experiments.parts.mask_events import interval
from jaxlearn.core import Model, Rule, TrainState, from_linen, make_state, make_step, stack
from jaxlearn.data import load
from jaxlearn.data.batches import batches
from jaxlearn.models.spiking_mlp import spiking_mlp_blocks
from jaxlearn.objectives import cross_entropy, cross_entropy_with_mse
from jaxlearn.procedures.seeds import over_seeds, seed_of, stacked
from jaxlearn.rules.auglocal import auglocal
from jaxlearn.rules.backprop import backprop
from jaxlearn.rules.single_forward import single_forward, virtual_examples
from jaxlearn.rules.sltt import sltt
from jaxlearn.runtime import every_device, fit, own_rows
from jaxlearn.transforms.granet import granet

PILLARS = ("backprop", "auglocal", "single-forward", "sltt")
CLASSES = 10


@dataclass(frozen=True)
class Config:
    """One row: which rule teaches, and whether GraNet prunes."""

    rule: str = "backprop"
    sparse: bool = False
    density: float = 0.1
    width: int = 128
    layers: int = 4
    T: int = 4
    steps: int = 1000
    batch: int = 64
    learning_rate: float = 3e-3

    def __post_init__(self) -> None:
        if self.rule not in PILLARS:
            raise ValueError(f"rule={self.rule!r} is none of {PILLARS}")
        if not 0 < self.density <= 1:
            raise ValueError(f"density={self.density} has to lie in (0, 1]")


PRESETS = {
    "smoke": Config(steps=20, width=32),
    "small": Config(),
    "paper": Config(steps=5000, width=512),
}


class Layer(linen.Module):
    """`relu(x W + b)` of flattened inputs."""

    width: int

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, ...]` to `[batch, width]`."""
        return linen.relu(linen.Dense(self.width)(x.reshape(x.shape[0], -1)))


def rule_of(config: Config) -> Rule:
    """The four pillars over the same layers; the spiking network has their widths."""
    layers = [from_linen(Layer(config.width)) for _ in range(config.layers)]
    readout = from_linen(linen.Dense(CLASSES))

    def head(layer: int, selected: list[int]) -> Model:
        return stack([*(layers[j] for j in selected), readout])

    if config.rule == "backprop":
        return backprop(stack([*layers, readout]), cross_entropy)
    if config.rule == "auglocal":
        return auglocal(layers, readout, 2, head)
    if config.rule == "single-forward":
        return single_forward(layers, virtual_examples(CLASSES))
    spiking = spiking_mlp_blocks(CLASSES, widths=[config.width] * config.layers)
    return sltt(stack(spiking), cross_entropy_with_mse(0.05), config.T)


def transform_of(config: Config) -> optax.GradientTransformation:
    """Adam with a cosine schedule, inside GraNet where the row is sparse."""
    adam = optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.steps))
    if not config.sparse:
        return adam
    steps, often = config.steps, interval(config.steps, 25)
    return granet(adam, final_density=config.density, total_steps=steps, interval=often)


def train(config: Config, seeds: Sequence[int], run: Run) -> Mapping[int, Mapping[str, float]]:
    """Train all seeds at once, each with its own weights and its own order of the images."""
    data, rule = load("digits"), rule_of(config)
    streams = [batches(data.train, config.batch, seed=seed) for seed in seeds]
    states, step = over_seeds(rule, lambda key: transform_of(config), seeds, streams[0](0))
    fitted = fit(
        step,
        states,
        own_rows(stacked(streams)),
        mesh=every_device(),
        steps=config.steps,
        chunk=50,
        workdir=run.folder(seeds),
        config=asdict(config),
        progress=run.progress,
        name=config.rule,
    )
    each = (seed_of(fitted.state, i) for i in range(len(seeds)))
    return {seed: measure(rule, state, data.test) for seed, state in zip(seeds, each, strict=True)}


def measure(rule: Rule, state: TrainState, test: Mapping[str, Any]) -> dict[str, float]:
    """Accuracy on the test images in percent, and the share of weights that are not zero."""
    outputs, _ = jax.jit(rule.predict)(state.params, state.state, dict(test))
    matrices = [leaf for leaf in jax.tree.leaves(state.params) if leaf.ndim == 2]
    active = sum(int(jnp.count_nonzero(leaf)) for leaf in matrices)
    return {
        "accuracy": 100 * float((outputs.argmax(-1) == test["labels"]).mean()),
        "weights": 100 * active / sum(leaf.size for leaf in matrices),
    }


def rows(config: Config) -> list[Row]:
    """Each pillar dense, then each under a GraNet mask."""
    return [
        Row(f"{rule}, GraNet" if sparse else rule, replace(config, rule=rule, sparse=sparse))
        for sparse, rule in product((False, True), PILLARS)
    ]


def claims(measured: Measured) -> list[Claim]:
    """Fixed after a pilot on seeds 100 and 101, which widened the loss allowed from 3 to 4."""
    dense = {rule: measured.mean(rule, "accuracy") for rule in PILLARS}
    sparse = {rule: measured.mean(f"{rule}, GraNet", "accuracy") for rule in PILLARS}
    weights = {rule: measured.mean(f"{rule}, GraNet", "weights") for rule in PILLARS}
    loss = {rule: dense[rule] - sparse[rule] for rule in PILLARS}
    show = lambda values: ", ".join(f"{rule} {value:.2f}" for rule, value in values.items())
    return [
        Claim(
            "four-pillars-learn",
            "every rule classifies at least 90 % of the test images",
            min(dense.values()) >= 90,
            show(dense),
        ),
        Claim(
            "any-rule-prunes",
            "at a tenth of the weights every rule stays within 4 points of its dense row",
            max(loss.values()) <= 4,
            show(loss),
        ),
        Claim(
            "masks-are-exact",
            "no more than a tenth of the weights is left",
            max(weights.values()) <= 10,
            show(weights),
        ),
    ]


def program(config: Config) -> Program:
    """The step with the preset's batch on each of 256 chips."""
    size = 256 * config.batch
    rule, tx = rule_of(config), transform_of(config)
    batch = labelled(size, (8, 8, 1))
    return abstract(rule, tx, batch)


def bench() -> Bench:
    """The step of every row of the small preset; backprop beside PyTorch."""
    from experiments.peers import dense

    batch = batches(load("digits").train, PRESETS["small"].batch, seed=0)(0)
    programs = {}
    for row in rows(PRESETS["small"]):
        rule, tx = rule_of(row.config), transform_of(row.config)
        state = make_state(rule, tx, jax.random.key(0), batch)
        programs[row.name] = Program(make_step(rule, tx), state, batch)
    own = rule_of(PRESETS["small"])
    begin = partial(dense.start, own, programs["backprop"], rate=PRESETS["small"].learning_rate)
    return Bench(programs, {"backprop": Peer("torch", begin)})


def figure(table: Mapping[str, Any]) -> Any:
    """Accuracy by rule, dense beside sparse."""
    from matplotlib.figure import Figure

    found = {row["name"]: row["metrics"]["accuracy"] for row in table["rows"]}
    drawing = Figure(figsize=(7, 3.2), layout="constrained")
    axes = drawing.add_subplot()
    for shift, suffix, label in ((-0.2, "", "dense"), (0.2, ", GraNet", "a tenth of the weights")):
        cells = [found[rule + suffix] for rule in PILLARS]
        places = [i + shift for i in range(len(PILLARS))]
        axes.bar(
            places,
            [cell["mean"] for cell in cells],
            0.38,
            yerr=[cell["std"] for cell in cells],
            label=label,
        )
    axes.set_xticks(range(len(PILLARS)), PILLARS)
    axes.set_ylim(80, 101)
    axes.set_ylabel("test accuracy, %")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.15), ncols=2, frameon=False)
    return drawing


METRICS: dict[str, str] = {
    "accuracy": "of test images after the last step, %",
    "weights": "entries of all weight matrices, local heads included, that are not zero, %",
}

EXPERIMENT = Experiment(
    slug="demo",
    title="Four ways to teach one network, dense and sparse",
    paper="a composition of this library; the papers have experiments of their own",
    slots=("rule", "transform"),
    Config=Config,
    presets={"smoke": PRESETS["smoke"], "small": PRESETS["small"], "paper": PRESETS["paper"]},
    rows=rows,
    train=train,
    claims=claims,
    program=program,
    bench=bench,
    figure=figure,
    metrics=METRICS,
    notes=("The images are scikit-learn's 8 x 8 digits: 1,294 to train, 360 to test.",),
)

if __name__ == "__main__":
    main(EXPERIMENT)
