"""Forward-forward learning with labels in the inputs and without labels."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlearn.core import from_linen, make_state, make_step
from jaxlearn.data.negative_data import overwrite_label, scrambled, wrong_labels
from jaxlearn.models.tiny import CLASSES, DenseRelu, tiny_batch, tiny_blocks
from jaxlearn.rules.forward_forward import forward_forward, unsupervised_forward_forward

BATCH, LABELS, KEY = tiny_batch(24), overwrite_label(CLASSES, 2.0), jax.random.key(0)
RULE = forward_forward(tiny_blocks(), LABELS, theta=1.5)
START = jax.jit(RULE.init)(KEY, BATCH)


def activities(params, x):
    """Both layers in numpy."""
    found = []
    for name in "01":
        if found:
            x = x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-8) * x.shape[1] ** 0.5
        dense = params[name]["Dense_0"]
        x = np.maximum(x @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"]), 0)
        found.append(x)
    return found


def test_every_layer_pushes_goodness_over_the_threshold_or_under_it():
    params, state = START
    _, _, metrics = jax.jit(RULE.signal)(params, state, BATCH, KEY)
    wrong = wrong_labels(jax.random.split(KEY)[0], BATCH, CLASSES)
    views = [LABELS.write(BATCH["inputs"], y) for y in (BATCH["labels"], wrong)]
    pairs = zip(*(activities(params, np.asarray(x, np.float64)) for x in views), strict=True)
    for name, (positive, negative) in zip("01", pairs, strict=True):
        p, n = (positive**2).sum(1), (negative**2).sum(1)
        want = (np.log1p(np.exp(1.5 - p)) + np.log1p(np.exp(n - 1.5))).mean()
        np.testing.assert_allclose(metrics[f"loss/{name}"], want, rtol=1e-4)


def test_no_local_loss_reaches_the_weights_of_another_layer():
    params, state = START

    @jax.jit
    def jacobian(params):
        metrics = lambda p: RULE.signal(p, state, BATCH, KEY)[2]
        return jax.jacobian(lambda p: jnp.stack([metrics(p)[f"loss/{l}"] for l in "01"]))(params)

    found = jacobian(params)
    assert not any(np.any(leaf[0]) for leaf in jax.tree.leaves(found["1"]))
    assert not any(np.any(leaf[1]) for leaf in jax.tree.leaves(found["0"]))
    assert all(np.any(found[l]["Dense_0"]["kernel"][int(l)]) for l in "01")


def test_labels_are_chosen_by_the_goodness_of_all_layers_but_the_first():
    params, state = START
    scores, _ = jax.jit(RULE.predict)(params, state, BATCH)
    for c in range(CLASSES):
        x = LABELS.write(BATCH["inputs"], jnp.full(24, c))
        _, second = activities(params, np.asarray(x, np.float64))
        np.testing.assert_allclose(scores[:, c], (second**2).sum(1), rtol=1e-4, atol=1e-6)
    alone = forward_forward(tiny_blocks()[:1], LABELS, mean=True)
    first, _ = jax.jit(alone.predict)({"0": params["0"]}, {}, BATCH)
    x = LABELS.write(BATCH["inputs"], jnp.zeros(24, int))
    want = (activities(params, np.asarray(x))[0] ** 2).mean(1)
    np.testing.assert_allclose(first[:, 0], want, rtol=1e-4)


def test_the_threshold_is_the_number_of_units_unless_said():
    params, state = START
    losses = []
    for theta in (None, 12.0):
        rule = forward_forward(tiny_blocks(), LABELS, theta=theta)
        losses.append(jax.jit(rule.signal)(params, state, BATCH, KEY)[2]["loss"])
    assert losses[0] == losses[1]


def test_a_layer_cannot_read_the_length_of_the_one_before():
    params, state = START
    longer = params | {"0": jax.tree.map(lambda leaf: 5 * leaf, params["0"])}
    predict = jax.jit(RULE.predict)
    one, other = (predict(p, state, BATCH)[0] for p in (params, longer))
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_layers_learn_without_labels_and_the_read_out_sends_nothing_back():
    rule = unsupervised_forward_forward(tiny_blocks(), CLASSES, negatives=scrambled)
    tx = optax.adam(0.02)
    state, step = jax.jit(lambda: make_state(rule, tx, KEY, BATCH))(), jax.jit(make_step(rule, tx))
    swapped = BATCH | {"labels": (BATCH["labels"] + 1) % CLASSES}
    one, _ = step(state, BATCH)
    other, _ = step(state, swapped)
    same = jax.tree.map(np.array_equal, one.params["layers"], other.params["layers"])
    assert all(jax.tree.leaves(same))
    assert np.any(one.params["readout"]["kernel"] != other.params["readout"]["kernel"])
    for _ in range(60):
        state, metrics = step(state, BATCH)
    assert metrics["separated/1"] > 0.7
    outputs, _ = jax.jit(rule.predict)(state.params, state.state, BATCH)
    assert (outputs.argmax(1) == BATCH["labels"]).mean() > 0.9


@pytest.mark.slow
def test_images_are_told_from_hybrids():
    """Stripes against mixtures of stripes: only a unit that sees far can tell them apart."""
    phase = jnp.arange(32) % 8
    grid = jnp.arange(8)
    images = jnp.sign(jnp.sin(2 * jnp.pi * (grid[None, :] + phase[:, None]) / 8 + 0.1))
    inputs = jnp.broadcast_to(images[:, None, :], (32, 8, 8)) * 1.0
    batch = {"inputs": inputs, "labels": phase // 4, "index": jnp.arange(32)}

    class Flat(DenseRelu):
        def __call__(self, x):
            return super().__call__(x.reshape(len(x), -1))

    blocks = [from_linen(Flat(32)), from_linen(Flat(16))]
    rule = unsupervised_forward_forward(blocks, 2)
    tx = optax.adam(0.01)
    state, step = jax.jit(lambda: make_state(rule, tx, KEY, batch))(), jax.jit(make_step(rule, tx))
    seen = []
    for _ in range(120):
        state, metrics = step(state, batch)
        seen.append(float(metrics["separated/0"]))
    assert np.mean(seen[-20:]) > np.mean(seen[:5]) + 0.1


def test_wrong_use_is_refused():
    with pytest.raises(ValueError, match="at least one block"):
        forward_forward([], LABELS)
    with pytest.raises(ValueError, match="classes=1"):
        unsupervised_forward_forward(tiny_blocks(), 1)
