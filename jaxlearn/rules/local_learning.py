"""Gradient-isolated modules, each with a loss of its own: the engine of the local rules."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

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
    axis,
    keys,
    stack,
    trees,
)

HEADS = "heads"


class LocalModule(NamedTuple):
    """A part of the network that learns by itself.

    Attributes:
        block: maps the representation before the module to the one after it.
        objective: the local loss, of the head's outputs or, without a head, of the representation.
        head: the auxiliary network between representation and loss; it learns with the block.
    """

    block: Model
    objective: Objective
    head: Model | None = None


class Auxiliary(NamedTuple):
    """What makes a layer learn by itself: a head and the loss of the head's outputs."""

    head: Model
    objective: Objective


def local_learning(
    modules: Sequence[LocalModule],
    *,
    inputs: Callable[[Batch], PyTree] = lambda batch: batch["inputs"],
    combine: Callable[[list[PyTree], Batch], PyTree] | None = None,
    loop: bool = False,
    recompute: float = 0.0,
) -> Rule:
    """Train every module on its own loss and pass no gradient between modules.

    `h_i = block_i(stop_gradient(h_{i-1}))`, `L_i = objective_i(head_i(h_i))`, and the signal for
    module i is `dL_i / d(block_i, head_i)`, all with the weights from before the step. Each
    module's gradient is taken where the module is computed and an optimisation barrier holds the
    next module back, so the activations of one module at a time are alive: memory does not grow
    with depth. Parameters are by module number, as in `stack`, with the heads' under `"heads"`.

    Args:
        modules: the modules in order.
        inputs: what of the batch enters the first module.
        combine: `(local outputs, batch) -> prediction`. By default the prediction is the last
            module's output and no other head is evaluated.
        loop: compute neighbouring modules that are equal (the same `apply` and objective, shapes
            alike; `init` may differ, so that frozen state can hold constants of a module's own) in
            one compiled loop. Compiling then takes time by the number of different modules, and
            the order of computation is a matter of course to every compiler. The values are the
            same. On CPU convolutions inside loops are slow.
        recompute: a step size. Where it is not 0, the next module receives what the module would
            give after that step, `block - recompute * signal`, instead of what it gives now: with
            plain SGD at this rate, the updated block's output. It costs another forward pass, and
            on several devices one reduction per module.
    """
    last = len(modules) - 1

    def init(key: Key, batch: Batch) -> tuple[Params, State]:
        h, params, states, heads, head_states = inputs(batch), {}, {}, {}, {}
        for i, module in enumerate(modules):
            name = str(i)
            params[name], states[name] = module.block.init(jax.random.fold_in(key, i), h)
            h, _ = module.block.apply(params[name], states[name], h)
            if module.head is not None:
                head_key = jax.random.fold_in(key, len(modules) + i)
                heads[name], head_states[name] = module.head.init(head_key, h)
        if heads:
            params[HEADS] = heads
            states[HEADS] = trees.joined(head_states)
        return params, trees.joined(states)

    def signal(params: Params, state: State, batch: Batch, key: Key):
        key = keys.for_examples(key, batch)
        h, learned = inputs(batch), []
        while len(learned) <= last:
            start, whole = len(learned), (params, state)
            count = _repeats(modules, whole, start, h) if loop else 1
            run = (modules[start], whole, start, count)
            h, found = _learn_run(*run, h, batch, key, recompute)
            if start + count <= last:
                h, found = lax.optimization_barrier((h, found))
            learned += found
        return assembled(modules, learned)

    def predict(params: Params, state: State, batch: Batch) -> tuple[PyTree, State]:
        h, outputs, states, head_states = inputs(batch), [], {}, trees.part(state, HEADS)
        parts = {}
        for i, module in enumerate(modules):
            name = str(i)
            own = _own_params(params, name)
            if combine is None and i < last:
                headless = module._replace(head=None)
                h, _, (states[name], _) = _forward(headless, own, _own(state, name), h, False, None)
                parts[name] = trees.part(head_states, name)
            else:
                h, out, (states[name], parts[name]) = _forward(
                    module, own, _own(state, name), h, False, None
                )
                outputs.append(out)
        if HEADS in params:
            states[HEADS] = trees.joined(parts)
        result = outputs[-1] if combine is None else combine(outputs, batch)
        return result, trees.joined(states)

    return Rule(init, signal, predict)


def layer_by_layer(
    layers: Sequence[Model],
    classifier: Model,
    heads: Sequence[Auxiliary],
    objective: Objective,
    *,
    loop: bool = False,
) -> Rule:
    """Cut a network into one module per head and a last one of all that remains.

    Module i is layer i with head i; the last module is the other layers and the classifier, which
    learn together. Without heads this is backpropagation. A head may serve several layers: each
    initialises its own weights.

    Args:
        layers: the layers of the network.
        classifier: from the last layer's output to what the objective takes.
        heads: the heads of the first layers with their losses, fewer than there are layers.
        objective: the loss of the last module.
        loop: as in `local_learning`.

    Raises:
        ValueError: when there are no fewer heads than layers.
    """
    if len(heads) >= len(layers):
        raise ValueError(
            f"the last layer learns from the classifier: expected fewer heads than the "
            f"{len(layers)} layers, found {len(heads)}"
        )
    isolated = [LocalModule(layers[i], own.objective, own.head) for i, own in enumerate(heads)]
    rest = stack([*layers[len(heads) :], classifier])
    return local_learning([*isolated, LocalModule(rest, objective)], loop=loop)


