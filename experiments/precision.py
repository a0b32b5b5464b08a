"""Training in bfloat16 with parameters, state and losses in float32, beside training in float32.

Expected (`small`, seeds 0 to 2): in float32 and in bfloat16 backprop reaches 94.87 and 94.85 %,
AugLocal 94.03 and 93.98, SLTT 93.27 and 93.44; temporaries of backprop's step fall from 62 to 5 MB.
About 6 minutes on one core.

    python -m experiments table precision --preset small

No paper has this table; the policy is that of Micikevicius et al. (ICLR 2018), section 3.1, with
bfloat16 in the place of float16, so that losses need no scaling. Three rules teach a dense network
(a spiking one for SLTT): `computing_in` wraps every block, and nothing else differs between the two
rows of a rule, its seeds and batches included.

Without libtpu there is no `tpu_mb`. The table times no steps, and `bench` says little here: CPUs
without bfloat16 units emulate it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from typing import Any, Literal

import jax
import optax

from experiments.harness import Bench, Claim, Experiment, Measured, Peer, Program, Row, Run, main
from experiments.parts.abstract import abstract, labelled
from experiments.parts.local_rules import CLASSES, dense
from experiments.parts.tpu_temporaries import tpu_temporaries
from jaxlearn.core import Model, Rule, computing_in, make_state, make_step, stack
from jaxlearn.data import load
from jaxlearn.data.batches import batches, padded
from jaxlearn.data.duration import steps as steps_of
from jaxlearn.models.spiking_mlp import spiking_mlp_blocks
from jaxlearn.objectives import correct, cross_entropy, cross_entropy_with_mse
from jaxlearn.procedures.seeds import over_seeds, seed_of, stacked
from jaxlearn.rules.auglocal import auglocal
from jaxlearn.rules.backprop import backprop
from jaxlearn.rules.sltt import sltt
from jaxlearn.runtime import evaluator, every_device, fit, own_rows

Method = Literal["backprop", "AugLocal", "SLTT"]
Compute = Literal["float32", "bfloat16"]
METHODS: tuple[Method, ...] = ("backprop", "AugLocal", "SLTT")
TYPES: tuple[Compute, ...] = ("float32", "bfloat16")
SIDES = {"digits": 8, "mnist": 28}


@dataclass(frozen=True)
class Config:
    """One row.

    compute: the type that blocks compute in; what lasts is float32 in every row.
    T: steps of time of the spiking network.
    cost_layers: hidden layers of the step whose temporaries are read from the compiler; 0 skips it.
    """

    method: Method = "backprop"
    compute: Compute = "float32"
    layers: int = 4
    width: int = 256
    T: int = 4
    dataset: str = "mnist"
    train: int | None = 10000
    test: int | None = None
    duration: str = "5ep"
    batch: int = 128
    learning_rate: float = 1e-3
    cost_layers: int = 8
    cost_width: int = 1024
    cost_batch: int = 4096

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method={self.method!r} is none of {METHODS}")
        if self.compute not in TYPES:
            raise ValueError(f"compute={self.compute!r} is none of {TYPES}")
        if self.dataset not in SIDES:
            raise ValueError(f"dataset={self.dataset!r} is none of {[*SIDES]}")
        for name in ("layers", "width", "T", "batch", "cost_width", "cost_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; it has to be 1 or more")


PRESETS = {
    "smoke": Config(layers=2, width=32, dataset="digits", train=None, duration="2ep", batch=64,
                    cost_layers=0),
    "small": Config(),
    "paper": Config(width=1000, train=None, duration="60ep", layers=8),
}  # fmt: skip


def rows(preset: Config) -> list[Row]:
    """Every rule in both types."""
    return [
        Row(f"{method}, {compute}", replace(preset, method=method, compute=compute))
        for method, compute in product(METHODS, TYPES)
    ]


def rule_of(config: Config, layers: int, width: int) -> Rule:
    """The rule, with every block, readout and head computed in the config's type."""

    def in_type(model: Model) -> Model:
        return computing_in(model) if config.compute == "bfloat16" else model

    if config.method == "SLTT":
        spiking = spiking_mlp_blocks(CLASSES, widths=[width] * layers)
        return sltt(stack([*map(in_type, spiking)]), cross_entropy_with_mse(0.05), config.T)
    plain, readout = dense(layers, width)
    blocks, readout = [*map(in_type, plain)], in_type(readout)
    if config.method == "backprop":
        return backprop(stack([*blocks, readout]), cross_entropy)

    def head(layer: int, chosen: Sequence[int]) -> Model:
        return stack([*map(in_type, dense(len(chosen), width)[0]), readout])

    return auglocal(blocks, readout, 1, head)


def transform_of(config: Config, steps: int) -> optax.GradientTransformation:
    """Adam, its rate falling to zero along half a cosine, so that the end is not left to chance."""
    return optax.adam(optax.cosine_decay_schedule(config.learning_rate, steps))


