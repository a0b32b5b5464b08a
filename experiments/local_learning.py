"""Local and forward-only rules beside backprop: one network, one data set, equal epochs.

Expected (`small`, seeds 0 to 2): backprop 94.7 %, PredSim 94.8, greedy with MAN 94.2, InfoPro with
contrast 94.1, AugLocal 94.1, DGL 94.0, greedy 92.0, tpSGD 85.8, DRTP 9.9; three of five claims
fail. With 110 layers a TPU step takes 397 MB under backprop, 194 checkpointed, 12 greedy, 20 DGL,
17 AugLocal, 31 InfoPro, 57 with contrast, 66 with MAN, 152 PredSim. Over an hour on one core, most
of it compiling deep networks for a TPU.

    python -m experiments table local-learning --preset small
    python -m experiments run local-learning --row greedy --config.depths 8  # one row, not so deep

No paper has this table. All rules teach the same dense ReLU network (PhyLL one with GELU) on MNIST
(or digits, in `smoke`) with the same optimiser, batches and epochs; nothing was tuned for any of
them, so a rule that needs another learning rate than the others is shown at a disadvantage. Rules
that need the same batch at every step (top-to-input, top-to-loss) are in `forwardgnn`, boosting,
which trains one network after another, in `gbnn`.

Memory and operations of a training step are those of a network as wide as `cost_width` and a batch
of `cost_batch`; `tpu_mb_*` needs libtpu. The compiler for CPUs undoes checkpointing (it sees that a
layer was computed before), so that `cpu_mb_*` is backprop's there. For `step_ratio` a rule and
backprop are timed in turn, once for each seed.

Deviations from the papers are listed in `DEVIATIONS`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import jax
import optax

from experiments.harness import (
    Bench,
    Claim,
    Experiment,
    Measured,
    Peer,
    Program,
    Row,
    Run,
    flops,
    main,
)
from experiments.parts.abstract import abstract, labelled
from experiments.parts.local_rules import CLASSES, RULES, rule_of
from experiments.parts.tpu_temporaries import tpu_temporaries
from jaxlearn.core import Rule, make_state, make_step
from jaxlearn.data import load
from jaxlearn.data.batches import batches, padded
from jaxlearn.data.duration import steps as steps_of
from jaxlearn.objectives import correct
from jaxlearn.procedures.seeds import over_seeds, seed_of, stacked
from jaxlearn.runtime import evaluator, every_device, fit, own_rows

DEVIATIONS = (
    "Heads, losses and networks are those of the papers carried over to dense layers: InfoPro's "
    "decoder and PredSim's similarity head are linear maps, DGL's head has one hidden layer, and "
    "AugLocal's heads copy one layer.",
    "PhyLL's layers have GELU instead of ReLU, and first weights of their own; it takes one step "
    "per batch here, like the other rules; as published it takes ten to twenty-five "
    "(`experiments/phyff.py`).",
    "Single-forward's virtual rows are drawn images, one per class, instead of nodes of a graph.",
)
ISOLATED = (
    "greedy",
    "DGL",
    "PredSim",
    "InfoPro, softmax",
    "InfoPro, contrast",
    "AugLocal",
    "greedy with MAN",
    "tpSGD, l2",
    "tpSGD, l1",
    "DRTP",
    "single-forward",
    "forward-forward",
    "PhyLL, digital",
)
"""Rules whose layers learn by themselves, and so promise memory that is flat in depth."""
UNROLLED = ("InfoPro, softmax", "InfoPro, contrast", "single-forward", "forward-forward")
"""Those of them whose equal layers are not computed in a loop where memory is read: a loop has its
weights and gradients stacked, which takes more here than the layers' activities."""
WHY = {
    "DRTP": "its signal does not shrink when a layer reaches its target: with ReLU and Adam the "
    "mean output of layer 4 grows from 0.04 to 4 million (seed 100), and rates of 1e-4 and 1e-5 "
    "reach 20 and 11 % (seeds 100 and 101); `tpsgd` has it with tanh and SGD",
    "greedy": "linear heads learn more slowly at this rate: three times the rate reaches 92.8 % "
    "(seeds 100 and 101)",
}
"""What later runs said of claims that failed."""
SIDES = {"digits": 8, "mnist": 28, "fashion_mnist": 28}


