"""MixtureGrowth, WACV 2024: two small networks become the diagonal blocks of a wide one.

    python -m experiments table mixturegrowth --preset small

EXPECTED

Every weight of a member is a mixture of templates (`parametrizations/templates.py`). Two members of
half the width are trained one after the other; growth (`procedures/growth.py`) makes the other
blocks of each wide weight out of new mixtures of their templates, and a short last phase trains
everything. Beside it: the wide network from scratch, member 0 as it is and trained on, the sum of
the members' logits, random off-diagonal blocks, and Net2WiderNet (`procedures/net2wider.py`). Rows
that are trained have the same FLOPs in all, those of both members and the last phase.

`accuracy` and `start` are of test images in percent, after all training and right after growth.
`tflop` is 6 times the multiply-adds of the kernels (closed form) over all images of all phases,
in units of 10^12. `from_ensemble` is how far the grown network's logits are from the sum of the
members', relative to the largest. `flops_share` and `temp_share` compare the compiled steps of a
member and of the grown network.

Deviations from the paper are listed in `DEVIATIONS`, each with its reason.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.harness import Bench, Experiment, Program, Run, bars, each_seed, main
from experiments.harness.store import fingerprint
from experiments.parts.abstract import abstract, labelled
from experiments.parts.mixturegrowth_both import both
from experiments.parts.mixturegrowth_claims import claims
from experiments.parts.mixturegrowth_cost import alone_steps, spent
from experiments.parts.mixturegrowth_images import (
    SHAPES,
    blank,
    data_of,
    moves_of,
    normalised,
    shape_of,
)
from experiments.parts.mixturegrowth_networks import network
from experiments.parts.mixturegrowth_rows import rows
from jaxlearn.core import (
    FROZEN,
    Batch,
    Key,
    Model,
    Params,
    Rule,
    State,
    TrainState,
    make_state,
    make_step,
    prepared,
    reparametrize,
    trees,
)
from jaxlearn.data.batches import batches, padded
from jaxlearn.objectives import cross_entropy
from jaxlearn.parametrizations.templates import SETS, member, wide
from jaxlearn.procedures.growth import (
    Mode,
    grow,
    grown_momentum,
    grown_state,
    with_random_blocks,
)
from jaxlearn.procedures.net2wider import net2wider
from jaxlearn.rules import backprop
from jaxlearn.runtime import every_device, fit, own_rows
from jaxlearn.transforms.schedules import cosine_cycles

DEVIATIONS = (
    "`small`: WRN-10-1 on 10,000 images of CIFAR-10, averaged to 16x16 pixels so that three seeds "
    "take minutes on one core, crops of 2 pixels and no cutout. Its figures are not the paper's.",
    "Rates, warm-ups and lengths of `small` were chosen with seed 100 on validation images.",
    "CIFAR-100 and ImageNet are left out: `paper` is the protocol of CIFAR-10.",
    "The last step counts; nothing is selected on test images.",
    "In phase 2 set 0 is no part of the step, so that it gets neither gradient nor decay.",
    "Rates are set by step, and the cosine of a phase begins with its warm-up.",
    "Momentum begins at zero where member 0 is trained on, by itself or widened, and where blocks "
    "are drawn at random.",
    "Weights of the target from scratch are drawn with the deviation of templates, so that target "
    "and members begin alike.",
    "Naive growth draws off-diagonal blocks with Kaiming's deviation over the whole layer's "
    "inputs, and trains weights in place of templates.",
)
CHIPS = 256
"""Chips that `compile` shares the paper's step over, each with one published batch."""
Growth = Literal[Mode, "blocks"]


