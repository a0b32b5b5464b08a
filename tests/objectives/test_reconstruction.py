import jax.numpy as jnp
import numpy as np

from jaxlearn.objectives import cross_entropy, infopro_loss, reconstruction, restored

RANDOM = np.random.default_rng(2)


def test_reconstruction_is_the_binary_cross_entropy_of_clipped_pixels():
    logits = RANDOM.normal(size=(3, 2, 2, 3))
    image = RANDOM.uniform(-0.2, 1.2, size=logits.shape)
    p, t = 1 / (1 + np.exp(-logits)), image.clip(0, 1)
    losses = -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean((1, 2, 3))
    a, b = jnp.asarray(logits, jnp.float32), jnp.asarray(image, jnp.float32)
    np.testing.assert_allclose(reconstruction(a, b, {}), losses.mean(), rtol=1e-5)
    w = np.array([0.0, 1.0, 2.0])
    weighted = reconstruction(a, b, {"weight": jnp.asarray(w, jnp.float32)})
    np.testing.assert_allclose(weighted, (w * losses).mean(), rtol=1e-5)


def test_restored_undoes_the_normalisation_within_the_interval():
    pixels = RANDOM.uniform(size=(2, 3, 3, 3)).astype(np.float32)
    pixels[0, 0, 0] = [0.0, 1.0, 0.5]
    mean, std = np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.1, 0.3])
    inputs = jnp.asarray((pixels - mean) / std, jnp.float32)
    image = restored(mean, std)({"inputs": inputs})
    np.testing.assert_allclose(image, pixels, atol=1e-6)
    assert float(image.min()) >= 0
    assert float(image.max()) <= 1


def test_both_terms_have_their_weights():
    logits = jnp.asarray(RANDOM.normal(size=(4, 3)), jnp.float32)
    batch = {"labels": jnp.array([0, 1, 2, 0]), "inputs": jnp.full((4, 2), 0.25)}
    objective = infopro_loss(5.0, 0.5, lambda batch: batch["inputs"])
    pixels = jnp.zeros((4, 2))
    loss, metrics = objective({"image": pixels, "features": logits}, batch)
    np.testing.assert_allclose(metrics["reconstruction"], np.log(2), rtol=1e-6)
    expected = 5 * np.log(2) + 0.5 * cross_entropy(logits, batch)[0]
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    assert metrics["loss"] == loss
    assert "accuracy" in metrics