@dataclass(frozen=True)
class Config:
    """One row.

    dataset: `"mnist"`, `"fashion_mnist"` or `"digits"`.
    depths: numbers of hidden layers at which memory is read from the compilers; none skips it.
    """

    method: str = "backprop"
    layers: int = 4
    width: int = 256
    dataset: str = "mnist"
    train: int | None = 10000
    test: int | None = None
    duration: str = "5ep"
    batch: int = 128
    learning_rate: float = 1e-3
    depths: tuple[int, ...] = (8, 32, 110)
    cost_width: int = 256
    cost_batch: int = 4096

    def __post_init__(self) -> None:
        if self.method not in RULES:
            raise ValueError(f"method={self.method!r} is none of {[*RULES]}")
        if self.dataset not in SIDES:
            raise ValueError(f"dataset={self.dataset!r} is none of {[*SIDES]}")
        for name in ("layers", "width", "batch", "cost_width", "cost_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; it has to be 1 or more")

    @property
    def pixels(self) -> int:
        """Entries of an image."""
        return SIDES[self.dataset] ** 2


PRESETS = {
    "smoke": Config(
        layers=2, width=32, dataset="digits", train=None, duration="2ep", depths=(), batch=64
    ),
    "small": Config(),
    "paper": Config(width=1000, train=None, duration="60ep", layers=8),
}


def rows(preset: Config) -> list[Row]:
    """Every rule."""
    return [Row(name, replace(preset, method=name)) for name in RULES]


def transform_of(config: Config) -> optax.GradientTransformation:
    """Adam, the same for every rule."""
    return optax.adam(config.learning_rate)


def train(config: Config, seeds: Sequence[int], run: Run) -> dict[int, dict[str, float]]:
    """Train all seeds together and read off what a step costs."""
    data = load(config.dataset, train=config.train, test=config.test)
    rule = rule_of(config.method, config.layers, config.width, pixels=config.pixels)
    streams = [batches(data.train, config.batch, seed=seed) for seed in seeds]
    states, step = over_seeds(rule, lambda key: transform_of(config), seeds, streams[0](0))
    fitted = fit(
        step,
        states,
        own_rows(stacked(streams)),
        mesh=every_device(),
        steps=steps_of(config.duration, streams[0].steps_per_epoch),
        chunk=50,
        workdir=run.folder(seeds),
        config=asdict(config),
        progress=run.progress,
        name=config.method,
    )
    judge = evaluator(rule.predict, {"accuracy": correct}, padded(data.test, 1000))
    cost, ratios = costs(config), step_ratios(config, streams[0](0), len(seeds))
    return {
        seed: {"accuracy": 100 * judge(seed_of(fitted.state, i))["accuracy"]}
        | cost
        | {"step_ratio": ratios[i]}
        for i, seed in enumerate(seeds)
    }


def costs(config: Config) -> dict[str, float]:
    """What the compilers say of a step, by depth."""
    found: dict[str, float] = {}
    for layers in config.depths:
        made = abstract_program(config, layers, loop=config.method not in UNROLLED)
        compiled = jax.jit(made.step, donate_argnums=0).lower(made.state, made.batch).compile()
        memory: Any = compiled.memory_analysis()
        tpu = tpu_temporaries(made)
        found |= {} if tpu is None else {f"tpu_mb_{layers}": tpu / 1e6}
        found[f"cpu_mb_{layers}"] = memory.temp_size_in_bytes / 1e6
        if layers == config.depths[0]:
            found["gflop"] = operations(config, layers) / 1e9
    return found


def operations(config: Config, layers: int) -> float:
    """Floating-point operations of a step as it is written, recomputation included."""
    made = abstract_program(config, layers, loop=False)
    return flops.count(made.step, made.state, made.batch)


