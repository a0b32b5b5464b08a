"""The stages of MixtureGrowth's table: members, growth, and what it is compared with."""

import math
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.harness import Run
from experiments.harness.store import fingerprint
from experiments.parts.mixturegrowth_both import both
from experiments.parts.mixturegrowth_images import blank, data_of, shape_of
from experiments.parts.mixturegrowth_learners import (
    bare,
    extended,
    grown_from,
    member_rule,
    members_of,
    net,
    phase,
    plain_rule,
    wide_rule,
)
from jaxlearn.core import (
    FROZEN,
    Batch,
    Key,
    Params,
    Rule,
    State,
    TrainState,
    make_state,
    make_step,
    trees,
)
from jaxlearn.data.batches import batches, padded
from jaxlearn.parametrizations.templates import member, wide
from jaxlearn.procedures.growth import grown_momentum, with_random_blocks
from jaxlearn.procedures.member_starts import copied_member
from jaxlearn.procedures.net2wider import net2wider
from jaxlearn.runtime import every_device, fit, own_rows


def fitted(
    config: Any,
    rule: Rule,
    tx: optax.GradientTransformation,
    start: TrainState,
    steps: int,
    home: Path,
    *,
    number: int,
    seed: int,
    progress: bool = False,
) -> TrainState:
    """The state after so many steps; each phase, by its number, has an order of its own."""
    part = data_of(config).train
    if number == 0 and config.first_share < 1:
        part = trees.over_examples(lambda x: x[: round(config.first_share * len(x))], part)
    stream = batches(part, config.batch, seed=seed + 10_000 * number)
    return fit(
        make_step(rule, tx),
        start,
        own_rows(stream),
        steps=steps,
        mesh=every_device(),
        workdir=home / str(number),
        config=asdict(config) | {"phase": number, "seed": seed},
        progress=progress,
        name=f"phase {number + 1}",
    ).state


def one_member(config: Any, seed: int, run: Run) -> TrainState:
    """Member 0 after phase 1."""
    own = members_of(config)
    home = run.workdir.parent / "members" / fingerprint(own) / f"seed-{seed}"
    tx, rule = phase(own, 0), member_rule(config)
    start = begun(config, 0, tx, seed)
    return fitted(own, rule, tx, start, own.steps[0], home, number=0, seed=seed)


def members(config: Any, seed: int, run: Run) -> tuple[TrainState, TrainState]:
    """Both members after phases 1 and 2, which all rows with the same members share."""
    own, rule = members_of(config), member_rule(config)
    home = run.workdir.parent / "members" / fingerprint(own) / f"seed-{seed}"
    first = one_member(config, seed, run)
    tx, steps = phase(own, 1), own.steps[1]
    second = begun(config, 1, tx, seed)
    if own.second == "copied":
        near = copied_member(second.params, first.params, jax.random.fold_in(second.key, 1))
        statistics = second.state | bare(first.state)
        second = second._replace(params=near, state=statistics)
    if not own.both:
        return first, fitted(own, rule, tx, second, steps, home, number=1, seed=seed)
    together = both(rule, own.both)
    theta = {"0": first.params, "1": second.params}
    state = trees.joined({"0": first.state, "1": second.state})
    kept = {"0": momentum(first), "1": momentum(second)}
    opt_state = optax.tree_utils.tree_set(tx.init(theta), trace=kept)
    start = TrainState(jnp.int32(0), theta, state, opt_state, second.key)
    made = fitted(own, together, tx, start, steps, home, number=1, seed=seed)
    part = lambda name: made._replace(
        params=made.params[name],
        state=trees.part(made.state, name),
        opt_state=optax.tree_utils.tree_set(second.opt_state, trace=momentum(made)[name]),
    )
    return part("0"), part("1")


def begun(config: Any, number: int, tx: optax.GradientTransformation, seed: int) -> TrainState:
    """A member before its first step; the same key gives both the same matrix of coefficients."""
    # not jitted: the draws of all layers in one program take the compiler half a minute
    made = make_state(member_rule(config, number), tx, jax.random.key(seed), blank(config))
    return made._replace(key=jax.random.fold_in(made.key, number))


def momentum(state: TrainState) -> Any:
    """What SGD keeps, in the shape of the parameters."""
    return optax.tree_utils.tree_get(state.opt_state, "trace")


def grown(
    config: Any, first: TrainState, second: TrainState, seed: int
) -> tuple[Rule, optax.GradientTransformation, TrainState]:
    """The wide network right after growth, and what trains it."""
    key, tx = jax.random.fold_in(jax.random.key(seed), 2), phase(config, 2)
    grow_key, block_key, step_key = jax.random.split(key, 3)
    more_key = jax.random.fold_in(key, 0)
    one, two = (
        extended(config, number, own.params, own.state, more_key)
        for number, own in enumerate((first, second))
    )
    theta, state = grown_from(config, one, two, grow_key)
    if config.growth == "blocks":
        whole = wide(lambda block: config.sets[block]).materialize(theta, state[FROZEN]["own"])
        params = with_random_blocks(whole, block_key)
        start = TrainState(jnp.int32(0), params, bare(state), tx.init(params), step_key)
        return plain_rule(config, False), tx, start
    opt_state = tx.init(theta)
    if config.keep_momentum:
        kept = grown_momentum(momentum(first), momentum(second), theta)
        opt_state = optax.tree_utils.tree_set(opt_state, trace=kept)
    return wide_rule(config), tx, TrainState(jnp.int32(0), theta, state, opt_state, step_key)


def drawn(state: TrainState, seed: int) -> TrainState:
    """Kernels drawn anew with the deviation that templates begin with, see `templates.member`."""
    keys = iter(jax.random.split(jax.random.fold_in(jax.random.key(seed), 3), 999))
    new = lambda leaf: (
        math.sqrt(2 / leaf.size) * jax.random.normal(next(keys), leaf.shape)
        if leaf.ndim > 1
        else leaf
    )
    return state._replace(params=jax.tree.map(new, state.params))


def widened(config: Any, first: TrainState, key: Key) -> tuple[Params, State]:
    """Member 0 as an ordinary network of twice its width."""
    frozen = first.state[FROZEN]["own"]
    params = member(0, config.templates).materialize(first.params, frozen)
    shapes, _ = jax.eval_shape(
        net(config, False).init, jax.random.key(0), jnp.zeros((1, *shape_of(config)))
    )
    return net2wider(params, bare(first.state), shapes, key, noise=config.copy_noise)


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


def ensemble(config: Any, pair: tuple[TrainState, TrainState], part: Batch) -> np.ndarray:
    """The sum of the members' logits."""
    one, two = (logits(member_rule(config), state, part) for state in pair)
    return one + two