@dataclass(frozen=True)
class Config:
    """One row.

    method: `grow` is MixtureGrowth; `member`, `continued` and `ensemble` are member 0, member 0
        trained on, and the sum of both members' logits; `scratch` the target.
    growth: where the coefficients of new blocks come from; `blocks` draws the blocks themselves.
    noise: scale of new coefficients where they are drawn.
    templates: K. sets: which set feeds which block.
    keep_momentum: through growth, for the leaves that members have.
    both: weight of member 0's loss in phase 2, where 0 leaves it as it is.
    first_share: of the training images that member 0 sees.
    matched: train the target for as many FLOPs as the others, else for the steps of phase 1.
    steps, rates, warm: of phases 1 to 3, the highest rate and the steps of its rise. floors: lowest
        rates of phases 1 and 2, and of 3. cycles: of the cosine in phase 3.
    continued_rate: highest rate where member 0 is trained on, wider or not. copy_noise: on the
        copies of Net2WiderNet.
    depth, width: of the target. size: pixels on a side. crop: pixels of zeros around a picture
        before it is cut and flipped; 0 leaves both out. cutout: side of the square, 0 for none.
    judged: the part that is measured; pilots look at validation images.
    """

    method: Literal["grow", "member", "continued", "ensemble", "scratch", "net2wider"] = "grow"
    growth: Growth = "orthogonal"
    noise: float = 1.0
    templates: int = 2
    sets: tuple[int, int, int, int] = SETS
    keep_momentum: bool = True
    both: float = 0.0
    first_share: float = 1.0
    matched: bool = True
    steps: tuple[int, int, int] = (300, 300, 120)
    rates: tuple[float, float, float] = (0.1, 0.1, 0.05)
    warm: tuple[int, int, int] = (30, 30, 5)
    floors: tuple[float, float] = (1e-6, 1e-6)
    cycles: int = 1
    continued_rate: float = 0.05
    copy_noise: float = 0.01
    weight_decay: float = 5e-4
    dataset: Literal["digits", "cifar10"] = "cifar10"
    depth: int = 10
    width: float = 1.0
    size: int = 16
    crop: int = 2
    cutout: int = 0
    batch: int = 128
    train: int | None = 10_000
    validation: int = 2000
    test: int | None = 2000
    judged: Literal["test", "validation"] = "test"

    def __post_init__(self) -> None:
        if min(*self.steps, self.batch, self.templates, self.cycles) < 1:
            raise ValueError("steps, batch, templates and cycles must be at least 1")
        if {*self.sets} - {0, 1} or self.sets[:2] != (0, 1):
            raise ValueError(f"sets={self.sets}; the first two are 0, 1, the others 0 or 1")
        if not 0 < self.first_share <= 1 or self.both < 0:
            raise ValueError(
                f"first_share={self.first_share} has to be in (0, 1] and both={self.both} at least "
                "0"
            )
        if SHAPES[self.dataset][0] % self.size:
            raise ValueError(f"size={self.size} does not divide {SHAPES[self.dataset][0]} pixels")


PRESETS = {
    "smoke": Config(
        dataset="digits",
        size=8,
        crop=1,
        cutout=2,
        steps=(5, 5, 5),
        warm=(1, 1, 1),
        cycles=2,
        batch=32,
        train=256,
        validation=64,
        test=128,
    ),
    "small": Config(),
    "paper": Config(
        steps=(78_000, 78_000, 15_600),
        rates=(0.1, 0.1, 1e-4),
        warm=(780, 780, 390),
        floors=(1e-6, 3e-5),
        cycles=4,
        continued_rate=0.1,
        depth=28,
        width=10.0,
        size=32,
        crop=4,
        cutout=16,
        train=None,
        validation=0,
        test=None,
    ),
}
"""`small` takes the steps of the whole protocol for networks of its size, 300, 300 and 120 of 128
images, at half the resolution; `paper` has 200, 200 and 40 epochs of 390 steps."""
SMALL = PRESETS["small"]


def net(config: Config, half: bool) -> Model:
    """The wide network, or a member of half its width."""
    return network(config.dataset, config.depth, config.width, half)


LEARNER = ("dataset", "depth", "width", "size", "crop", "cutout", "batch", "templates", "sets")
MEMBERS = (
    *LEARNER[:-1],
    "both",
    "first_share",
    "steps",
    "rates",
    "warm",
    "floors",
    "weight_decay",
    "train",
    "validation",
    "test",
)
"""What of a config decides the members: rows share them."""


