"""MAN: local learning that hears from the next module through a slow copy of its first block.

Su, Cai, Zhu, He, Xu, Guan, Si, "Momentum Auxiliary Network for Supervised Local Learning", ECCV
2024 (arXiv 2407.05623). Between a module and its local head stands a copy of the next module's
first block, whose parameters follow that block's by a moving average, beside a learnable bias that
makes up for the difference between neighbouring features. It goes with the heads and losses of any
supervised local rule.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp

from jaxlearn.core import MOMENTUM, Batch, Key, Model, Objective, Params, PyTree, Rule, State, stack
from jaxlearn.models.heads.momentum import Bias, momentum_head
from jaxlearn.objectives import cross_entropy
from jaxlearn.rules.local_learning import HEADS, Auxiliary, LocalModule, local_learning

UPCOMING = "upcoming"
"""Part of the collection `"momentum"`: the copies as the next step will use them (by module), and
this step's key.
"""


def man(
    modules: Sequence[Sequence[Model]],
    classifier: Model,
    host: Callable[[int], Auxiliary],
    *,
    momentum: float = 0.995,
    ema: Literal["on", "copy", "off"] = "on",
    bias: Bias = "block",
    objective: Objective = cross_entropy,
    loop: bool = False,
) -> Rule:
    """K isolated modules, each but the last with a momentum copy of the next one's first block.

    `L_i = objective_i(head_i(bias_i(h_i) + B_{i+1}(h_i; e_i)))` with
    `h_i = module_i(stop_gradient(h_{i-1}))`: the gradient reaches `h_i` through the copy, but
    neither `e_i` nor the next module. After the signal of every step, and with the weights from
    before the transform acts, `e_i <- m e_i + (1 - m) theta(B_{i+1})` over all parameters of the
    block, scale and shift of normalisations included (not their running statistics). Prediction
    takes the primary path alone.

    Copies move once per training step, which is told by its key, however many parts (microbatches,
    time steps) it has: all parts see the same `e_i`. The collection `"momentum"` holds `e_i` and,
    as `"upcoming"`, its successor; devices compute both alike and exchange neither.

    Args:
        modules: the layers of each module, see `partition`. The first layer of a module is what
            the module before it copies.
        classifier: from the last module's output to what the objective takes.
        host: `module number -> Auxiliary(head, objective)`: the local rule that MAN is added to,
            for every module but the last. Heads take the output of the *next* module's first block.
        momentum: m. 1 leaves the copies as they were drawn.
        ema: `"on"`; `"copy"` is m = 0, the next block's weights of the step before; `"off"` has
            no copies.
        bias: `"block"`, `"vector"` or `"none"`, see `models.heads.momentum_head`.
        objective: the last module's loss.
        loop: compute equal neighbours in one compiled loop, see `local_learning`. They are equal
            when their layers, head and objective are the same objects.

    Raises:
        ValueError: when `momentum` lies outside 0 … 1, `ema` is unknown, or a module has no layers.

    Example:
        >>> from jaxlearn.models.tiny import tiny_blocks, tiny_head
        >>> rule = man(
        ...     [[block] for block in tiny_blocks()],
        ...     tiny_head(),
        ...     lambda i: Auxiliary(tiny_head(), cross_entropy),
        ... )
    """
    if not 0 <= momentum <= 1:
        raise ValueError(f"momentum must lie in 0..1, found {momentum}")
    if ema not in ("on", "copy", "off"):
        raise ValueError(f"ema must be 'on', 'copy' or 'off', found {ema!r}")
    if not modules or not all(modules):
        raise ValueError(f"every module needs a layer, found {[len(m) for m in modules]} layers")
    wholes = {tuple(layers): stack(layers) for layers in modules[:-1]}
    isolated = []
    for i, layers in enumerate(modules[:-1]):
        head, loss = host(i)
        copying = momentum_head(modules[i + 1][0], head, copy=ema != "off", bias=bias)
        isolated.append(LocalModule(wholes[tuple(layers)], loss, copying))
    last = LocalModule(stack([*modules[-1], classifier]), objective)
    rule = local_learning([*isolated, last], loop=loop)
    if ema == "off" or not isolated:
        return rule
    return _following(rule, len(isolated), momentum if ema == "on" else 0.0)


def _following(rule: Rule, count: int, m: float) -> Rule:
    """Let the copies of `rule`'s first `count` modules follow the blocks that they copy."""

    def init(key: Key, batch: Batch) -> tuple[Params, State]:
        params, state = rule.init(key, batch)
        upcoming = {"copies": _copies(state), "step": jnp.zeros_like(jax.random.key_data(key))}
        return params, _with_upcoming(state, upcoming)

    def signal(params: Params, state: State, batch: Batch, key: Key):
        upcoming, step = state[MOMENTUM][UPCOMING], jax.random.key_data(key)
        under_way = jnp.all(step == upcoming["step"])  # this is a further part of the same step
        keep = lambda now, then: jnp.where(under_way, now, then)
        copies = jax.tree.map(keep, _copies(state), upcoming["copies"])
        grads, new, metrics = rule.signal(params, _with_copies(state, copies), batch, key)
        sources = {str(i): params[str(i + 1)]["0"] for i in range(count)}
        # as a step from e the sum is rounded once; m = 0 is the copy itself
        follow = lambda e, theta: e + (1 - m) * (theta - e) if m else theta
        copies = jax.tree.map(follow, copies, sources)
        return grads, _with_upcoming(new, {"copies": copies, "step": step}), metrics

    def predict(params: Params, state: State, batch: Batch) -> tuple[PyTree, State]:
        outputs, new = rule.predict(params, _with_copies(state, _copies(state)), batch)
        return outputs, _with_upcoming(new, state[MOMENTUM][UPCOMING])

    return Rule(init, signal, predict)


def _copies(state: State) -> dict[str, Params]:
    return {i: head["copy"] for i, head in state[MOMENTUM][HEADS].items()}


def _with_copies(state: State, copies: dict[str, Params]) -> State:
    return state | {MOMENTUM: {HEADS: {i: {"copy": e} for i, e in copies.items()}}}


def _with_upcoming(state: State, upcoming: PyTree) -> State:
    return state | {MOMENTUM: state[MOMENTUM] | {UPCOMING: upcoming}}


def examples() -> dict[str, Rule]:
    """Three dense modules with linear heads; the bias as a block."""
    from jaxlearn.models.tiny import tiny_blocks, tiny_head

    first, second = tiny_blocks()
    host = Auxiliary(tiny_head(), cross_entropy)
    return {"man": man([[first], [second], [second]], tiny_head(), lambda i: host)}
