"""Target projection of recurrent layers: no gradient through time, memory flat in its length."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxlearn.core import FROZEN, from_linen, over_time, stack, through_time
from jaxlearn.models.recurrent import recurrent
from jaxlearn.objectives import cross_entropy
from jaxlearn.objectives.target_losses import l2
from jaxlearn.rules.backprop import backprop
from jaxlearn.rules.target_projection import recurrent_target_projection, target_projection

T, WIDTH, CLASSES, SIZE = 4, 5, 3, 6
KEY = jax.random.key(1)
BATCH = {
    "inputs": jax.random.normal(KEY, (SIZE, T, 3)),
    "labels": jnp.arange(SIZE) % CLASSES,
}
READOUT = from_linen(linen.Dense(CLASSES))
CELL = recurrent(WIDTH)


def rule_of(cells=(CELL,), T=T, **options):
    return recurrent_target_projection(cells, READOUT, T, classes=CLASSES, scale=0.5, **options)


@cache
def made(**options):
    """A rule with a compiled signal, its first parameters and state."""
    rule = rule_of(**options)
    return rule._replace(signal=jax.jit(rule.signal)), *jax.jit(rule.init)(KEY, BATCH)


def hidden(params, x):
    """States h_0 = 0, h_1 … h_T of the first layer in float64."""
    cell = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["0"]["cell"])
    states = [np.zeros((len(x), WIDTH))]
    for t in range(x.shape[1]):
        z = x[:, t] @ cell["i"]["kernel"] + cell["i"]["bias"] + states[-1] @ cell["h"]["kernel"]
        states.append(np.tanh(z))
    return states


@pytest.mark.parametrize("targets", ["every", "last"])
def test_identity_6_signals_are_sums_over_steps(targets):
    rule, params, state = made() if targets == "every" else made(targets=targets)
    grads, _, _ = rule.signal(params, state, BATCH, KEY)
    x = np.asarray(BATCH["inputs"], np.float64)
    h = hidden(params, x)
    target = np.asarray(state[FROZEN]["heads"]["0"]["codes"], np.float64)[BATCH["labels"]]
    errors = [(target - h[t + 1]) * (1 - h[t + 1] ** 2) for t in range(T)]
    steps = range(T) if targets == "every" else [T - 1]
    share = 1 / SIZE / len(steps)
    cell = grads["0"]["cell"]
    near = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    near(cell["i"]["kernel"], -share * sum(x[:, t].T @ errors[t] for t in steps))
    near(cell["h"]["kernel"], -share * sum(h[t].T @ errors[t] for t in steps))
    near(cell["i"]["bias"], -share * sum(errors[t].sum(0) for t in steps))
    logits = h[T] @ np.asarray(params["1"]["kernel"], np.float64)
    chance = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    error = chance - np.eye(CLASSES)[np.asarray(BATCH["labels"])]
    near(grads["1"]["kernel"], h[T].T @ error / SIZE)
    near(jax.jit(rule.predict)(params, state, BATCH)[0], logits)


def test_identity_6_every_layer_of_several_has_codes_of_its_own_and_takes_its_input_as_given():
    rule = rule_of((CELL, CELL))
    params, state = jax.jit(rule.init)(KEY, BATCH)
    grads, _, _ = jax.jit(rule.signal)(params, state, BATCH, KEY)
    below = hidden(params, np.asarray(BATCH["inputs"], np.float64))
    upper = hidden({"0": params["1"]}, np.stack(below[1:], 1))
    codes = [np.asarray(state[FROZEN]["heads"][name]["codes"], np.float64) for name in "01"]
    assert not np.allclose(*codes)
    for name, x, h in (("0", np.asarray(BATCH["inputs"]), below), ("1", np.stack(below, 1), upper)):
        target = codes[int(name)][BATCH["labels"]]
        x = x if name == "0" else x[:, 1:]
        errors = [(target - h[t + 1]) * (1 - h[t + 1] ** 2) for t in range(T)]
        for part, seen in (("i", lambda t, x=x: x[:, t]), ("h", lambda t, h=h: h[t])):
            wanted = -sum(seen(t).T @ errors[t] for t in range(T)) / SIZE / T
            found = grads[name]["cell"][part]["kernel"]
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("cell", [pytest.param("gru", marks=pytest.mark.slow), "lstm"])
def test_gates_are_differentiated_within_their_step(cell):
    """The sum over steps of the gradient of one step, its state before as a constant."""
    layer = recurrent(WIDTH, cell)
    rule = rule_of((layer,))
    params, state = jax.jit(rule.init)(KEY, BATCH)
    target = state[FROZEN]["heads"]["0"]["codes"][BATCH["labels"]]

    def loss(own, before, x):
        y, after = layer.apply(own, before, x)
        return jnp.mean(l2(target, y)), after

    slope = jax.jit(jax.grad(loss, has_aux=True))
    carry, total = layer.init(KEY, BATCH["inputs"][:, 0])[1], None
    for t in range(T):
        grads, carry = slope(params["0"], carry, BATCH["inputs"][:, t])
        total = grads if total is None else jax.tree.map(jnp.add, total, grads)
    found = jax.jit(rule.signal)(params, state, BATCH, KEY)[0]["0"]
    near = lambda a, b: np.testing.assert_allclose(a, b / T, rtol=1e-4, atol=1e-6)
    jax.tree.map(near, found, total)


def test_identity_6_one_step_is_the_rule_without_time():
    one = BATCH | {"inputs": BATCH["inputs"][:, :1]}
    plain = target_projection([CELL], READOUT, classes=CLASSES, scale=0.5)
    flat = BATCH | {"inputs": BATCH["inputs"][:, 0]}
    _, params, state = made()
    ours = jax.jit(rule_of(T=1).signal)(params, state, one, KEY)[0]
    theirs = jax.jit(plain.signal)(params, state, flat, KEY)[0]
    near = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    jax.tree.map(near, ours, theirs)


def test_identity_6_bptt_differs_unless_the_past_has_no_weight():
    rule, params, state = made()
    codes = state[FROZEN]["heads"]["0"]["codes"]

    def to_codes(outputs, batch):
        losses = jax.vmap(lambda y: l2(codes[batch["labels"]], y).mean())(outputs)
        return losses.mean(), {}

    full = jax.jit(backprop(through_time(CELL, T, time_axis=1), to_codes).signal)

    def pair(params):
        ours = rule.signal(params, state, BATCH, KEY)[0]["0"]
        theirs = full(params["0"], {}, BATCH, KEY)[0]
        return ours["cell"]["h"]["kernel"], theirs["cell"]["h"]["kernel"]

    ours, theirs = pair(params)
    assert np.abs(ours - theirs).max() > 1e-2 * np.abs(theirs).max()
    cell = params["0"]["cell"]
    silent = cell | {"h": {"kernel": jnp.zeros((WIDTH, WIDTH))}}
    ours, theirs = pair(params | {"0": {"cell": silent}})
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_hidden_signals_are_those_of_over_time():
    """Only the classifier is taught and read differently."""
    cells = [recurrent(WIDTH, "lstm"), recurrent(4, "gru")]
    plain = target_projection(cells, READOUT, classes=CLASSES, scale=0.5)
    rule = rule_of(cells)
    params, state = jax.jit(rule.init)(KEY, BATCH)
    ours, _, _ = jax.jit(rule.signal)(params, state, BATCH, KEY)
    theirs, _, _ = jax.jit(over_time(plain, T, time_axis=1).signal)(params, state, BATCH, KEY)
    for name in "01":
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
            ours[name],
            theirs[name],
        )
    assert not np.allclose(ours["2"]["kernel"], theirs["2"]["kernel"], 1e-2)


def test_memory_is_flat_in_time():
    batch = {"inputs": jnp.ones((64, 3)), "labels": jnp.zeros(64, jnp.int32)}

    def reserved(rule):
        params, state = jax.eval_shape(rule.init, KEY, batch)
        compiled = jax.jit(rule.signal).lower(params, state, batch, KEY).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    ours = [reserved(rule_of(T=T, time_axis=None)) for T in (8, 64)]
    last = lambda outputs, batch: cross_entropy(outputs[-1], batch)
    net = stack([CELL, READOUT])
    theirs = [reserved(backprop(through_time(net, T), last)) for T in (8, 64)]
    assert abs(ours[1] - ours[0]) < 0.05 * ours[0]
    assert theirs[1] > 4 * theirs[0]


def test_other_targets_are_refused():
    with pytest.raises(ValueError, match="'every' or 'last', found 'first'"):
        made(targets="first")