def only(config: Config, names: tuple[str, ...]) -> Config:
    """The config with everything but these fields at its default."""
    return replace(SMALL, **{name: getattr(config, name) for name in names})


def members_of(config: Config) -> Config:
    """The config of the members that a row grows from, without its last phase."""
    own = only(config, MEMBERS)
    first = lambda values, default: (*values[:2], default[2])
    return replace(
        own,
        steps=first(own.steps, SMALL.steps),
        rates=first(own.rates, SMALL.rates),
        warm=first(own.warm, SMALL.warm),
        floors=(own.floors[0], SMALL.floors[1]),
    )


@cache
def _plain(config: Config, half: bool) -> Rule:
    shown = partial(normalised, config)
    return prepared(backprop(net(config, half), cross_entropy), shown, moves_of(config))


def plain_rule(config: Config, half: bool) -> Rule:
    """Backpropagation through ordinary weights."""
    return _plain(only(config, LEARNER), half)


@cache
def _member(config: Config, number: int) -> Rule:
    return reparametrize(plain_rule(config, True), member(number, config.templates))


def member_rule(config: Config, number: int = 0) -> Rule:
    """Backpropagation through the templates of a member; both members train by that of 0."""
    return _member(only(config, LEARNER), number)


@cache
def _wide(config: Config) -> Rule:
    rule = reparametrize(plain_rule(config, False), wide(config.sets))

    def init(key: Key, batch: Batch) -> tuple[Params, State]:
        first, second = (member_rule(config, number).init(key, batch) for number in (0, 1))
        return grown_from(config, first, second, key)

    return rule._replace(init=init)


def wide_rule(config: Config) -> Rule:
    """Backpropagation through all mixtures; it begins as members that nobody trained, grown."""
    return _wide(only(config, LEARNER))


@cache
def sgd(
    rate: float, steps: int, floor: float, warm: int, cycles: int, decay: float
) -> optax.GradientTransformation:
    """SGD with Nesterov momentum 0.9 along a cosine; coefficients do not decay."""
    falling = cosine_cycles(rate, steps, cycles=cycles, floor=floor, warmup=warm)
    mask = lambda tree: jax.tree.map_with_path(lambda keys, _: decays(trees.path(keys)), tree)
    return optax.chain(
        optax.add_decayed_weights(decay, mask), optax.sgd(falling, 0.9, nesterov=True)
    )


def decays(path: str) -> bool:
    """Templates, weights and norms."""
    return "coefficients" not in path.split("/")


def phase(config: Config, number: int) -> optax.GradientTransformation:
    """The transform of phase 1, 2 or 3, counted from 0."""
    last = number == 2
    return sgd(
        config.rates[number],
        config.steps[number],
        config.floors[1 if last else 0],
        min(config.warm[number], config.steps[number] - 1),
        config.cycles if last else 1,
        config.weight_decay,
    )


def fitted(
    config: Config,
    rule: Rule,
    tx: optax.GradientTransformation,
    start: TrainState,
    steps: int,
    home: Any,
    options: Mapping[str, Any],
) -> TrainState:
    """The state after so many steps; each phase, which `options` names, has an order of its own."""
    part, number = data_of(config).train, options["phase"]
    if number == 0 and config.first_share < 1:
        part = trees.over_examples(lambda x: x[: round(config.first_share * len(x))], part)
    stream = batches(part, config.batch, seed=options["seed"] + 10_000 * number)
    return fit(
        make_step(rule, tx),
        start,
        own_rows(stream),
        steps=steps,
        mesh=every_device(),
        workdir=home / str(number),
        config=asdict(config) | dict(options),
        progress=options.get("progress", False),
        name=f"phase {number + 1}",
    ).state


