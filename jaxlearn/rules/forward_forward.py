"""Forward-forward learning: active on real data, quiet on made-up data, layer by layer.

Hinton, "The forward-forward algorithm: some preliminary investigations", 2022 (arXiv 2212.13345),
sections 2 and 3. Negative data are inputs with a wrong label written into them, or, without labels,
inputs that only look real from near; the engine is that of the local rules.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen

from jaxlearn.core import (
    Batch,
    Key,
    Metrics,
    Model,
    Objective,
    Params,
    PyTree,
    Rule,
    State,
    from_linen,
    prepared,
    trees,
)
from jaxlearn.data.negative_data import LabelEmbedding, every_label, hybrids, wrong_labels
from jaxlearn.models.gnn import row_norm
from jaxlearn.objectives import cross_entropy, forward_forward_loss, goodness, weighted_mean
from jaxlearn.rules.local_learning import LocalModule, local_learning
from jaxlearn.rules.single_forward import normalised

NEGATIVE = "negative"
PairLoss = Callable[[jax.Array, jax.Array], jax.Array]
"""`(goodness of positives [B], of negatives [B]) -> [B]`."""


class Labelled(NamedTuple):
    """A rule on pairs of inputs with the right and with a wrong label.

    Attributes:
        rule: scores `[B, K]` are its prediction.
        augment: `(batch, key) -> batch` with a wrong label per example.
        inputs: what enters the first layer: `[2 B, ...]`, positives first, of an augmented batch;
            otherwise `[B * K, ...]`, every input with every label.
    """

    rule: Rule
    augment: Callable[[Batch, Key], Batch]
    inputs: Callable[[Batch], jax.Array]


def added(outputs: list[jax.Array]) -> jax.Array:
    """The sum of arrays of one shape."""
    return jnp.sum(jnp.stack(outputs), 0)


def with_labels(
    build: Callable[..., Rule],
    embedding: LabelEmbedding,
    score: Callable[[list[jax.Array]], jax.Array] = added,
) -> Labelled:
    """Feed a local rule pairs of inputs to train on and all labels to choose from.

    Args:
        build: `(inputs=, combine=) -> Rule`, such as `local_learning` with its modules.
        embedding: writes labels into inputs.
        score: from the layers' outputs, one number per row, to the number a label is chosen by.
    """

    def augment(batch: Batch, key: Key) -> Batch:
        return batch | {NEGATIVE: wrong_labels(key, batch, embedding.classes)}

    def inputs(batch: Batch) -> jax.Array:
        x = batch["inputs"]
        if NEGATIVE not in batch:
            return every_label(embedding, x)
        labels = (batch["labels"], batch[NEGATIVE])
        return jnp.concatenate([embedding.write(x, given) for given in labels])

    def combine(outputs: list[jax.Array], batch: Batch) -> jax.Array:
        return jnp.reshape(score(outputs), (-1, embedding.classes))

    rule = prepared(build(inputs=inputs, combine=combine), lambda batch: batch, augment)

    def init(key: Key, batch: Batch) -> tuple[Params, State]:
        # a sequence starts with as many rows as will go through it: pairs where there are labels
        return rule.init(key, augment(batch, key) if "labels" in batch else batch)

    return Labelled(rule._replace(init=init), augment, inputs)


def forward_forward(
    blocks: Sequence[Model],
    embedding: LabelEmbedding,
    *,
    theta: float | None = None,
    mean: bool = False,
    loop: bool = False,
) -> Rule:
    """Supervised forward-forward: positives carry the right label, negatives a wrong one.

    `h_l = block_l(sqrt(n) h_{l-1} / (||h_{l-1}|| + 1e-8))` for n units (the first block gets the
    input as it is), `g_l = sum h_l^2`,
    `L_l = -log sigmoid(g_l+ - theta) - log sigmoid(theta - g_l-)`, and no gradient passes between
    blocks. The score of a label is the goodness summed over all blocks but the first
    (section 3.3), over the only one if there is one.

    Args:
        blocks: the layers, each ending in its activation.
        embedding: writes labels into inputs.
        theta: the threshold of goodness; by default the number of units (1 with `mean`), which is
            what units of variance 1 have.
        mean: average the squares over the units instead of adding them up.
        loop: compute equal neighbours in one compiled loop, see `local_learning`.

    Example:
        >>> from jaxlearn.data.negative_data import overwrite_label
        >>> from jaxlearn.models.tiny import tiny_batch, tiny_blocks
        >>> rule = forward_forward(tiny_blocks(), overwrite_label(3))
        >>> params, state = jax.jit(rule.init)(jax.random.key(0), tiny_batch())
        >>> jax.jit(rule.predict)(params, state, tiny_batch())[0].shape
        (32, 3)
    """
    modules = _modules(blocks, theta, mean)

    def score(outputs: list[jax.Array]) -> jax.Array:
        return added([goodness(h, mean=mean) for h in outputs[1:] or outputs])

    return with_labels(partial(local_learning, modules, loop=loop), embedding, score).rule


def unsupervised_forward_forward(
    blocks: Sequence[Model],
    classes: int,
    *,
    negatives: Callable[[Batch, Key], jax.Array] = hybrids,
    theta: float | None = None,
    mean: bool = False,
    loop: bool = False,
) -> Rule:
    """Unsupervised forward-forward with a linear read-out (section 3.2).

    The blocks learn to be active on the inputs and quiet on `negatives`, without labels. A softmax
    layer learns the labels from the activities of all blocks but the first (of the only one), each
    divided by its length, and sends nothing back.

    Args:
        blocks: the layers, each ending in its activation.
        classes: outputs of the read-out.
        negatives: `(batch, key) -> inputs` that are not real; by default pairs of images mixed by
            blurred masks. Mixing needs other examples, so it depends on how a batch is split;
            `data.negative_data.scrambled` does not.
        theta: the threshold of goodness, as in `forward_forward`.
        mean: average the squares over the units instead of adding them up.
        loop: as in `forward_forward`.
    """
    if classes < 2:
        raise ValueError(f"classes={classes}; the read-out needs at least two")

    def inputs(batch: Batch) -> PyTree:
        x = batch["inputs"]
        return jnp.concatenate([x, batch[NEGATIVE]]) if NEGATIVE in batch else x

    def activities(outputs: list[jax.Array], batch: Batch) -> jax.Array:
        kept = outputs[1:] or outputs
        return jnp.concatenate([row_norm(h.reshape(len(h), -1)) for h in kept], 1)

    def augment(batch: Batch, key: Key) -> Batch:
        return batch | {NEGATIVE: negatives(batch, key)}

    modules = _modules(blocks, theta, mean)
    layers = local_learning(modules, inputs=inputs, combine=activities, loop=loop)
    rule = prepared(layers, lambda batch: batch, augment)
    return with_readout(rule, from_linen(linen.Dense(classes)))


def pair_objective(loss: PairLoss) -> Objective:
    """A loss of goodness `[2 B]`, positives first, as an objective.

    `"separated"` is the share of examples whose positive has the higher goodness.
    """

    def objective(found: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
        positive, negative = jnp.split(found, 2)
        mean = weighted_mean(loss(positive, negative), batch)
        separated = weighted_mean((positive > negative).astype(found.dtype), batch)
        return mean, {"loss": mean, "separated": separated}

    return objective


def with_readout(rule: Rule, readout: Model, objective: Objective = cross_entropy) -> Rule:
    """Let a model learn from a rule's predictions, without sending anything back to them.

    Parameters are `{"layers": the rule's, "readout": the model's}`; the loss is the rule's and the
    read-out's together.
    """

    def init(key: Key, batch: Batch) -> tuple[Params, State]:
        own_key, key = jax.random.split(key)
        params, state = rule.init(key, batch)
        features, _ = rule.predict(params, state, batch)
        own, own_state = readout.init(own_key, features)
        states = {"layers": state, "readout": own_state}
        return {"layers": params, "readout": own}, trees.joined(states)

    def signal(params: Params, state: State, batch: Batch, key: Key):
        below = trees.part(state, "layers")
        grads, moved, metrics = rule.signal(params["layers"], below, batch, key)
        features = jax.lax.stop_gradient(rule.predict(params["layers"], below, batch)[0])

        def loss_of(own: Params):
            given = trees.part(state, "readout")
            outputs, new = readout.apply(own, given, features, train=True, key=key)
            loss, own_metrics = objective(outputs, batch)
            return loss, (new, own_metrics)

        own_grads, (new, own_metrics) = jax.grad(loss_of, has_aux=True)(params["readout"])
        total: Metrics = own_metrics | {"loss": metrics["loss"] + own_metrics["loss"]}
        states = trees.joined({"layers": moved, "readout": new})
        return {"layers": grads, "readout": own_grads}, states, metrics | total

    def predict(params: Params, state: State, batch: Batch) -> tuple[PyTree, State]:
        parts = {name: trees.part(state, name) for name in ("layers", "readout")}
        features, below = rule.predict(params["layers"], parts["layers"], batch)
        outputs, new = readout.apply(params["readout"], parts["readout"], features)
        return outputs, trees.joined({"layers": below, "readout": new})

    return Rule(init, signal, predict)


def _modules(blocks: Sequence[Model], theta: float | None, mean: bool) -> list[LocalModule]:
    if not blocks:
        raise ValueError("forward-forward needs at least one block, found none")

    def objective(h: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
        typical = 1.0 if mean else h[0].size
        threshold = typical if theta is None else theta
        loss = pair_objective(lambda p, n: forward_forward_loss(p, n, threshold))
        return loss(goodness(h, mean=mean), batch)

    behind = cache(lambda block: normalised(block, equal_length))  # equal blocks stay equal
    equal = [blocks[0], *map(behind, blocks[1:])]
    return [LocalModule(block, objective) for block in equal]


def equal_length(h: jax.Array) -> jax.Array:
    """Every row at length `sqrt(n)` for n entries, a mean square of 1: only its direction is left.

    Example:
        >>> [round(float(a), 3) for a in equal_length(jnp.array([[3.0, 4.0]]))[0]]
        [0.849, 1.131]
    """
    return row_norm(h) * h[0].size ** 0.5


def examples() -> dict[str, Rule]:
    """With labels in the inputs, and without labels and by mean squares, at toy size."""
    from jaxlearn.data.negative_data import overwrite_label, scrambled
    from jaxlearn.models.tiny import CLASSES, tiny_blocks

    return {
        "forward-forward": forward_forward(tiny_blocks(), overwrite_label(CLASSES)),
        "forward-forward-unsupervised": unsupervised_forward_forward(
            tiny_blocks(), CLASSES, negatives=scrambled, mean=True
        ),
    }
