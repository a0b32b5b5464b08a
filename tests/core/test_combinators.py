"""`microbatch`, `reparametrize`, `prepared` and `route` against direct computation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlearn.core import (
    FROZEN,
    Parametrization,
    from_linen,
    make_state,
    make_step,
    microbatch,
    over_time,
    prepared,
    reparametrize,
    route,
)
from jaxlearn.models.layers.delays import DelayedLinear
from jaxlearn.models.tiny import tiny_batch, tiny_blocks, tiny_head, tiny_stack
from jaxlearn.objectives import cross_entropy
from jaxlearn.parametrizations import freeze, identity, lora
from jaxlearn.rules import LocalModule, backprop, local_learning
from tests.compiled import compiled
from tests.drawn import variables

BATCH = tiny_batch()
KEY = jax.random.key(0)
RULE = compiled(backprop(tiny_stack(), cross_entropy))
PARAMS, STATE = variables(tiny_stack(), BATCH["inputs"])


def close(a, b, rtol=1e-5, atol=1e-7):
    """Compare trees leaf by leaf."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol, atol), a, b)


@pytest.mark.parametrize("n", [1, 2, 8, 32])
def test_microbatches_average_to_the_whole_batch(n):
    whole = RULE.signal(PARAMS, STATE, BATCH, KEY)
    parts = compiled(microbatch(RULE, n)).signal(PARAMS, STATE, BATCH, KEY)
    close(parts, whole, atol=1e-6)


def test_microbatches_share_the_context_and_split_the_weights():
    def objective(outputs, batch):
        loss, metrics = cross_entropy(outputs + batch["context"]["shift"], batch)
        return loss, metrics

    weight = jnp.where(jnp.arange(32) < 8, 4.0, 0.0)
    batch = BATCH | {"weight": weight, "context": {"shift": jnp.arange(3.0)}}
    rule = compiled(backprop(tiny_stack(), objective))
    params, state = PARAMS, STATE
    few = {k: v if k == "context" else v[:8] for k, v in batch.items() if k != "weight"}
    expected = rule.signal(params, state, few, KEY)[0]
    close(compiled(microbatch(rule, 4)).signal(params, state, batch, KEY)[0], expected, atol=1e-6)


def test_microbatches_are_one_step_of_what_counts_steps():
    layer = from_linen(DelayedLinear(3, 5, sigma=lambda step: 2.0 - step))
    draw = np.random.default_rng(0).normal(size=(8, 6, 4))
    batch = {"inputs": jnp.asarray(draw, jnp.float32), "labels": jnp.arange(8) % 3}
    rule = backprop(layer, lambda y, batch: cross_entropy(y.sum(1), batch))
    params, state = rule.init(KEY, batch)
    for _ in range(2):  # in the second step sigma is that of its first part in all parts
        whole = jax.jit(rule.signal)(params, state, batch, KEY)
        parts = jax.jit(microbatch(rule, 4).signal)(params, state, batch, KEY)
        close(parts, whole, atol=1e-6)
        state = parts[1]
    assert int(state["delays"]["step"]) == 2


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: microbatch(RULE, 0), "n must be at least 1, found 0"),
        (lambda: microbatch(RULE, 5).init(KEY, BATCH), "32 examples does not divide into 5"),
        (
            lambda: over_time(microbatch(RULE, 2), 2).signal(
                RULE.init(KEY, BATCH)[0], {}, BATCH, KEY
            ),
            r"write microbatch\(over_time\(rule, T\), n\)",
        ),
    ],
)
def test_microbatch_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_reparametrization_follows_the_chain_rule():
    """For an affine map theta -> 2 theta + 1 the signal doubles."""
    affine = Parametrization(
        lambda key, params: (jax.tree.map(lambda p: (p - 1) / 2, params), {}),
        lambda theta, frozen: jax.tree.map(lambda t: 2 * t + 1, theta),
    )
    rule = compiled(reparametrize(RULE, affine))
    theta, state = rule.init(KEY, BATCH)
    params = affine.materialize(theta, {})
    grads, _, _ = rule.signal(theta, state, BATCH, KEY)
    close(grads, jax.tree.map(lambda g: 2 * g, RULE.signal(params, {}, BATCH, KEY)[0]), atol=1e-6)


def test_identity_changes_nothing():
    rule = compiled(reparametrize(RULE, identity()))
    theta, state = rule.init(KEY, BATCH)
    close(rule.signal(theta, state, BATCH, KEY)[0], RULE.signal(theta, {}, BATCH, KEY)[0])


