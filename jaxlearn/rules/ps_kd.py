"""PS-KD: every example is taught a mixture of its label and what the network said of it before.

Kim, Ji, Yoon, Hwang, "Self-Knowledge Distillation with Progressive Refinement of Targets", ICCV
2021, arXiv 2006.12000.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxlearn.core import MEMORY, Batch, Key, Metrics, Params, PyTree, Rule, State, axis, trees
from jaxlearn.objectives.soft_targets import PREDICTIONS, TARGET

Schedule = Literal["linear", "fixed"]
Teacher = Literal["stored", "snapshot"]


def ps_kd(
    rule: Rule,
    *,
    examples: int,
    classes: int,
    per_epoch: int,
    epochs: int,
    alpha: float = 0.8,
    schedule: Schedule = "linear",
    teacher: Teacher = "stored",
    top: int | None = None,
) -> Rule:
    """Teach `t_i = (1 - alpha_e) onehot(y_i) + alpha_e Q_i`, in epoch e = 0 .. epochs - 1.

    `alpha_e = alpha (e + 1) / epochs`. `Q_i` is the prediction for example i one epoch earlier: as
    the training pass of that visit gave it (`"stored"`; section 3.2 and the released code), or as
    the weights of the end of the last epoch give it for the present view (`"snapshot"`). Where
    there is none yet, as in epoch 0, it is `onehot(y_i)`. With probabilities p and targets t the
    gradient by the logits is `p - t`: for the true class `(p_y - 1) w` with
    `w = 1 - alpha_e (1 - q_y) / (1 - p_y)`, so that an example counts less the more it improved.

    The rule inside learns from `batch["target"]` and hands its predictions out: give it the
    objective `remembered(soft_cross_entropy)`. Any rule will do, also one of local losses (all its
    heads are taught the same target), and `prepared` goes around: a snapshot sees what the rule
    sees. Examples carry `"index"`. Mixed pictures (`data.cutmix`) are taught the targets of both in
    the same proportion, and their predictions are not stored: they are of neither.

    The predictions `[examples, ..., classes]` live in the collection `"memory"`. Every device holds
    all of them and gathers what the others wrote; a second mesh axis can shard them. For large
    vocabularies or data sets `top` keeps of each prediction its largest probabilities alone, see
    `top_of` (the paper does not say how it stores those of translation). Metrics: `"alpha"`, and
    `"unseen"`, the share of the batch that has no prediction yet.

    Args:
        rule: gives the signal for a batch with targets.
        examples: N, size of the data set that `"index"` points into.
        classes: K.
        per_epoch: examples per epoch over all devices: steps per epoch times the global batch. With
            another number an epoch begins at the first batch after so many examples.
        epochs: E, after which alpha stays.
        alpha: alpha_T, the weight of the predictions in the last epoch; 0.8 for CIFAR-100.
        schedule: `"linear"` in the epoch, or `"fixed"`, alpha from the second epoch on.
        teacher: as above.
        top: how many probabilities of a prediction are stored; all by default.

    Raises:
        ValueError: when a number is out of range; while tracing, when the batch has no `"index"` or
            the rule gives no predictions.

    Example:
        >>> from jaxlearn.models.tiny import tiny_batch, tiny_stack
        >>> from jaxlearn.objectives.soft_targets import remembered, soft_cross_entropy
        >>> from jaxlearn.rules.backprop import backprop
        >>> plain = backprop(tiny_stack(), remembered(soft_cross_entropy))
        >>> rule = ps_kd(plain, examples=32, classes=3, per_epoch=32, epochs=5)
        >>> params, state = jax.jit(rule.init)(jax.random.key(0), tiny_batch())
        >>> state["memory"]["own"]["predictions"].shape
        (32, 3)
    """
    _check(examples, classes, per_epoch, epochs, alpha, schedule, teacher)
    if top is not None and not (0 < top < classes and teacher == "stored"):
        raise ValueError(
            f"top={top} has to be at least 1 and below the {classes} classes, of stored predictions"
        )
    packed = (lambda now: now) if top is None else partial(top_of, count=top)
    whole = (lambda kept: kept) if top is None else partial(from_top, classes=classes)

    def init(key: Key, batch: Batch) -> tuple[Params, State]:
        params, state = rule.init(key, batch)
        own = {"seen": jnp.int32(0)}
        if teacher == "stored":
            shape = (examples, *batch["labels"].shape[1:], classes)
            blank = jax.eval_shape(packed, jax.ShapeDtypeStruct(shape, jnp.float32))
            own["predictions"] = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), blank)
        else:
            own |= {"params": params, "state": trees.lasting(state)}
        return params, state | {MEMORY: {"own": own, "inner": state.get(MEMORY, {})}}

    def signal(params: Params, state: State, batch: Batch, key: Key):
        if "index" not in batch:
            raise ValueError('ps_kd needs batch["index"], the position of each example')
        own, inner = state[MEMORY]["own"], _inner(state)
        epoch, together = own["seen"] // per_epoch, trees.batch_size(batch) * axis.devices()
        if teacher == "snapshot":
            # the first step of an epoch, which begins within a batch where that does not divide it
            begins = own["seen"] % per_epoch < together
            own = _renewed(own, begins, params, inner)
            target, unseen = _snapshot_target(rule, own, epoch, batch, weight(epoch))
        else:
            target, unseen = _stored_target(own["predictions"], whole, batch, weight(epoch))
        grads, new, metrics = rule.signal(params, inner, batch | {TARGET: target}, key)
        metrics, predictions = _taken_out(metrics)
        if teacher == "stored":
            stored = _written(own["predictions"], packed, batch, predictions, target)
            own = own | {"predictions": stored}
        seen = own["seen"] + together
        memory = {"own": own | {"seen": seen}, "inner": new.get(MEMORY, {})}
        metrics |= {"alpha": weight(epoch), "unseen": unseen}
        return grads, new | {MEMORY: memory}, metrics

    def weight(epoch: jax.Array) -> jax.Array:
        if schedule == "fixed":
            return jnp.where(epoch > 0, alpha, 0.0)
        return alpha * jnp.minimum(epoch + 1, epochs) / epochs

    def predict(params: Params, state: State, batch: Batch) -> tuple[PyTree, State]:
        outputs, new = rule.predict(params, _inner(state), batch)
        memory = {"own": state[MEMORY]["own"], "inner": new.get(MEMORY, {})}
        return outputs, new | {MEMORY: memory}

    return Rule(init, signal, predict)


def refined(
    labels: jax.Array, earlier: jax.Array, alpha: jax.Array | float
) -> tuple[jax.Array, jax.Array]:
    """`(1 - alpha) onehot(labels) + alpha earlier`, and which rows had no earlier prediction.

    Args:
        labels: int `[batch, ...]`.
        earlier: `[batch, ..., classes]`, distributions; rows of zeros stand for none.
        alpha: weight of the earlier predictions.

    Example:
        >>> target, missing = refined(jnp.array([0, 1]), jnp.array([[0.5, 0.5], [0.0, 0.0]]), 0.5)
        >>> target.tolist(), missing.tolist()
        ([[0.75, 0.25], [0.0, 1.0]], [False, True])
    """
    hard = jax.nn.one_hot(labels, earlier.shape[-1])
    missing = ~jnp.any(earlier != 0, -1)
    soft = jnp.where(missing[..., None], hard, earlier.astype(hard.dtype))
    return (1 - alpha) * hard + alpha * soft, missing


def top_of(predictions: jax.Array, count: int) -> PyTree:
    """The largest probabilities `[..., count]` and the classes they are of.

    Example:
        >>> top = top_of(jnp.array([[0.1, 0.6, 0.3]]), 2)
        >>> top["classes"].tolist()
        [[1, 2]]
    """
    values, classes = lax.top_k(predictions, count)
    return {"values": values, "classes": classes.astype(jnp.int32)}


def from_top(top: PyTree, classes: int) -> jax.Array:
    """The distribution `[..., classes]` that shares what is left evenly among the other classes.

    Rows of zeros, of which nothing was stored, stay zeros.

    Example:
        >>> from_top(top_of(jnp.array([[0.5, 0.25, 0.25, 0.0]]), 2), 4).tolist()
        [[0.5, 0.25, 0.125, 0.125]]
    """
    values, found = top["values"], top["classes"]
    rest = jnp.maximum(1 - values.sum(-1, keepdims=True), 0) / (classes - values.shape[-1])
    spread = jnp.broadcast_to(rest, (*values.shape[:-1], classes))
    full = jnp.put_along_axis(spread, found, values, -1, inplace=False)
    return jnp.where(jnp.any(values != 0, -1, keepdims=True), full, 0)


def _stored_target(
    memory: PyTree, whole: Callable[[PyTree], jax.Array], batch: Batch, alpha: jax.Array
) -> tuple[jax.Array, jax.Array]:
    rows = lambda index: lambda leaf: leaf.at[index].get(mode="fill", fill_value=0)
    read = lambda index: whole(jax.tree.map(rows(index), memory))
    target, missing = refined(batch["labels"], read(batch["index"]), alpha)
    if "mix" in batch:
        other = batch["partner"]
        target = _mixed(batch, target, refined(other["labels"], read(other["index"]), alpha)[0])
    return target, jnp.mean(missing)


def _snapshot_target(rule: Rule, own: PyTree, epoch, batch: Batch, alpha: jax.Array):
    outputs, _ = rule.predict(own["params"], own["state"], batch)
    now = jnp.where(epoch > 0, jax.nn.softmax(lax.stop_gradient(outputs)), 0)
    target, missing = refined(batch["labels"], now, alpha)
    if "mix" in batch:  # the snapshot has seen the mixed picture itself: only the labels mix
        target = _mixed(batch, target, refined(batch["partner"]["labels"], now, alpha)[0])
    return target, jnp.mean(missing)


def _mixed(batch: Batch, target: jax.Array, other: jax.Array) -> jax.Array:
    share = batch["mix"].reshape(-1, *[1] * (target.ndim - 1))
    return share * target + (1 - share) * other


def _written(
    memory: PyTree,
    packed: Callable[[jax.Array], PyTree],
    batch: Batch,
    now: jax.Array,
    target: jax.Array,
) -> PyTree:
    """The memory with this batch's predictions, those of the other devices included."""
    # what is not finite is not kept. That the targets have a say also orders reading before
    # writing, without which the compiler would write to a copy of the memory
    kept = jnp.isfinite(now + target).reshape(len(now), -1).all(-1)
    if "mix" in batch:
        kept &= batch["mix"] == 1
    if "weight" in batch:
        kept &= batch["weight"] != 0
    leaves, tree = jax.tree.flatten(memory)
    index = jnp.where(kept, batch["index"], len(leaves[0]))  # outside: dropped
    # one array travels: integers, which no device rounds
    bits = lambda leaf: lax.bitcast_convert_type(leaf.reshape(len(now), -1), jnp.int32)
    columns = [bits(leaf) for leaf in jax.tree.leaves(packed(now.astype(jnp.float32)))]
    rows = axis.gather(jnp.concatenate([index[:, None].astype(jnp.int32), *columns], 1))
    ends = np.cumsum([column.shape[1] for column in columns])[:-1]
    new = []
    for leaf, column in zip(leaves, jnp.split(rows[:, 1:], ends, 1), strict=True):
        found = lax.bitcast_convert_type(column, leaf.dtype).reshape(-1, *leaf.shape[1:])
        new.append(leaf.at[rows[:, 0]].set(found, mode="drop"))
    return jax.tree.unflatten(tree, new)


