"""Isolated modules that are updated one after the other, each before the next one computes."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import optax
from jax import lax

from jaxlearn.core import (
    Batch,
    Key,
    Metrics,
    PyTree,
    Rule,
    Step,
    TrainState,
    axis,
    keys,
    make_state,
    trees,
)
from jaxlearn.rules.local_learning import (
    LocalModule,
    assembled,
    learn,
    local_learning,
    variables,
)

Inputs = Callable[[Batch], PyTree]


def sequential_state(
    modules: Sequence[LocalModule],
    tx: optax.GradientTransformation,
    key: Key,
    batch: Batch,
    *,
    inputs: Inputs = lambda batch: batch["inputs"],
) -> TrainState:
    """The state before the first `sequential_step`: that of `local_learning`, but for `opt_state`.

    The transform has one state per module, by its number, over (block's, head's) parameters. The
    same `modules` in `local_learning` predict with these parameters.
    """
    rule = local_learning(modules, inputs=inputs)
    state = make_state(rule, optax.identity(), key, batch)
    own = {str(i): variables(state.params, state.state, i)[0] for i in range(len(modules))}
    return state._replace(opt_state={name: tx.init(params) for name, params in own.items()})


def sequential_step(
    modules: Sequence[LocalModule],
    tx: optax.GradientTransformation,
    *,
    inputs: Inputs = lambda batch: batch["inputs"],
    refresh: bool = False,
) -> Step:
    """`step(TrainState, Batch)` that applies module i's update before module i + 1 computes.

    The gradients of one module at a time exist, so that neither activations nor gradients add up
    over the depth; on several devices there is one reduction per module. The transform sees one
    module at a time: global norms and the like are by module.

    Args:
        modules: the modules in order, as for `local_learning`.
        tx: an optax transformation.
        inputs: what of the batch enters the first module.
        refresh: module i + 1 sees what module i computes with its *new* weights, for one more
            forward pass. Otherwise it sees what the loss was computed from, and the step has the
            values of `make_step(local_learning(modules), tx)` where `tx` treats leaves separately.

    Example:
        >>> from jaxlearn.models.tiny import tiny_batch, tiny_blocks, tiny_head
        >>> from jaxlearn.objectives import cross_entropy
        >>> modules = [LocalModule(b, cross_entropy, tiny_head()) for b in tiny_blocks()]
        >>> state = sequential_state(modules, optax.sgd(0.1), jax.random.key(0), tiny_batch())
        >>> state, metrics = sequential_step(modules, optax.sgd(0.1))(state, tiny_batch())
        >>> int(state.step)
        1
    """
    tx = optax.with_extra_args_support(tx)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        trees.batch_size(batch)
        key = keys.for_examples(jax.random.fold_in(state.key, state.step), batch)
        h, learned, opt_state = inputs(batch), [], {}
        for i, module in enumerate(modules):
            own_key, name = jax.random.fold_in(key, i), str(i)
            own, before = variables(state.params, state.state, i)
            y, found = learn(module, own, before, h, batch, own_key)
            grads, after, local = axis.mean(found)
            updates, opt_state[name] = tx.update(
                grads, state.opt_state[name], own, value=local["loss"]
            )
            own: Any = optax.apply_updates(own, updates)
            if refresh:
                block_key = jax.random.split(own_key)[0]
                y, _ = module.block.apply(own[0], before[0], h, train=True, key=block_key)
            h, own = lax.optimization_barrier((y, own))
            learned.append((own, after, local))
        params, collections, metrics = assembled(modules, learned)
        lasting = trees.lasting(collections)
        return TrainState(state.step + 1, params, lasting, opt_state, state.key), metrics

    return step


def examples() -> dict[str, Rule]:
    """None: this is a step of its own, and the rule to its modules is `local_learning`."""
    return {}
