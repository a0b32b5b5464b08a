"""One large batch as several small ones."""

import jax
import jax.numpy as jnp
from jax import lax

from jaxlearn.core import trees
from jaxlearn.core.contracts import (
    ACTIVITY,
    ALIKE,
    CONTEXT,
    SEQUENCE,
    Batch,
    Key,
    Params,
    Rule,
    State,
)


def microbatch(rule: Rule, n: int) -> Rule:
    """Split each batch into `n` equal parts and average their signals.

    Parts follow each other in a scan, so only one part's activations exist at a time. All parts get
    the same key: what a rule draws for the whole batch stays one draw. Lasting state moves on with
    every part, its whole numbers once per batch: they count training steps. Only those of
    collections that no device averages (`"memory"`, `"momentum"`) go from part to part.

    Raises:
        ValueError: when `n < 1`, the batch does not divide by `n`, a sequence is under way (put
            `microbatch` outside of `over_time`), or the rule has an `"activity"`, which must not
            move on between the parts.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, found {n}")

    def init(key: Key, batch: Batch) -> tuple[Params, State]:
        return rule.init(key, trees.over_examples(lambda leaf: leaf[: _size(batch, n)], batch))

    def signal(params: Params, state: State, batch: Batch, key: Key):
        if SEQUENCE in state:
            raise ValueError("microbatch inside over_time: write microbatch(over_time(rule, T), n)")
        if ACTIVITY in state:
            raise ValueError(
                f'microbatch with n={n} would move the "activity" of the layers on with every '
                "part; give a rule with top-down signals its whole batch"
            )
        size = _size(batch, n)
        split = trees.over_examples(lambda leaf: leaf.reshape(n, size, *leaf.shape[1:]), batch)
        context = {CONTEXT: split.pop(CONTEXT)} if CONTEXT in split else {}

        def body(carry, small):
            now, total = carry
            grads, new, metrics = rule.signal(params, _counting(state, now), small | context, key)
            return (trees.lasting(new), trees.add(total, grads)), metrics

        (state, total), metrics = lax.scan(body, (state, trees.zeros_like(params)), split)
        return trees.scale(1 / n, total), state, jax.tree.map(lambda m: m.mean(0), metrics)

    return Rule(init, signal, rule.predict)


def _counting(start: State, now: State) -> State:
    """The state of now with the step counts of the start."""
    older = lambda a, b: a if jnp.issubdtype(jnp.result_type(a), jnp.integer) else b
    return {
        name: value if name in ALIKE else jax.tree.map(older, start[name], value)
        for name, value in now.items()
    }


def _size(batch: Batch, n: int) -> int:
    size = trees.batch_size(batch)
    if size % n:
        raise ValueError(f"a batch of {size} examples does not divide into {n} microbatches")
    return size // n