def members(config: Config, seed: int, run: Run) -> tuple[TrainState, TrainState]:
    """Both members after phases 1 and 2, which all rows with the same members share."""
    own, rule = members_of(config), member_rule(config)
    home = run.workdir.parent / "members" / fingerprint(own) / f"seed-{seed}"
    first = one_member(config, seed, run)
    tx, options = phase(own, 1), {"phase": 1, "seed": seed}
    second = begun(config, 1, tx, seed)
    if not own.both:
        return first, fitted(own, rule, tx, second, own.steps[1], home, options)
    together = both(rule, own.both)
    theta = {"0": first.params, "1": second.params}
    state = trees.joined({"0": first.state, "1": second.state})
    kept = {"0": momentum(first), "1": momentum(second)}
    opt_state = optax.tree_utils.tree_set(tx.init(theta), trace=kept)
    start = TrainState(jnp.int32(0), theta, state, opt_state, second.key)
    made = fitted(own, together, tx, start, own.steps[1], home, options)
    part = lambda name: made._replace(
        params=made.params[name],
        state=trees.part(made.state, name),
        opt_state=optax.tree_utils.tree_set(second.opt_state, trace=momentum(made)[name]),
    )
    return part("0"), part("1")


def one_member(config: Config, seed: int, run: Run) -> TrainState:
    """Member 0 after phase 1."""
    own = members_of(config)
    home = run.workdir.parent / "members" / fingerprint(own) / f"seed-{seed}"
    tx, options = phase(own, 0), {"phase": 0, "seed": seed}
    start = begun(config, 0, tx, seed)
    return fitted(own, member_rule(config), tx, start, own.steps[0], home, options)


def begun(config: Config, number: int, tx: optax.GradientTransformation, seed: int) -> TrainState:
    """A member before its first step; the same key gives both the same matrix of coefficients."""
    # not jitted: the draws of all layers in one program take the compiler half a minute
    made = make_state(member_rule(config, number), tx, jax.random.key(seed), blank(config))
    return made._replace(key=jax.random.fold_in(made.key, number))


def momentum(state: TrainState) -> Any:
    """What SGD keeps, in the shape of the parameters."""
    return optax.tree_utils.tree_get(state.opt_state, "trace")


def bare(state: State) -> State:
    """Running statistics, without what a parametrization keeps."""
    return {name: found for name, found in state.items() if name != FROZEN}


def grown_from(
    config: Config, first: tuple[Params, State], second: tuple[Params, State], key: Key
) -> tuple[Params, State]:
    """Mixtures of the wide network and its state, from those of the members."""
    shapes, statistics = jax.eval_shape(
        net(config, False).init, jax.random.key(0), jnp.zeros((1, *shape_of(config)))
    )
    mode: Mode = "zero" if config.growth == "blocks" else config.growth
    theta, frozen = grow(
        (first[0], first[1][FROZEN]["own"]),
        (second[0], second[1][FROZEN]["own"]),
        shapes,
        key,
        mode=mode,
        noise=config.noise,
    )
    state = grown_state(bare(first[1]), bare(second[1]), statistics)
    return theta, state | {FROZEN: {"own": frozen, "inner": {}}}


def grown(
    config: Config, first: TrainState, second: TrainState, seed: int
) -> tuple[Rule, optax.GradientTransformation, TrainState]:
    """The wide network right after growth, and what trains it."""
    key, tx = jax.random.fold_in(jax.random.key(seed), 2), phase(config, 2)
    grow_key, block_key, step_key = jax.random.split(key, 3)
    theta, state = grown_from(
        config, (first.params, first.state), (second.params, second.state), grow_key
    )
    if config.growth == "blocks":
        whole = wide(config.sets).materialize(theta, state[FROZEN]["own"])
        params = with_random_blocks(whole, block_key)
        start = TrainState(jnp.int32(0), params, bare(state), tx.init(params), step_key)
        return plain_rule(config, False), tx, start
    opt_state = tx.init(theta)
    if config.keep_momentum:
        kept = grown_momentum(momentum(first), momentum(second), theta)
        opt_state = optax.tree_utils.tree_set(opt_state, trace=kept)
    return wide_rule(config), tx, TrainState(jnp.int32(0), theta, state, opt_state, step_key)


