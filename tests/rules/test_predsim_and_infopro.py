"""Each module's signal is the gradient of its own loss, against plain differentiation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.models.heads.branches import branches
from jaxlearn.models.heads.predsim import predsim_head
from jaxlearn.models.tiny import CLASSES, FEATURES, tiny_batch, tiny_blocks, tiny_head
from jaxlearn.objectives import cross_entropy, reconstruction, similarity_matching
from jaxlearn.rules.infopro import between, infopro
from jaxlearn.rules.predsim import predsim

KEY = jax.random.key(0)
BATCH = tiny_batch(8)


def close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), a, b)


def check(rule, loss_of):
    """The signal of the first module is the gradient of `loss_of(block, head, hidden)`."""
    params, state = jax.jit(rule.init)(KEY, BATCH)
    grads, _, metrics = jax.jit(rule.signal)(params, state, BATCH, KEY)

    def loss(block, head):
        h, _ = tiny_blocks()[0].apply(block, {}, BATCH["inputs"])
        return loss_of(head, h)

    value, expected = jax.jit(jax.value_and_grad(loss, (0, 1)))(params["0"], params["heads"]["0"])
    np.testing.assert_allclose(metrics["loss/0"], value, rtol=1e-5)
    close((grads["0"], grads["heads"]["0"]), expected)


def test_predsim_is_similarity_and_a_little_cross_entropy():
    def loss(head, h):
        similarity = h @ head["similarity"]["Dense_0"]["kernel"]
        dense = head["logits"]["Dense_0"]
        logits = h @ dense["kernel"] + dense["bias"]
        matching = similarity_matching(similarity, BATCH["labels"], CLASSES, BATCH)
        return 0.99 * matching + 0.01 * cross_entropy(logits, BATCH)[0]

    check(predsim(tiny_blocks(), tiny_head(), predsim_head(CLASSES)), loss)


def image(batch):
    return jax.nn.sigmoid(batch["inputs"])


def infopro_head():
    from flax import linen

    from jaxlearn.core import from_linen

    return branches({"image": from_linen(linen.Dense(FEATURES)), "features": tiny_head()})


def test_infopro_reconstructs_and_classifies():
    def loss(head, h):
        read = lambda dense: h @ dense["kernel"] + dense["bias"]
        pixels = reconstruction(read(head["image"]), image(BATCH), BATCH)
        return 2.0 * pixels + 0.3 * cross_entropy(read(head["features"]), BATCH)[0]

    rule = infopro(
        tiny_blocks(), tiny_head(), infopro_head(), image, reconstruct=(2.0, 9), classify=(0.3, 9)
    )
    check(rule, loss)


def test_the_weights_go_from_the_first_to_the_last_hidden_module():
    first, second = tiny_blocks()
    layers = [first, second, second, second]
    ends = {"reconstruct": (5.0, 0.5), "classify": (0.0, 1.0)}
    rule = infopro(layers, tiny_head(), infopro_head(), image, **ends)
    params, state = jax.jit(rule.init)(KEY, BATCH)
    metrics = jax.jit(rule.signal)(params, state, BATCH, KEY)[2]
    for i, (a, b) in enumerate([(5.0, 0.0), (2.75, 0.5), (0.5, 1.0)]):
        expected = a * metrics[f"reconstruction/{i}"] + b * metrics[f"task/{i}"]
        np.testing.assert_allclose(metrics[f"loss/{i}"], expected, rtol=1e-5)
    assert between((5.0, 0.5), 1.0) == pytest.approx(0.5)
    assert jnp.isfinite(metrics["loss"])
