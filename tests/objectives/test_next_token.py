"""The loss of language models."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxlearn.objectives.next_token import nats, next_token

LOGITS = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 5)), jnp.float32)
BATCH = {"labels": jnp.array([[0, 1, 2], [4, 4, 0]])}


def test_it_is_the_mean_of_minus_log_p():
    loss, metrics = jax.jit(next_token())(LOGITS, BATCH)
    p = np.exp(np.asarray(LOGITS, np.float64))
    p /= p.sum(-1, keepdims=True)
    each = -np.log(np.take_along_axis(p, np.asarray(BATCH["labels"])[..., None], -1)[..., 0])
    np.testing.assert_allclose(loss, each.mean(), rtol=1e-6)
    np.testing.assert_allclose(metrics["bits"], each.mean() / np.log(2), rtol=1e-6)
    np.testing.assert_allclose(jax.jit(nats)(LOGITS, BATCH), each.mean(1), rtol=1e-6)
    right = np.asarray(LOGITS).argmax(-1) == np.asarray(BATCH["labels"])
    np.testing.assert_allclose(metrics["accuracy"], right.mean(), rtol=1e-6)


def test_identity_8_l2_wrap_changes_gradients_and_not_the_loss():
    plain, wrapped = next_token(), next_token(0.1)
    taught = lambda f: jax.jit(jax.value_and_grad(lambda z: f(z, BATCH)[0]))(LOGITS)
    losses, slopes = zip(*(map(np.asarray, taught(f)) for f in (plain, wrapped)), strict=True)
    assert losses[0] == losses[1]
    expected = np.zeros(LOGITS.shape)
    top = np.asarray(LOGITS).argmax(-1)[..., None]
    pull = 0.1 * np.take_along_axis(np.asarray(LOGITS), top, -1) / 6
    np.put_along_axis(expected, top, pull, -1)
    np.testing.assert_allclose(slopes[1] - slopes[0], expected, atol=1e-6)


def test_weights_of_examples_count():
    heavy = BATCH | {"weight": jnp.array([2.0, 0.0])}
    first = {"labels": BATCH["labels"][:1]}
    for objective in (next_token(), next_token(0.1)):
        slope = jax.jit(jax.grad(lambda z, batch, f=objective: f(z, batch)[0]))
        a, b = np.asarray(slope(LOGITS, heavy)), np.asarray(slope(LOGITS[:1], first))
        np.testing.assert_allclose(a[:1], b, atol=1e-7)
        np.testing.assert_array_equal(a[1], 0)


def test_half_precision_logits_are_read_in_single_precision():
    half = LOGITS.astype(jnp.bfloat16)
    for objective in (next_token(), next_token(0.1)):
        ours, wanted = (jax.jit(objective)(z, BATCH) for z in (half, half.astype(jnp.float32)))
        jax.tree.map(np.testing.assert_array_equal, ours, wanted)
        assert ours[0].dtype == jnp.float32
    np.testing.assert_array_equal(nats(half, BATCH), nats(half.astype(jnp.float32), BATCH))
