"""Training around physics without backpropagation: model-free forward-forward learning (PhyLL).

Momeni, Rahmani, Malléjac, del Hougne, Fleury, "Backpropagation-free training of deep physical
neural networks", Science 382, 2023 (arXiv 2304.11042; settings of the published code). Fixed,
unknown physical systems take turns with trainable linear maps. Every map learns alone, from what
was measured for the right and for a wrong label in the input.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxlearn.core import (
    FROZEN,
    Batch,
    Key,
    Metrics,
    Model,
    Params,
    Rule,
    State,
    Step,
    TrainState,
    axis,
    trees,
)
from jaxlearn.data.negative_data import LabelEmbedding
from jaxlearn.models.gnn import row_norm
from jaxlearn.models.physical.black_box import black_box
from jaxlearn.models.physical.layer import PhysicalLayer, as_model, normalised_input
from jaxlearn.objectives import forward_forward_loss, goodness
from jaxlearn.objectives.cosine_goodness import contrast_loss, cosine_goodness, direction
from jaxlearn.rules.forward_forward import PairLoss, pair_objective, with_labels
from jaxlearn.rules.local_learning import HEADS, LocalModule, local_learning


class Criterion(NamedTuple):
    """What a layer is taught by.

    Attributes:
        head: from a layer's output to its goodness; without parameters, what it draws is frozen.
        loss: of the goodness of positives and negatives.
        unit_inputs: whether layers behind the first get rows of length 1, because goodness could
            be read off the length otherwise.
    """

    head: Model
    loss: PairLoss
    unit_inputs: bool


def cosine(theta: float = 4.0, *, absolute: bool = True) -> Criterion:
    """`g = cos(|h|, xi_l)`, loss `log(1 + exp(-theta (g+ - g-)))`.

    The direction `xi_l` of layer l is drawn once, from N(0, I) to unit length, and never changes.

    Args:
        theta: 4, or 5 for the optical system.
        absolute: take `|h|`, as with physical layers; without it, as in the digital network.
    """

    def init(key: Key, h: jax.Array) -> tuple[Params, State]:
        return {}, {FROZEN: {"direction": direction(key, h[0].size)}}

    def apply(params: Params, state: State, h: jax.Array, *, train: bool = False, key=None):
        xi = state[FROZEN]["direction"]
        return cosine_goodness(h, xi, absolute=absolute), state

    return Criterion(Model(init, apply), lambda p, n: contrast_loss(p, n, theta), False)


def sum_of_squares(theta: float = 2.0) -> Criterion:
    """`g = sum h^2`, loss `-log sigmoid(g+ - theta) - log sigmoid(theta - g-)`, unit inputs."""

    def apply(params: Params, state: State, h: jax.Array, *, train: bool = False, key=None):
        return goodness(h), state

    head = Model(lambda key, h: ({}, {}), apply)
    return Criterion(head, lambda p, n: forward_forward_loss(p, n, theta), True)


def phyff(
    layers: Sequence[PhysicalLayer],
    embedding: LabelEmbedding,
    criterion: Criterion | None = None,
    *,
    loop: bool = False,
) -> Rule:
    """One signal per layer: the gradient of its own loss by its own affine map.

    `v_l = measure_l(h_{l-1})`, `h_l = W_l v_l + b_l`, `L_l = mean loss(g(h_l+), g(h_l-))`, where +
    and - carry the right and a wrong label, and the signal is `dL_l / d(W_l, b_l)`. Physics is
    never differentiated. Wrong labels are drawn anew at every step. The prediction is
    `score[i, c] = sum over l of g(h_l with label c)`, all layers included.

    All layers learn from the weights before the step; `phyff_trainer` is the published loop.

    Args:
        layers: the physical layers.
        embedding: writes labels into inputs.
        criterion: `cosine()` by default, or `sum_of_squares()`.
        loop: compute equal neighbours in one compiled loop, see `local_learning`.

    Example:
        >>> from jaxlearn.data.negative_data import overwrite_label
        >>> from jaxlearn.models.physical import physical_layer, speckle
        >>> from jaxlearn.models.tiny import tiny_batch
        >>> layer = physical_layer(speckle(jax.random.key(0), 12), 8)
        >>> rule = phyff([layer, layer], overwrite_label(3))
        >>> params, state = jax.jit(rule.init)(jax.random.key(1), tiny_batch())
        >>> jax.jit(rule.predict)(params, state, tiny_batch())[0].shape
        (32, 3)
    """
    criterion = cosine() if criterion is None else criterion
    modules = _modules(_closed(layers, criterion), criterion)
    return with_labels(partial(local_learning, modules, loop=loop), embedding).rule


class Trainer(NamedTuple):
    """Training with a step of its own.

    Attributes:
        rule: of the same network, for its `predict`.
        state: `(key, batch) -> TrainState` before the first step.
        step: `(TrainState, batch) -> (TrainState, metrics)`.
    """

    rule: Rule
    state: Callable[[Key, Batch], TrainState]
    step: Step


def phyff_trainer(
    layers: Sequence[PhysicalLayer],
    embedding: LabelEmbedding,
    tx: optax.GradientTransformation,
    *,
    inner_steps: int = 10,
    criterion: Criterion | None = None,
) -> Trainer:
    """Several updates of each layer on what was measured once (the published loop).

    For every batch and l = 1 ... L: measure `v_l` for both labels; update `(W_l, b_l)` on `L_l`
    `inner_steps` times, with a transform of the layer's own whose state lasts from batch to batch;
    hand `h_l`, computed with the updated weights, to layer l + 1. Reported losses are means over
    the inner steps. Memory does not grow with depth.

    Args:
        layers: the physical layers.
        embedding: writes labels into inputs.
        tx: an optax transformation, one state per layer; Adam in the paper.
        inner_steps: updates per layer and batch: 10 (acoustic, microwave), 20 (optics), 25.
        criterion: `cosine()` by default, or `sum_of_squares()`.

    Raises:
        ValueError: when `inner_steps` is below 1.
    """
    if inner_steps < 1:
        raise ValueError(f"inner_steps={inner_steps}; it has to be 1 or more")
    criterion = cosine() if criterion is None else criterion
    closed, objective = _closed(layers, criterion), pair_objective(criterion.loss)
    labelled = with_labels(partial(local_learning, _modules(closed, criterion)), embedding)
    extended = optax.with_extra_args_support(tx)

    def start(key: Key, batch: Batch) -> TrainState:
        init_key, step_key = jax.random.split(key)
        params, state = labelled.rule.init(init_key, batch)
        opt_state = {str(i): tx.init(params[str(i)]) for i in range(len(closed))}
        return TrainState(jnp.int32(0), params, state, opt_state, step_key)

    def learn(layer: PhysicalLayer, own: Params, opt_state, head: State, v: jax.Array, batch):
        def loss_of(own: Params):
            h, _ = layer.readout.apply(own, {}, v, train=True)
            loss, metrics = objective(criterion.head.apply({}, head, h)[0], batch)
            return loss, metrics

        def once(carry, _):
            own, opt_state = carry
            grads, metrics = axis.mean(jax.grad(loss_of, has_aux=True)(own))
            updates, opt_state = extended.update(grads, opt_state, own, value=metrics["loss"])
            return (optax.apply_updates(own, updates), opt_state), metrics

        (own, opt_state), metrics = lax.scan(once, (own, opt_state), length=inner_steps)
        return own, opt_state, jax.tree.map(lambda m: m.mean(0), metrics)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key, _ = jax.random.split(jax.random.fold_in(state.key, state.step))
        batch = labelled.augment(batch, key)
        h, params, opt_state, metrics = labelled.inputs(batch), {}, {}, {}
        heads = trees.part(state.state, HEADS)
        for i, layer in enumerate(closed):
            name = str(i)
            given = (state.params[name], state.opt_state[name], trees.part(heads, name))
            v = layer.measure(h)
            params[name], opt_state[name], local = learn(layer, *given, v, batch)
            h = lax.stop_gradient(layer.readout.apply(params[name], {}, v)[0])
            metrics |= {f"{metric}/{name}": value for metric, value in local.items()}
        metrics |= {"loss": jnp.stack([metrics[f"loss/{name}"] for name in params]).sum()}
        rest = {name: part for name, part in state.params.items() if name not in params}
        new = state._replace(step=state.step + 1, params=params | rest, opt_state=opt_state)
        return new, metrics

    return Trainer(labelled.rule, start, step)


def _closed(layers: Sequence[PhysicalLayer], criterion: Criterion) -> list[PhysicalLayer]:
    """The layers with their physics shut off from derivatives and normalised where needed."""
    if not layers:
        raise ValueError("phyff needs at least one layer, found none")
    # each layer once, so that equal layers stay equal (see `loop`)
    shut = cache(lambda layer: layer._replace(measure=black_box(layer.measure)))
    behind = cache(lambda layer: normalised_input(layer, row_norm))
    closed = [*map(shut, layers)]
    return closed if not criterion.unit_inputs else [closed[0], *map(behind, closed[1:])]


def _modules(closed: Sequence[PhysicalLayer], criterion: Criterion) -> list[LocalModule]:
    model, objective = cache(as_model), pair_objective(criterion.loss)
    return [LocalModule(model(layer), objective, criterion.head) for layer in closed]


def examples() -> dict[str, Rule]:
    """Both kinds of goodness around a speckle, and the digital network, at toy size."""
    from jaxlearn.data.negative_data import overwrite_label
    from jaxlearn.models.layers.gelu import gelu
    from jaxlearn.models.physical.layer import physical_layer
    from jaxlearn.models.physical.optics import speckle
    from jaxlearn.models.tiny import CLASSES

    layer = physical_layer(speckle(jax.random.key(0), 12), 12)
    digital = physical_layer(None, 12, activation=gelu)
    labels = overwrite_label(CLASSES, 2.0)
    return {
        "phyff": phyff([layer, layer], labels),
        "phyff-sumsq": phyff([layer, layer], labels, sum_of_squares()),
        "phyff-digital": phyff([digital, digital], labels, cosine(absolute=False)),
    }
