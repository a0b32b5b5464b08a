"""Labels in inputs, wrong labels and made-up inputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.data.negative_data import (
    blurred_mask,
    every_label,
    hybrids,
    label_rows,
    overwrite_label,
    scrambled,
    wrong_labels,
)

KEY = jax.random.key(0)


def test_identity_8_negative_labels_are_wrong_and_uniform():
    n, classes = 7000, 7
    batch = {"inputs": jnp.zeros((n, 1)), "labels": jnp.arange(n) % classes}
    drawn = np.asarray(jax.jit(lambda key: wrong_labels(key, batch, classes))(KEY))
    labels = np.asarray(batch["labels"])
    assert not (drawn == labels).any()
    assert set(drawn) == set(range(classes))
    for label in range(classes):
        counts = np.bincount(drawn[labels == label], minlength=classes)
        counts = np.delete(counts, label)
        chi2 = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
        assert chi2 < 20.5  # 99.9 % of chi-square with 5 degrees of freedom
    again = np.asarray(wrong_labels(jax.random.key(1), batch, classes))
    assert 0.7 < (again != drawn).mean() < 0.95


def test_wrong_labels_belong_to_examples_and_not_to_places():
    batch = {"inputs": jnp.zeros((8, 1)), "labels": jnp.arange(8) % 5, "index": jnp.arange(8)}
    whole = wrong_labels(KEY, batch, 5)
    half = wrong_labels(KEY, jax.tree.map(lambda leaf: leaf[4:], batch), 5)
    np.testing.assert_array_equal(whole[4:], half)


def test_label_rows_frame_the_image():
    x = jnp.ones((2, 28, 28, 1))
    made = np.asarray(label_rows(10, 3.0).write(x, jnp.array([0, 9])))
    assert made.shape == (2, 48, 28)
    for image, label in zip(made, (0, 9), strict=True):
        for rows in (image[:10], image[38:]):
            np.testing.assert_array_equal(rows.sum(1), 3.0 * 28 * (np.arange(10) == label))
        assert (image[10:38] == 1).all()


def test_every_label_keeps_the_labels_of_one_input_together():
    x = jnp.arange(8.0).reshape(2, 4)
    made = every_label(overwrite_label(3, 5.0), x)
    np.testing.assert_array_equal(made[:, :3], np.tile(5 * np.eye(3), (2, 1)))
    np.testing.assert_array_equal(made[:, 3], [3, 3, 3, 7, 7, 7])


def test_masks_are_binary_balanced_and_smooth():
    keys = jax.random.split(KEY, 50)
    masks = np.asarray(jax.vmap(lambda key: blurred_mask(key, (28, 28)))(keys))
    assert set(np.unique(masks)) == {0.0, 1.0}
    assert 0.4 < masks.mean() < 0.6
    changes = (masks[:, 1:] != masks[:, :-1]).mean()
    assert changes < 0.25, "a mask of independent bits changes at every second pixel"


def test_one_blur_is_the_published_filter():
    bits = np.asarray(jax.random.bernoulli(KEY, shape=(6, 5)), np.float64)
    kernel = np.outer([0.25, 0.5, 0.25], [0.25, 0.5, 0.25])
    wide = np.pad(bits, 1, mode="edge")
    blurred = sum(kernel[i, j] * wide[i : i + 6, j : j + 5] for i in range(3) for j in range(3))
    np.testing.assert_array_equal(blurred_mask(KEY, (6, 5), 1), blurred > 0.5)


def test_hybrids_take_every_pixel_from_one_of_two_images():
    x = jnp.arange(1, 4)[:, None, None, None] * jnp.ones((3, 12, 12, 1))
    made = np.asarray(hybrids({"inputs": x}, KEY))
    for i, image in enumerate(made):
        assert set(np.unique(image)) == {i + 1.0, (i - 1) % 3 + 1.0}


@pytest.mark.slow
def test_scrambled_inputs_have_typical_entries_and_do_not_see_their_neighbours():
    x = jax.random.normal(KEY, (4, 400))
    batch = {"inputs": x, "index": jnp.arange(4)}
    made = scrambled(batch, KEY)
    assert np.isin(np.asarray(made), np.asarray(x)).all()
    assert 0.4 < (made == x).mean() < 0.6
    part = scrambled(jax.tree.map(lambda leaf: leaf[2:], batch), KEY)
    np.testing.assert_array_equal(part, made[2:])


def test_wrong_use_is_refused():
    with pytest.raises(ValueError, match="classes=1"):
        overwrite_label(1)
    with pytest.raises(ValueError, match="2 entries cannot take in 3"):
        overwrite_label(3).write(jnp.ones((1, 2)), jnp.zeros(1, int))
    with pytest.raises(ValueError, match=r"\[B, H, W\]"):
        label_rows(3).write(jnp.ones((1, 2)), jnp.zeros(1, int))