def step_ratios(config: Config, batch: Mapping[str, Any], count: int) -> list[float]:
    """So many times the time of a step over that of backprop's, each the median of runs in turn."""
    from experiments.harness import bench, timing

    programs = {name: timed_program(config, name, batch) for name in ("backprop", config.method)}
    runners = {name: bench.compiled(program)[0] for name, program in programs.items()}
    rounds = [bench.take_turns(runners) for _ in range(count)]
    return [timing.ratio(times[config.method], times["backprop"]) for times in rounds]


def timed_program(config: Config, method: str, batch: Mapping[str, Any]) -> Program:
    """The training step of a rule with its first state."""
    rule = rule_of(method, config.layers, config.width, pixels=config.pixels)
    tx = transform_of(config)
    state = jax.jit(partial(make_state, rule, tx))(jax.random.key(0), batch)
    return Program(make_step(rule, tx), state, dict(batch))


def abstract_program(config: Config, layers: int, *, loop: bool) -> Program:
    """The step with so many layers of `cost_width`, as shapes."""
    rule = rule_of(config.method, layers, config.cost_width, pixels=config.pixels, loop=loop)
    return _abstract(rule, config, config.cost_batch)


def _abstract(rule: Rule, config: Config, size: int) -> Program:
    tx, side = transform_of(config), SIDES[config.dataset]
    batch = labelled(size, (side, side, 1))
    return abstract(rule, tx, batch)


def program(config: Config) -> Program:
    """The preset's step with its batch on each of 256 chips."""
    rule = rule_of(config.method, config.layers, config.width, pixels=config.pixels)
    return _abstract(rule, config, 256 * config.batch)


def bench() -> Bench:
    """One step of every rule, as the small preset trains them; two beside PyTorch."""
    from experiments.peers import dense

    config = PRESETS["small"]
    data = load(config.dataset, train=config.train, test=config.test)
    batch = batches(data.train, config.batch, seed=0)(0)
    programs = {name: timed_program(config, name, batch) for name in RULES}

    def beside(name: str) -> Peer:
        rule = rule_of(name, config.layers, config.width, pixels=config.pixels)
        begin = partial(dense.start, rule, programs[name], rate=config.learning_rate)
        return Peer("torch", begin)

    return Bench(programs, {name: beside(name) for name in ("backprop", "greedy")})


METRICS: dict[str, str] = {
    "accuracy": "of test images after the last step, %",
    "tpu_mb_*": "temporaries of a step with so many hidden layers in the main memory of a TPU v5e "
    "chip, MB",
    "cpu_mb_*": "temporaries of a step with so many hidden layers on this machine's CPU, MB",
    "gflop": "operations of a step as it is written, with the first of these numbers of layers, "
    "10^9",
    "step_ratio": "time of a step as trained here over that of backprop, ratio",
}


def claims(measured: Measured) -> list[Claim]:
    """What is known of the family, at this scale."""
    found = [_memory(measured)] if _deep(measured, "backprop") else []
    if {"readout alone", "greedy", "backprop"} <= set(measured.rows):
        found += [
            _above(measured, name, "readout alone", 1) for name in ("greedy", "tpSGD, l2", "DRTP")
        ]
        found.append(_above(measured, "greedy", "backprop", -2))
    return found


def _above(measured: Measured, name: str, other: str, margin: float) -> Claim:
    words = f"at most {-margin} points below" if margin < 0 else f"at least {margin} points above"
    return Claim(
        f"{name}-{other}".replace(" ", "-").replace(",", ""),
        f"{name} is {words} {other}",
        measured.gap(name, other, "accuracy") >= margin,
        f"{measured.show(name, 'accuracy')}, {measured.show(other, 'accuracy')}",
        WHY.get(name, "nothing was tuned for any rule, so this one may want another learning rate"),
    )