def _renewed(own: PyTree, begins: jax.Array, params: Params, inner: State) -> PyTree:
    """The snapshot, taken anew where an epoch begins."""
    present = {"params": params, "state": trees.lasting(inner)}
    old = {name: own[name] for name in present}
    return own | jax.tree.map(lambda a, b: jnp.where(begins, a, b), present, old)


def _taken_out(metrics: Metrics) -> tuple[Metrics, jax.Array]:
    """Scalars, and the predictions; heads of a local rule have handed out theirs too."""
    if PREDICTIONS not in metrics:
        raise ValueError(
            "ps_kd: the rule inside gives no predictions; use remembered(soft_cross_entropy)"
        )
    scalars = {name: m for name, m in metrics.items() if not name.startswith(PREDICTIONS)}
    return scalars, metrics[PREDICTIONS]


def _inner(state: State) -> State:
    rest = {name: collection for name, collection in state.items() if name != MEMORY}
    inner = state[MEMORY]["inner"]
    return rest | {MEMORY: inner} if inner else rest


def _check(examples, classes, per_epoch, epochs, alpha, schedule: str, teacher: str) -> None:
    if min(examples, per_epoch, epochs) < 1 or classes < 2:
        raise ValueError(
            "examples, per_epoch and epochs have to be at least 1 and classes 2: found "
            f"{examples}, {per_epoch}, {epochs}, {classes}"
        )
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1], found {alpha}")
    if schedule not in ("linear", "fixed") or teacher not in ("stored", "snapshot"):
        raise ValueError(
            "schedule is 'linear' or 'fixed' and teacher 'stored' or 'snapshot': found "
            f"{schedule!r}, {teacher!r}"
        )


def examples() -> dict[str, Rule]:
    """Backpropagation and greedy learning with refined targets; a snapshot; other options."""
    from jaxlearn.models.tiny import tiny_blocks, tiny_head, tiny_stack
    from jaxlearn.objectives.soft_targets import remembered, soft_cross_entropy
    from jaxlearn.rules.backprop import backprop
    from jaxlearn.rules.greedy import greedy

    loss = remembered(soft_cross_entropy)
    sizes = {"examples": 64, "classes": 3, "per_epoch": 32, "epochs": 40}
    plain = backprop(tiny_stack(), loss)
    return {
        "ps-kd": ps_kd(plain, **sizes, alpha=0.3),
        "ps-kd-snapshot": ps_kd(plain, **sizes, alpha=0.3, teacher="snapshot"),
        "ps-kd-top": ps_kd(plain, **sizes, alpha=0.3, top=2),
        "ps-kd-fixed": ps_kd(plain, **sizes, alpha=0.3, schedule="fixed"),
        "ps-kd-greedy": ps_kd(
            greedy(tiny_blocks(), tiny_head(), objective=loss), **sizes, alpha=0.3
        ),
    }