def logits(rule: Rule, state: TrainState, part: Batch) -> np.ndarray:
    """`[examples, classes]` in evaluation mode."""
    found = [
        np.asarray(_predict(rule)(state.params, state.state, batch))[batch["mask"] > 0]
        for batch in padded(part, min(500, len(part["labels"])))
    ]
    return np.concatenate(found)


@cache
def _predict(rule: Rule) -> Any:
    return jax.jit(lambda params, state, batch: rule.predict(params, state, batch)[0])


def right(values: np.ndarray, part: Batch) -> float:
    """Accuracy in percent."""
    return 100 * float(np.mean(values.argmax(-1) == part["labels"]))


def train_one(config: Config, seed: int, run: Run) -> dict[str, float]:
    """Train what the row is made of, and judge it."""
    part = getattr(data_of(config), config.judged)
    way = {
        "grow": _grow,
        "member": _member_alone,
        "continued": _continued,
        "ensemble": _ensemble,
        "scratch": _scratch,
        "net2wider": _continued,
    }[config.method]
    return way(config, seed, run, part) | {"tflop": spent(config) / 1e12}


def _grow(config: Config, seed: int, run: Run, part: Batch) -> dict[str, float]:
    first, second = members(config, seed, run)
    rule, tx, start = grown(config, first, second, seed)
    before, sum_ = logits(rule, start, part), ensemble(config, (first, second), part)
    options = {"phase": 2, "seed": seed, "progress": run.progress}
    made = fitted(config, rule, tx, start, config.steps[2], run.folder(seed), options)
    far = float(np.abs(before - sum_).max() / np.abs(sum_).max())
    after = right(logits(rule, made, part), part)
    return {"accuracy": after, "start": right(before, part), "from_ensemble": far}


def ensemble(config: Config, pair: tuple[TrainState, TrainState], part: Batch) -> np.ndarray:
    """The sum of the members' logits."""
    one, two = (logits(member_rule(config), state, part) for state in pair)
    return one + two


def _ensemble(config: Config, seed: int, run: Run, part: Batch) -> dict[str, float]:
    pair = members(config, seed, run)
    return {"accuracy": right(ensemble(config, pair, part), part)}


def _member_alone(config: Config, seed: int, run: Run, part: Batch) -> dict[str, float]:
    values = logits(member_rule(config), one_member(config, seed, run), part)
    flops, temp = compiled_shares(config)
    return {"accuracy": right(values, part), "flops_share": flops, "temp_share": temp}


def _scratch(config: Config, seed: int, run: Run, part: Batch) -> dict[str, float]:
    steps, rule = alone_steps(config), plain_rule(config, False)
    tx = descent(config, config.rates[0], steps)
    start = drawn(make_state(rule, tx, jax.random.key(seed), blank(config)), seed)
    # all of the training images, whatever member 0 sees
    options = {"phase": 2, "seed": seed, "progress": run.progress}
    made = fitted(config, rule, tx, start, steps, run.folder(seed), options)
    return {"accuracy": right(logits(rule, made, part), part)}


def drawn(state: TrainState, seed: int) -> TrainState:
    """Kernels drawn anew with the deviation that templates begin with, see `templates.member`."""
    keys = iter(jax.random.split(jax.random.fold_in(jax.random.key(seed), 3), 999))
    new = lambda leaf: (
        math.sqrt(2 / leaf.size) * jax.random.normal(next(keys), leaf.shape)
        if leaf.ndim > 1
        else leaf
    )
    return state._replace(params=jax.tree.map(new, state.params))


def _continued(config: Config, seed: int, run: Run, part: Batch) -> dict[str, float]:
    """Member 0 with the FLOPs that are left, as it is or widened by Net2WiderNet."""
    first, steps = one_member(config, seed, run), alone_steps(config)
    tx = descent(config, config.continued_rate, steps)
    key = jax.random.fold_in(jax.random.key(seed), 4)
    rule, params, state = member_rule(config), first.params, first.state
    if config.method == "net2wider":
        rule = plain_rule(config, False)
        params, state = widened(config, first, key)
    start = TrainState(jnp.int32(0), params, state, tx.init(params), key)
    before = right(logits(rule, start, part), part)
    options = {"phase": 2, "seed": seed, "progress": run.progress}
    made = fitted(config, rule, tx, start, steps, run.folder(seed), options)
    return {"accuracy": right(logits(rule, made, part), part), "start": before}