def _deep(measured: Measured, name: str) -> list[str]:
    return [metric for metric in measured.rows[name] if metric.startswith("tpu_mb_")]


def _memory(measured: Measured) -> Claim:
    """Rules with isolated layers need no more memory at the largest depth than at the smallest."""
    first, *_, last = _deep(measured, "backprop")
    names = [name for name in ISOLATED if name in measured.rows]
    grown = {name: measured.mean(name, last) - measured.mean(name, first) for name in names}
    lean = measured.mean("checkpointed backprop", last)
    most = max(measured.mean(name, last) for name in names)
    return Claim(
        "flat-memory",
        f"isolated layers: from {first} to {last} temporaries grow by less than one activation per "
        "ten layers, and end below checkpointed backprop's",
        most <= lean and max(grown.values()) < _activation(measured, first, last),
        f"growth {', '.join(f'{name} {mb:.1f}' for name, mb in grown.items())} MB; at {last} at "
        f"most {most:.1f}, checkpointed backprop {lean:.1f} MB",
        "PredSim holds a similarity matrix of batch x batch (67 MB) more at 110 layers; MAN's "
        "averaged layers are written beside the old ones, twice 27 MB for 102 layers more; a head "
        "of InfoPro with contrast has four times the weights of a layer",
    )


def _activation(measured: Measured, first: str, last: str) -> float:
    """A tenth of what backprop's temporaries grow by, in 10^6 bytes."""
    return 0.1 * (measured.mean("backprop", last) - measured.mean("backprop", first))


def figure(table: Mapping[str, Any]) -> Any:
    """Accuracy against the temporaries of a step with the most layers."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(8, 5), layout="constrained")
    axes = drawing.subplots()
    found = {row["name"]: row["metrics"] for row in table["rows"]}
    depths = [metric for metric in next(iter(found.values())) if "_mb_" in metric]
    on_tpu = [metric for metric in depths if metric.startswith("tpu")]
    chosen = (on_tpu or depths or ["step_ratio"])[-1]
    ranked = sorted(found, key=lambda name: found[name]["accuracy"]["mean"])
    for rank, name in enumerate(ranked):
        color = "C1" if "backprop" in name else "C0"
        x, y = found[name][chosen]["mean"], found[name]["accuracy"]["mean"]
        axes.plot(x, y, "o", color=color)
        # many rules are alike: names stand in a column beside the plot, each with a line to its dot
        line = {"arrowstyle": "-", "lw": 0.4, "color": color, "relpos": (0, 0.5)}
        axes.annotate(
            name,
            (x, y),
            xytext=(1.08, (rank + 0.5) / len(ranked)),
            textcoords="axes fraction",
            va="center",
            fontsize=7,
            color=color,
            arrowprops=line,
            annotation_clip=False,
        )
    unit = f"temporaries of a step, MB ({chosen})" if chosen in depths else chosen
    axes.set(xlabel=unit, ylabel="test accuracy, %", xscale="log")
    return drawing


EXPERIMENT = Experiment(
    slug="local-learning",
    title="Local and forward-only learning on one network",
    paper="no paper; each rule cites its own",
    slots=("rule",),
    Config=Config,
    presets=PRESETS,
    rows=rows,
    train=train,
    claims=claims,
    program=program,
    bench=bench,
    figure=figure,
    metrics=METRICS,
    deviations=DEVIATIONS,
    notes=(
        f"{CLASSES} classes; every rule has Adam at the same learning rate.",
        "Memory is read with equal layers in a loop, but for InfoPro, single-forward and "
        "forward-forward: a loop has weights and gradients stacked, which takes more there than "
        "layers one by one (InfoPro with softmax 170 MB at 110 layers), but compiles in a minute "
        "or two instead of five to fifteen.",
        "From 8 to 110 layers backprop's temporaries on a TPU grow by 395 MB, those of "
        "unsupervised forward-forward by 268 MB, for its readout learns from the activities of all "
        "layers at once.",
    ),
)

if __name__ == "__main__":
    main(EXPERIMENT)
