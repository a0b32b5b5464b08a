"""Sequential training of a one-hidden-layer network by gradient boosting.

Emami & Martinez-Munoz, "Sequential training of neural networks with gradient boosting", IEEE Access
11 (2023), arXiv 1909.12098.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxlearn.core import (
    Batch,
    Key,
    Metrics,
    Model,
    Params,
    State,
    Step,
    TrainState,
    axis,
    stack,
    trees,
)
from jaxlearn.models.shallow import activation_of, shallow
from jaxlearn.objectives.boosting import BoostingLoss
from jaxlearn.procedures.lbfgs import lbfgs


class Boosted(NamedTuple):
    """A network grown in T stages of J hidden units: `F = F_0 + sum over t of rho_t f_t`.

    Attributes:
        initial: `F_0`, `[K]`.
        blocks: parameters of `shallow(J, K)` with a leading axis of stages.
        rho: `[T]`, the steps with the learning rate in them; 0 for a stage that is not there.
    """

    initial: jax.Array
    blocks: Params
    rho: jax.Array


class Learner(NamedTuple):
    """How a stage is trained; the defaults are the published ones.

    Attributes:
        units: J, the hidden units of a stage.
        subsample: share of the examples that a base learner is fitted to, drawn without
            replacement; the step is measured on all of them.
        activation: of the hidden units.
        l2: alpha of the penalty `alpha / (2 n) (|W|^2 + |V|^2)`; biases are free.
        max_iterations: of L-BFGS.
        tolerance: relative decrease at which L-BFGS ends; with 0 where no step lowers the value.
    """

    units: int = 1
    subsample: float = 0.5
    activation: str = "logistic"
    l2: float = 1e-4
    max_iterations: int = 200
    tolerance: float = 0.0


PUBLISHED = Learner()
"""One unit a stage on half of the examples."""


def boost(
    x: jax.Array,
    y: jax.Array,
    key: Key,
    loss: BoostingLoss,
    *,
    stages: int,
    learning_rate: float | jax.Array = 1.0,
    learner: Learner = PUBLISHED,
    active_units: int | jax.Array | None = None,
    active_stages: int | jax.Array | None = None,
) -> tuple[Boosted, Metrics]:
    """Grow a network stage by stage, each fitted to what the ones before left over.

    From `F = F_0`, each stage takes residuals `r = loss.residual(y, F)`, fits J units with a linear
    output to them by least squares on a random subset, measures the Newton step of the loss along
    the result on all examples, and adds it (Algorithm 1). A scan over stages compiles one stage;
    everything is pure, so `vmap` over keys, folds, learning rates and targets works.

    Args:
        x: `[N, D]`, standardised.
        y: `[N, K]` in the coding of the loss.
        key: of initial weights and subsets.
        loss: from `objectives.boosting`.
        stages: T.
        learning_rate: eta, a factor of every step.
        learner: how a stage is trained.
        active_units: as many of the J units as are used, the rest is padding with weight 0; may be
            traced, so that a grid over J shares one compilation.
        active_stages: likewise, stages that count; the others get a step of 0.

    Returns:
        The network and, by stage, the mean training `"loss"` after it, `"iterations"` of L-BFGS,
        and the `"fit"` it reached.

    Raises:
        ValueError: when a number is out of range or the shapes do not belong together.

    Example:
        >>> from jaxlearn.objectives.boosting import squared_error
        >>> x = jnp.linspace(-1, 1, 40)[:, None]
        >>> grown, found = boost(
        ...     x, jnp.sin(4 * x), jax.random.key(0), squared_error(), stages=4, learner=Learner(2)
        ... )
        >>> merge(grown)["hidden"]["kernel"].shape, bool(found["loss"][-1] < 0.02)
        ((1, 8), True)
    """
    _check(x, y, stages, learner)
    usable = jnp.arange(stages) < (stages if active_stages is None else active_stages)
    units = learner.units if active_units is None else active_units
    grow = partial(_stage, x, y, loss=loss, learner=learner, units=units)
    initial = loss.initial(y)

    def body(F: jax.Array, now: tuple[jax.Array, jax.Array]):
        t, used = now
        block, rho, f, found = grow(F, jax.random.fold_in(key, t), learning_rate)
        rho = jnp.where(used, rho, 0.0)
        F = F + rho * f
        return F, (block, rho, found | {"loss": axis.mean(loss.loss(y, F).mean())})

    start = jnp.broadcast_to(initial, y.shape)
    _, (blocks, rho, history) = lax.scan(body, start, (jnp.arange(stages), usable))
    return Boosted(initial, blocks, rho), history


def _stage(
    x: jax.Array,
    y: jax.Array,
    F: jax.Array,
    key: Key,
    learning_rate: float | jax.Array,
    *,
    loss: BoostingLoss,
    learner: Learner,
    units: int | jax.Array,
) -> tuple[Params, jax.Array, jax.Array, Metrics]:
    """One stage: its weights, step and outputs on all examples, and how the fit went."""
    draw, start_key = jax.random.split(key)
    rows = subset(draw, len(x), learner.subsample)
    residual = loss.residual(y, F)
    base = shallow(learner.units, y.shape[1], learner.activation)
    start = _masked(base.init(start_key, x)[0], units)
    # the penalty counts once, however many devices hold a share of the examples
    examples = len(rows) * (lax.psum(1, axis.DATA) if axis.bound() else 1)
    some, targets = x[rows], residual[rows]

    def objective(params: Params) -> jax.Array:
        params = _masked(params, units)
        miss = jnp.sum((targets - base.apply(params, {}, some)[0]) ** 2, -1).mean()
        weights = sum(jnp.sum(params[name]["kernel"] ** 2) for name in ("hidden", "out"))
        return 0.5 * miss + 0.5 * learner.l2 / examples * weights

    found = lbfgs(
        objective, start, max_iterations=learner.max_iterations, tolerance=learner.tolerance
    )
    block = _masked(found.params, units)
    f, _ = base.apply(block, {}, x)
    rho = learning_rate * loss.newton(y, residual, f)
    return block, rho, f, {"fit": found.value, "iterations": found.iterations}


def subset(key: Key, n: int, share: float) -> jax.Array:
    """`floor(share * n)` positions below n, without replacement; all in order for a share of 1.

    Each device draws from its own examples, with a key of its own.
    """
    if share == 1:
        return jnp.arange(n)
    return jax.random.permutation(jax.random.fold_in(key, axis.index()), n)[: int(share * n)]


def _masked(params: Params, units: int | jax.Array) -> Params:
    """The padding units cut out: weights, biases and output weights 0."""
    on = jnp.arange(params["hidden"]["bias"].shape[-1]) < units
    hidden = jax.tree.map(lambda leaf: jnp.where(on, leaf, 0), params["hidden"])
    kernel = jnp.where(on[:, None], params["out"]["kernel"], 0)
    return {"hidden": hidden, "out": {"kernel": kernel, "bias": params["out"]["bias"]}}


def staged(boosted: Boosted, x: jax.Array, activation: str = "logistic") -> jax.Array:
    """Scores of all prefixes, `[T + 1, N, K]`: `F_0`, then after one stage, …, after all.

    One product with all hidden units, then one cumulative sum.
    """
    merged = merge(boosted)["hidden"]
    hidden = activation_of(activation)(x @ merged["kernel"] + merged["bias"])
    hidden = hidden.reshape(len(x), len(boosted.rho), -1)
    out = boosted.blocks["out"]
    f = jnp.einsum("ntj,tjk->tnk", hidden, out["kernel"]) + out["bias"][:, None]
    steps = boosted.rho[:, None, None] * f
    first = jnp.broadcast_to(boosted.initial, steps.shape[1:])[None]
    return jnp.cumsum(jnp.concatenate([first, steps]), 0)


def best_stage(
    boosted: Boosted,
    x: jax.Array,
    y: jax.Array,
    loss: BoostingLoss,
    activation: str = "logistic",
) -> jax.Array:
    """The number of stages, 0 to T, with the least mean loss on the given (validation) examples.

    Later stages do not change earlier ones, so `prefix` at it is what stopping there would give.
    """
    scores = staged(boosted, x, activation)
    return jnp.argmin(jax.vmap(lambda F: loss.loss(y, F).mean())(scores))


def prefix(boosted: Boosted, stages: int) -> Boosted:
    """The first stages alone, the units trained last switched off.

    Raises:
        ValueError: when there are fewer stages.
    """
    if not 0 <= stages <= len(boosted.rho):
        raise ValueError(f"there are {len(boosted.rho)} stages, found stages={stages}")
    return Boosted(boosted.initial, *jax.tree.map(lambda leaf: leaf[:stages], boosted[1:]))


def merge(boosted: Boosted, kappa: float = 1.0) -> Params:
    """All stages as one network: parameters of `models.shallow` with T J hidden units.

    Hidden weights are put side by side, output weights are `kappa rho_t V_t` and the output bias is
    `kappa (F_0 + sum over t of rho_t b_t)`. With the `kappa` of the loss a logistic (or softmax)
    output gives the boosted probabilities.
    """
    hidden, out = boosted.blocks["hidden"], boosted.blocks["out"]
    kernel = jnp.moveaxis(hidden["kernel"], 0, -2)
    weights = kappa * boosted.rho[:, None, None] * out["kernel"]
    bias = kappa * (boosted.initial + boosted.rho @ out["bias"])
    return {
        "hidden": {
            "kernel": kernel.reshape(kernel.shape[0], -1),
            "bias": hidden["bias"].reshape(-1),
        },
        "out": {"kernel": weights.reshape(-1, weights.shape[-1]), "bias": bias},
    }


def on_features(
    features: Model, variables: tuple[Params, State], merged: Params, activation: str = "logistic"
) -> tuple[Model, Params, State]:
    """A trained feature extractor with a boosted network on it as one model.

    Any rule can fine-tune it end to end: `backprop(model, objective)` from these parameters.

    Args:
        features: `x -> [N, D]`, what the network was boosted on.
        variables: its parameters and state.
        merged: from `merge`, with `models.shallow.fold_scaler` where features were standardised.
        activation: of the boosted units.
    """
    units, outputs = merged["out"]["kernel"].shape
    head = shallow(units, outputs, activation)
    model = stack([features, head])
    params, state = variables
    return model, {"0": params, "1": merged}, trees.joined({"0": state, "1": {}})


def begin(
    x: jax.Array,
    y: jax.Array,
    key: Key,
    loss: BoostingLoss,
    *,
    stages: int,
    learner: Learner = PUBLISHED,
):
    """The `TrainState` before the first stage of `boosting_step`; its blocks are padding."""
    _check(x, y, stages, learner)
    base = shallow(learner.units, y.shape[1], learner.activation)
    one = jax.eval_shape(base.init, key, x)[0]
    blocks = jax.tree.map(lambda leaf: jnp.zeros((stages, *leaf.shape), leaf.dtype), one)
    empty = Boosted(jnp.zeros(y.shape[1]), blocks, jnp.zeros(stages))
    return TrainState(jnp.int32(0), empty, {}, (), key)


def boosting_step(
    loss: BoostingLoss, learning_rate: float = 1.0, learner: Learner = PUBLISHED
) -> Step:
    """One stage as a training step: `step(state, batch)` with all examples in every batch.

    It runs in the training loop, with checkpoints, and over devices that share the examples: every
    evaluation of L-BFGS averages value and gradient over them, and so do constant and Newton step.
    Without subsampling the result does not depend on the number of devices. The scores before the
    stage are computed anew from the stages so far. Labels are `[N, K]` in the coding of the loss.
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        x, y, t = batch["inputs"], batch["labels"], state.step
        grown = state.params._replace(initial=loss.initial(y))
        F = staged(grown, x, learner.activation)[-1]
        key = jax.random.fold_in(state.key, t)
        block, rho, f, found = _stage(
            x, y, F, key, learning_rate, loss=loss, learner=learner, units=learner.units
        )
        blocks = jax.tree.map(lambda all_, one: all_.at[t].set(one), grown.blocks, block)
        params = Boosted(grown.initial, blocks, grown.rho.at[t].set(rho))
        found["loss"] = axis.mean(loss.loss(y, F + rho * f).mean())
        return state._replace(step=t + 1, params=params), found

    return step


def _check(x: jax.Array, y: jax.Array, stages: int, learner: Learner) -> None:
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise ValueError(f"expected x [N, D] and y [N, K], found {x.shape} and {y.shape}")
    if stages < 1 or not 0 < learner.subsample <= 1 or int(learner.subsample * len(x)) < 1:
        raise ValueError(
            f"need stages >= 1 and a subsample in (0, 1] of at least one example, found "
            f"stages={stages} and subsample={learner.subsample} of {len(x)}"
        )
