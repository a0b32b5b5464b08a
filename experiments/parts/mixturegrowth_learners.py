"""The rules and transforms of MixtureGrowth's table; rows that train alike share them."""

from dataclasses import replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.parts.mixturegrowth_images import moves_of, normalised, shape_of
from experiments.parts.mixturegrowth_networks import network
from jaxlearn.core import (
    FROZEN,
    Batch,
    Key,
    Model,
    Params,
    Rule,
    State,
    prepared,
    reparametrize,
    trees,
)
from jaxlearn.objectives import cross_entropy
from jaxlearn.parametrizations.templates import by_name, member, wide
from jaxlearn.procedures.growth import Mode, grow, grown_state
from jaxlearn.procedures.member_starts import with_more_templates
from jaxlearn.rules import backprop
from jaxlearn.transforms.hold import hold
from jaxlearn.transforms.schedules import cosine_cycles

LEARNER = ("dataset", "depth", "width", "size", "crop", "cutout", "batch", "templates", "sets")
MEMBERS = (
    *LEARNER[:-1],
    "both",
    "second",
    "first_share",
    "steps",
    "rates",
    "warm",
    "floors",
    "weight_decay",
    "train",
    "validation",
    "test",
)
"""What of a config decides the members: rows share them."""


def net(config: Any, half: bool) -> Model:
    """The wide network, or a member of half its width."""
    return network(config.dataset, config.depth, config.width, half)


def only(config: Any, names: tuple[str, ...]) -> Any:
    """The config with everything but these fields at its default."""
    return replace(type(config)(), **{name: getattr(config, name) for name in names})


def members_of(config: Any) -> Any:
    """The config of the members that a row grows from, without its last phase."""
    own, plain = only(config, MEMBERS), type(config)()
    first = lambda values, default: (*values[:2], default[2])
    return replace(
        own,
        steps=first(own.steps, plain.steps),
        rates=first(own.rates, plain.rates),
        warm=first(own.warm, plain.warm),
        floors=(own.floors[0], plain.floors[1]),
    )


@cache
def _plain(config: Any, half: bool) -> Rule:
    shown = partial(normalised, config)
    return prepared(backprop(net(config, half), cross_entropy), shown, moves_of(config))


def plain_rule(config: Any, half: bool) -> Rule:
    """Backpropagation through ordinary weights."""
    return _plain(only(config, LEARNER), half)


@cache
def _member(config: Any, number: int) -> Rule:
    return reparametrize(plain_rule(config, True), member(number, config.templates))


def member_rule(config: Any, number: int = 0) -> Rule:
    """Backpropagation through the templates of a member; both members train by that of 0."""
    return _member(only(config, LEARNER), number)


@cache
def _wide(config: Any) -> Rule:
    rule = reparametrize(plain_rule(config, False), wide(lambda block: config.sets[block]))

    def init(key: Key, batch: Batch) -> tuple[Params, State]:
        first, second = (
            extended(config, number, *member_rule(config, number).init(key, batch), key)
            for number in (0, 1)
        )
        return grown_from(config, first, second, key)

    return rule._replace(init=init)


def wide_rule(config: Any) -> Rule:
    """Backpropagation through all mixtures; it begins as members that nobody trained, grown."""
    return _wide(only(config, (*LEARNER, "extra")))


def extended(
    config: Any, number: int, params: Params, state: State, key: Key
) -> tuple[Params, State]:
    """A member's mixtures and state, with the templates that growth adds."""
    if not config.extra:
        return params, state
    own = state[FROZEN]["own"]
    shapes = jax.eval_shape(member(number, config.templates).materialize, params, own)
    count = config.templates + config.extra
    theta, frozen = with_more_templates((params, own), number, count, key, shapes)
    return theta, state | {FROZEN: state[FROZEN] | {"own": frozen}}


def grown_from(
    config: Any, first: tuple[Params, State], second: tuple[Params, State], key: Key
) -> tuple[Params, State]:
    """Mixtures of the wide network and its state, from those of the members."""
    shapes, statistics = jax.eval_shape(
        net(config, False).init, jax.random.key(0), jnp.zeros((1, *shape_of(config)))
    )
    mode: Mode = "zero" if config.growth == "blocks" else config.growth
    theta, frozen = grow(
        (first[0], first[1][FROZEN]["own"]),
        (second[0], second[1][FROZEN]["own"]),
        shapes,
        key,
        mode=mode,
        noise=config.noise,
        sets=lambda block: config.sets[block],
    )
    state = grown_state(bare(first[1]), bare(second[1]), statistics)
    return theta, state | {FROZEN: {"own": frozen, "inner": {}}}


def bare(state: State) -> State:
    """Running statistics, without what a parametrization keeps."""
    return {name: found for name, found in state.items() if name != FROZEN}


@cache
def sgd(
    rate: float, steps: int, floor: float, warm: int, cycles: int, decay: float
) -> optax.GradientTransformation:
    """SGD with Nesterov momentum 0.9 along a cosine; coefficients do not decay."""
    falling = cosine_cycles(rate, steps, cycles=cycles, floor=floor, warmup=warm)
    mask = lambda tree: jax.tree.map_with_path(lambda keys, _: decays(trees.path(keys)), tree)
    return optax.chain(
        optax.add_decayed_weights(decay, mask), optax.sgd(falling, 0.9, nesterov=True)
    )


def decays(path: str) -> bool:
    """Templates, weights and norms."""
    return "coefficients" not in path.split("/")


def phase(config: Any, number: int) -> optax.GradientTransformation:
    """The transform of phase 1, 2 or 3, counted from 0."""
    last = number == 2
    tx = sgd(
        config.rates[number],
        config.steps[number],
        config.floors[1 if last else 0],
        min(config.warm[number], config.steps[number] - 1),
        config.cycles if last else 1,
        config.weight_decay,
    )
    return hold(tx, HELD[config.held]) if last and config.held != "none" else tx


def of_members(path: str) -> slice | None:
    """The coefficients c_0 and c_1 of every layer."""
    return None if decays(path) else slice(0, 2)


def of_ends(path: str) -> slice | None:
    """All coefficients of stem and classifier, the layers of two blocks."""
    return None if decays(path) or by_name(path) == "diagonal" else slice(None)


HELD = {"members": of_members, "ends": of_ends}
"""Which coefficients stay as they are in phase 3."""


def descent(config: Any, rate: float, steps: int) -> optax.GradientTransformation:
    """One cosine over all steps, with the warm-up of phase 1."""
    warm = min(config.warm[0], steps - 1)
    return sgd(rate, steps, config.floors[0], warm, 1, config.weight_decay)