def partition(layers: Sequence[Model], ends: Sequence[int]) -> list[list[Model]]:
    """Cut a list of layers into consecutive groups by the number of each group's last layer.

    Raises:
        ValueError: when the ends do not ascend up to the last layer.

    Example:
        >>> from jaxlearn.models.tiny import tiny_blocks
        >>> [len(group) for group in partition([*tiny_blocks(), *tiny_blocks()], [0, 3])]
        [1, 3]
    """
    ends = list(ends)
    if not ends or sorted({*ends, -1}) != [-1, *ends] or ends[-1] != len(layers) - 1:
        raise ValueError(
            f"ends must ascend from at least 0 to the last layer {len(layers) - 1}, found {ends}"
        )
    starts = [0, *(end + 1 for end in ends[:-1])]
    return [list(layers[a : b + 1]) for a, b in zip(starts, ends, strict=True)]


def learn(
    module: LocalModule, own, states, h, batch: Batch, key: Key, recompute: float = 0.0
) -> tuple[PyTree, tuple]:
    """The module's output, and its (gradients, states, metrics); own and states are by `variables`.

    `recompute` is that of `local_learning`.
    """

    def loss_of(own: Params):
        y, out, new = _forward(module, own, states, h, True, key)
        loss, local = module.objective(out, batch)
        return loss, (y, new, {"loss": loss} | local)

    grads, (y, new, local) = jax.grad(loss_of, has_aux=True)(own)
    if recompute:
        moved = trees.add(own[0], trees.scale(-recompute, axis.mean(grads[0])))
        y = _forward(module._replace(head=None), (moved, own[1]), states, h, True, key)[0]
    return y, (grads, new, local)


def _learn_run(
    module: LocalModule, whole, start: int, count: int, h, batch: Batch, key: Key, recompute: float
):
    """`learn` for `count` equal modules, in a loop if there are several."""
    each = [variables(whole[0], whole[1], start + k) for k in range(count)]
    if count == 1:
        own_key = jax.random.fold_in(key, start)
        h, found = learn(module, *each[0], h, batch, own_key, recompute)
        return h, [found]

    def body(h, now):
        own, states, number = now
        own_key = jax.random.fold_in(key, number)
        return learn(module, own, states, h, batch, own_key, recompute)

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    h, found = lax.scan(body, h, (*stacked, jnp.arange(start, start + count)))
    return h, [jax.tree.map(lambda leaf, k=k: leaf[k], found) for k in range(count)]


def _repeats(modules: Sequence[LocalModule], whole, start: int, h) -> int:
    """How many modules from `start` on are equal and map `h` to something of its own shape."""
    module, (own, states) = modules[start], variables(whole[0], whole[1], start)
    y = jax.eval_shape(lambda: module.block.apply(own[0], states[0], h, train=True)[0])
    if y != _shapes(h):
        return 1
    end = start + 1
    while end < len(modules) and _computation(modules[end]) == _computation(module):
        if _shapes(variables(whole[0], whole[1], end)) != _shapes((own, states)):
            break
        end += 1
    return end - start


def _computation(module: LocalModule) -> tuple:
    head = None if module.head is None else module.head.apply
    return module.block.apply, head, module.objective


def _shapes(tree: PyTree) -> PyTree:
    return jax.eval_shape(lambda: tree)


def variables(params: Params, state: State, number: int):
    """((block's, head's parameters), (block's, head's states)) of a module, by its number."""
    return _own_params(params, str(number)), _own(state, str(number))


def assembled(modules: Sequence[LocalModule], learned: list) -> tuple[Params, State, Metrics]:
    """What the modules learned as one tree of gradients, one of states and the metrics.

    Each entry of `learned` is `((block's, head's gradients), (block's, head's states), metrics)`.
    """
    grads, head_grads, states, head_states, metrics = {}, {}, {}, {}, {}
    for i, (module, (own_grads, new, local)) in enumerate(zip(modules, learned, strict=True)):
        name = str(i)
        grads[name], states[name] = own_grads[0], new[0]
        if module.head is not None:
            head_grads[name], head_states[name] = own_grads[1], new[1]
        metrics |= {f"{metric}/{name}": value for metric, value in local.items()}
    if head_grads:
        grads[HEADS] = head_grads
        states[HEADS] = trees.joined(head_states)
    metrics |= local | {"loss": sum(metrics[f"loss/{i}"] for i in range(len(modules)))}
    return grads, trees.joined(states), metrics


def _own_params(params: Params, name: str) -> tuple[Params, Params]:
    return params[name], params.get(HEADS, {}).get(name, {})


def _own(state: State, name: str) -> tuple[State, State]:
    return trees.part(state, name), trees.part(trees.part(state, HEADS), name)


def _forward(module: LocalModule, own, states, h, train: bool, key: Key | None):
    block_key, head_key = (None, None) if key is None else jax.random.split(key)
    y, block_state = module.block.apply(
        own[0], states[0], lax.stop_gradient(h), train=train, key=block_key
    )
    if module.head is None:
        return y, y, (block_state, states[1])
    out, head_state = module.head.apply(own[1], states[1], y, train=train, key=head_key)
    return y, out, (block_state, head_state)


def examples() -> dict[str, Rule]:
    """The engine with linear heads at toy size."""
    from jaxlearn.models.tiny import tiny_blocks, tiny_head
    from jaxlearn.objectives import cross_entropy

    first, second = tiny_blocks()
    modules = [
        LocalModule(first, cross_entropy, tiny_head()),
        LocalModule(second, cross_entropy, tiny_head()),
    ]
    return {"local": local_learning(modules)}