def test_lora_starts_at_the_frozen_weights_and_matches_its_formula():
    adapter = lora(2, alpha=6.0)
    params = PARAMS
    theta, frozen = jax.jit(adapter.init)(KEY, params)
    close(adapter.materialize(theta, frozen), params, 0, 0)
    theta = jax.tree.map(jnp.ones_like, theta)
    kernel = adapter.materialize(theta, frozen)["2"]["kernel"]
    np.testing.assert_allclose(kernel, params["2"]["kernel"] + 3.0 * 2, rtol=1e-6)


def test_two_parametrizations_nest():
    inner = reparametrize(RULE, lora(2))
    rule = compiled(reparametrize(inner, freeze(lambda path: path.endswith("/a"))))
    theta, state = rule.init(KEY, BATCH)
    tx = optax.sgd(0.5)
    train = jax.jit(lambda: make_state(rule, tx, KEY, BATCH))()
    after, _ = jax.jit(make_step(rule, tx))(train, BATCH)
    close(after.state[FROZEN], train.state[FROZEN], 0, 0)
    assert all(path.endswith("/a") for path in paths(theta))
    assert jax.tree.structure(state) == jax.tree.structure(after.state)


def paths(tree):
    """Leaf paths as text."""
    return [
        jax.tree_util.keystr(k, simple=True, separator="/")
        for k, _ in jax.tree.leaves_with_path(tree)
    ]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: lora(0), "rank must be at least 1"),
        (
            lambda: lora(1, adapted=lambda p: False).init(KEY, {"w": jnp.ones((2, 2))}),
            "no parameter",
        ),
        (lambda: freeze(lambda p: False).init(KEY, {"w": 1.0}), "nothing to train.*w"),
    ],
)
def test_parametrizations_refuse(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_prepared_scales_always_and_augments_in_training_only():
    def scale(batch):
        return batch | {"inputs": batch["inputs"].astype(jnp.float32) / 255}

    def flip(batch, key):
        return batch | {"inputs": 255 - batch["inputs"]}

    raw = BATCH | {"inputs": np.random.default_rng(0).integers(0, 256, (32, 16)).astype(np.uint8)}
    rule = compiled(prepared(RULE, scale, flip))
    params, state = rule.init(KEY, raw)
    outputs, _ = rule.predict(params, state, raw)
    close(outputs, RULE.predict(params, state, scale(raw))[0])
    grads, _, _ = rule.signal(params, state, raw, KEY)
    close(grads, RULE.signal(params, state, scale(flip(raw, KEY)), KEY)[0])


def local_rule():
    """Local learning over the same blocks as `tiny_stack`, the last with its classifier."""
    first, second = tiny_blocks()
    return compiled(
        local_learning(
            [
                LocalModule(first, cross_entropy, tiny_head()),
                LocalModule(second, cross_entropy, tiny_head()),
                LocalModule(tiny_head(), cross_entropy),
            ]
        )
    )


def test_route_gives_each_leaf_the_signal_of_its_rule():
    rules = {"backprop": RULE, "local": local_rule()}
    rule = compiled(route(rules, lambda path: "backprop" if path[0] in "12" else "local"))
    params, state = rule.init(KEY, BATCH)
    grads, _, metrics = rule.signal(params, state, BATCH, KEY)
    shared = {k: params[k] for k in "012"}
    by_backprop = RULE.signal(shared, {}, BATCH, KEY)[0]
    by_local = rules["local"].signal(params, {}, BATCH, KEY)[0]
    close({k: grads[k] for k in "12"}, {k: by_backprop[k] for k in "12"})
    close({k: grads[k] for k in ("0", "heads")}, {k: by_local[k] for k in ("0", "heads")})
    assert not np.allclose(
        by_local["0"]["Dense_0"]["kernel"], by_backprop["0"]["Dense_0"]["kernel"]
    )
    np.testing.assert_allclose(metrics["loss"], metrics["backprop/loss"])
    close(rule.predict(params, state, BATCH)[0], RULE.predict(shared, {}, BATCH)[0])


@pytest.mark.parametrize(
    "label, predict, message",
    [
        (lambda path: "none", None, r"labelled 'none', which is none of \['backprop', 'local'\]"),
        (lambda path: "backprop", None, "heads/.* is routed to rule 'backprop', which has no such"),
        (lambda path: "local", "other", "predict names no rule: 'other'"),
    ],
)
def test_route_refuses(label, predict, message):
    with pytest.raises(ValueError, match=message):
        route({"backprop": RULE, "local": local_rule()}, label, predict=predict).init(KEY, BATCH)
