import jax
import jax.numpy as jnp
import numpy as np

from jaxlearn.objectives import supervised_contrastive

RANDOM = np.random.default_rng(1)
LABELS = np.array([0, 1, 2, 1, 0, 0, 4, 2])
FEATURES = RANDOM.normal(size=(8, 5))


def by_hand(features, labels, temperature, there=None):
    """The sums of the definition, pair by pair; the loss of each example."""
    z = features / np.linalg.norm(features, axis=1, keepdims=True)
    there = np.ones(len(labels), bool) if there is None else there
    losses = []
    for i, label in enumerate(labels):
        others = [a for a in range(len(labels)) if a != i and there[a]]
        partners = [a for a in others if labels[a] == label]
        total = sum(np.exp(z[i] @ z[a] / temperature) for a in others)
        logs = [z[i] @ z[p] / temperature - np.log(total) for p in partners]
        losses.append(-np.mean(logs) if logs else 0.0)
    return np.array(losses)


def test_loss_is_the_definition_and_lonely_examples_count_zero():
    batch = {"labels": jnp.asarray(LABELS)}
    for temperature in (0.07, 1.0):
        found, _ = jax.jit(supervised_contrastive(temperature))(
            jnp.asarray(FEATURES, jnp.float32), batch
        )
        np.testing.assert_allclose(found, by_hand(FEATURES, LABELS, temperature).mean(), rtol=1e-5)


def test_groups_and_weights():
    x = jnp.asarray(FEATURES, jnp.float32)
    batch = {"labels": jnp.asarray(LABELS)}
    found, _ = jax.jit(supervised_contrastive(0.5, group=4))(x, batch)
    halves = [by_hand(FEATURES[s], LABELS[s], 0.5) for s in (slice(0, 4), slice(4, 8))]
    np.testing.assert_allclose(found, np.concatenate(halves).mean(), rtol=1e-5)
    w = np.array([2, 1, 1, 0, 1, 1, 1, 1.0])
    weighted, _ = jax.jit(supervised_contrastive(0.5))(
        x, batch | {"weight": jnp.asarray(w, jnp.float32)}
    )
    expected = (w * by_hand(FEATURES, LABELS, 0.5, w > 0)).mean()
    np.testing.assert_allclose(weighted, expected, rtol=1e-5)


def test_gradients_are_finite_at_zero_and_without_company():
    loss = lambda x, labels: supervised_contrastive()(x, {"labels": labels})[0]
    for x, labels in ((jnp.zeros((3, 4)), jnp.array([0, 0, 1])), (jnp.ones((1, 4)), jnp.zeros(1))):
        value, grad = jax.jit(jax.value_and_grad(loss))(x, labels)
        assert bool(jnp.isfinite(value))
        assert bool(jnp.isfinite(grad).all())