def train(config: Config, seeds: Sequence[int], run: Run) -> dict[int, dict[str, float]]:
    """Train all seeds together; read the temporaries of a larger step from the TPU compiler."""
    data = load(config.dataset, train=config.train, test=config.test)
    rule = rule_of(config, config.layers, config.width)
    streams = [batches(data.train, config.batch, seed=seed) for seed in seeds]
    steps = steps_of(config.duration, streams[0].steps_per_epoch)
    states, step = over_seeds(rule, lambda key: transform_of(config, steps), seeds, streams[0](0))
    fitted = fit(
        step,
        states,
        own_rows(stacked(streams)),
        mesh=every_device(),
        steps=steps,
        chunk=50,
        workdir=run.folder(seeds),
        config=asdict(config),
        progress=run.progress,
        name=f"{config.method}, {config.compute}",
    )
    judge = evaluator(rule.predict, {"accuracy": correct}, padded(data.test, 1000))
    scores = [100 * judge(seed_of(fitted.state, i))["accuracy"] for i in range(len(seeds))]
    cost = costs(config)
    return {s: {"accuracy": score} | cost for s, score in zip(seeds, scores, strict=True)}


def costs(config: Config) -> dict[str, float]:
    """Temporaries of a large step on one TPU chip."""
    if not config.cost_layers:
        return {}
    found = tpu_temporaries(
        _program(config, config.cost_layers, config.cost_width, config.cost_batch)
    )
    return {} if found is None else {"tpu_mb": found / 1e6}


def _program(config: Config, layers: int, width: int, size: int) -> Program:
    side = SIDES[config.dataset]
    batch = labelled(size, (side, side, 1))
    return abstract(rule_of(config, layers, width), transform_of(config, 1000), batch)


def program(config: Config) -> Program:
    """The preset's step with its batch on each of 256 chips, in bfloat16."""
    bfloat16 = replace(config, compute="bfloat16")
    return _program(bfloat16, config.layers, config.width, 256 * config.batch)


def bench() -> Bench:
    """One step of every row; backprop in float32 is the measure of the others."""
    from experiments.peers import dense

    small = PRESETS["small"]
    batch = batches(load(small.dataset, train=small.train).train, small.batch, seed=0)(0)
    programs = {}
    for row in rows(small):
        rule = rule_of(row.config, small.layers, small.width)
        tx = transform_of(row.config, 1000)
        state = jax.jit(partial(make_state, rule, tx))(jax.random.key(0), batch)
        name = "backprop" if row.config == small else row.name
        programs[name] = Program(make_step(rule, tx), state, batch)
    own = rule_of(small, small.layers, small.width)
    begin = partial(dense.start, own, programs["backprop"], rate=small.learning_rate)
    return Bench(programs, {"backprop": Peer("torch", begin)})


def claims(measured: Measured) -> list[Claim]:
    """The same accuracy, and less memory where activations are kept (fixed after a pilot)."""
    found = []
    for method in METHODS:
        wide, narrow = f"{method}, float32", f"{method}, bfloat16"
        if not {wide, narrow} <= set(measured.rows):
            continue
        found.append(
            Claim(
                f"{method.lower()}-as-accurate",
                f"{method} in bfloat16 is within 0.3 points of itself in float32",
                abs(measured.gap(narrow, wide, "accuracy")) <= 0.3,
                f"{measured.show(narrow, 'accuracy')}, {measured.show(wide, 'accuracy')}",
            )
        )
        if method == "backprop" and "tpu_mb" in measured.rows[wide]:
            share = measured.mean(narrow, "tpu_mb") / measured.mean(wide, "tpu_mb")
            found.append(
                Claim(
                    f"{method.lower()}-smaller",
                    f"a TPU step of {method} has at most half of the temporaries in bfloat16",
                    share <= 1 / 2,
                    f"{share:.2f} of {measured.show(wide, 'tpu_mb')} MB",
                )
            )
    return found


def figure(table: Mapping[str, Any]) -> Any:
    """Accuracy by rule, the two types side by side."""
    from matplotlib.figure import Figure

    found = {row["name"]: row["metrics"]["accuracy"] for row in table["rows"]}
    drawing = Figure(figsize=(6, 3.2), layout="constrained")
    axes = drawing.add_subplot()
    for shift, compute in zip((-0.2, 0.2), TYPES, strict=True):
        cells = [found[f"{method}, {compute}"] for method in METHODS]
        axes.bar(
            [i + shift for i in range(len(METHODS))],
            [cell["mean"] for cell in cells],
            0.38,
            yerr=[cell["std"] for cell in cells],
            label=compute,
        )
    lowest = min(cell["mean"] for cell in found.values())
    axes.set_xticks(range(len(METHODS)), METHODS)
    axes.set_ylim(max(0.0, lowest - 5), 100)
    axes.set_ylabel("test accuracy, %")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.15), ncols=2, frameon=False)
    return drawing


METRICS: dict[str, str] = {
    "accuracy": "of test images after the last step, %",
    "tpu_mb": "temporaries of a step with 8 hidden layers of 1024 and 4096 images, compiled for "
    "one TPU v5e, MB",
}

EXPERIMENT = Experiment(
    slug="precision",
    title="Computing in bfloat16, keeping float32",
    paper="no paper; the policy is that of Micikevicius et al., Mixed Precision Training, ICLR "
    "2018, section 3.1",
    slots=("model",),
    Config=Config,
    presets=PRESETS,
    rows=rows,
    train=train,
    claims=claims,
    program=program,
    bench=bench,
    figure=figure,
    metrics=METRICS,
    notes=(
        "The two rows of a rule have the same seeds: their first weights and batches agree.",
        "Temporaries are those in main memory; what fits into the chip's vector memory costs none, "
        "and in bfloat16 most of backprop's activations do. AugLocal keeps no layer's activations "
        "for another, and SLTT's membranes are float32 in both rows.",
    ),
)

if __name__ == "__main__":
    main(EXPERIMENT)