def widened(config: Config, first: TrainState, key: Key) -> tuple[Params, State]:
    """Member 0 as an ordinary network of twice its width."""
    frozen = first.state[FROZEN]["own"]
    params = member(0, config.templates).materialize(first.params, frozen)
    shapes, _ = jax.eval_shape(
        net(config, False).init, jax.random.key(0), jnp.zeros((1, *shape_of(config)))
    )
    return net2wider(params, bare(first.state), shapes, key, noise=config.copy_noise)


def descent(config: Config, rate: float, steps: int) -> optax.GradientTransformation:
    """One cosine over all steps, with the warm-up of phase 1."""
    warm = min(config.warm[0], steps - 1)
    return sgd(rate, steps, config.floors[0], warm, 1, config.weight_decay)


@cache
def _shares(config: Config) -> tuple[float, float]:
    batch = labelled(config.batch, shape_of(config))
    costs = []
    for rule in (member_rule(config), wide_rule(config)):
        made = abstract(rule, phase(SMALL, 0), batch)
        compiled = jax.jit(made.step).lower(made.state, made.batch).compile()
        memory: Any = compiled.memory_analysis()
        costs.append(((compiled.cost_analysis() or {})["flops"], memory.temp_size_in_bytes))
    (flops, temp), (all_flops, all_temp) = costs
    return flops / all_flops, temp / all_temp


def compiled_shares(config: Config) -> tuple[float, float]:
    """FLOPs and temporary bytes of a member's compiled step, by those of the wide network's."""
    return _shares(only(config, LEARNER))


def program(config: Config) -> Program:
    """One step of the grown network, every block a mixture, the published batch on each chip."""
    batch = labelled(CHIPS * config.batch, shape_of(config))
    return abstract(wide_rule(config), phase(config, 2), batch)


def bench() -> Bench:
    """One step of the wide network with plain weights, grown, and of a member."""
    draw = np.random.default_rng(0)
    batch = {
        "inputs": draw.uniform(size=(SMALL.batch, *shape_of(SMALL))).astype(np.float32),
        "labels": draw.integers(0, 10, SMALL.batch).astype(np.int32),
        "index": np.arange(SMALL.batch, dtype=np.int32),
    }
    tx = phase(SMALL, 2)
    of = lambda rule: Program(
        make_step(rule, tx), make_state(rule, tx, jax.random.key(0), batch), batch
    )
    rules = {
        "backprop": plain_rule(SMALL, False),
        "grown": wide_rule(SMALL),
        "member": member_rule(SMALL),
    }
    return Bench({name: of(rule) for name, rule in rules.items()})


def figure(table: Mapping[str, Any]) -> Any:
    """Accuracy in the end and right after growth."""
    return bars(table, {"accuracy": "test accuracy, %", "start": "right after growth, %"})


EXPERIMENT = Experiment(
    slug="mixturegrowth",
    title="MixtureGrowth: Growing Neural Networks by Recombining Learned Parameters",
    paper="Pham, Teterwak, Nelson and Plummer, WACV 2024, arXiv 2311.04251",
    slots=("parametrization", "procedure", "model"),
    Config=Config,
    presets={"smoke": PRESETS["smoke"], "small": PRESETS["small"], "paper": PRESETS["paper"]},
    rows=rows,
    train=each_seed(train_one),
    claims=claims,
    program=program,
    bench=bench,
    figure=figure,
    deviations=DEVIATIONS,
    notes=("`tflop` is in closed form: 6 times the multiply-adds of all kernels, by images.",),
)

if __name__ == "__main__":
    main(EXPERIMENT)
