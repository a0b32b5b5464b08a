"""Augmentation: its distribution, and that it depends on key and example alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.data.augment import (
    augment,
    compose,
    cutout,
    normalize,
    random_crop,
    random_flip,
    random_shift,
)

KEY = jax.random.key(3)
FULL = compose(random_crop(2), random_flip, cutout(3), normalize([0.1, 0.2], [0.5, 2.0]))
apply = jax.jit(lambda batch, key: augment(batch, key, FULL)["inputs"])


def images(n, height=6, width=5, channels=2):
    x = np.random.default_rng(0).random((n, height, width, channels))
    return {"inputs": jnp.asarray(x, jnp.float32), "index": jnp.arange(n), "labels": jnp.zeros(n)}


def keys(n):
    return jax.random.split(KEY, n)


@pytest.mark.parametrize("mode", ["reflect", "zero"])
def test_crops_are_exactly_the_windows_of_the_padded_image(mode):
    image = np.asarray(images(1)["inputs"][0])
    width = ((2, 2), (2, 2), (0, 0))
    wide = np.pad(image, width, mode="reflect" if mode == "reflect" else "constant")
    windows = {wide[i : i + 6, j : j + 5].tobytes(): (i, j) for i in range(5) for j in range(5)}
    crops = jax.jit(jax.vmap(random_crop(2, mode), (0, None)))(keys(400), image)
    found = {windows[np.asarray(crop).tobytes()] for crop in crops}  # KeyError: no such window
    assert len(found) == 25


def test_no_padding_is_the_identity():
    image = images(1)["inputs"][0]
    assert np.array_equal(jax.jit(random_crop(0))(KEY, image), image)


def test_shifts_are_whole_pixels_with_the_weights_of_their_rounding():
    """At 0.7 pixels a side is moved by one with probability 2/7: 8/49 both ways, 25/49 neither."""
    image = np.asarray(images(1, 7, 7)["inputs"][0])
    wide = np.pad(image, ((1, 1), (1, 1), (0, 0)), constant_values=-3.0)
    windows = {wide[i : i + 7, j : j + 7].tobytes(): (i, j) for i in range(3) for j in range(3)}
    shifted = jax.jit(jax.vmap(random_shift(0.1, -3.0), (0, None)))(keys(980), image)
    found = [windows[one.tobytes()] for one in np.asarray(shifted)]
    assert len(set(found)) == 9
    still = found.count((1, 1))
    assert abs(still - 500) < 4 * (500 * 24 / 49) ** 0.5
    sideways = sum(i == 1 for i, _ in found)
    assert abs(sideways - 700) < 4 * (700 * 2 / 7) ** 0.5
    few = jax.vmap(random_shift(0.05), (0, None))(keys(20), image)  # a third of a pixel
    assert all(np.array_equal(one, image) for one in few)


def test_half_of_the_images_are_mirrored():
    image = images(1)["inputs"][0]
    flipped = jax.jit(jax.vmap(random_flip, (0, None)))(keys(400), image)
    mirrored = [bool(jnp.array_equal(one, image[:, ::-1])) for one in flipped]
    kept = [bool(jnp.array_equal(one, image)) for one in flipped]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 150 < sum(mirrored) < 250  # 200, standard deviation 10


@pytest.mark.parametrize("size", [2, 3, 20])
def test_cutout_removes_one_square_around_a_pixel(size):
    image = jnp.ones((6, 5, 1))
    squares = set()
    for cy in range(6):
        for cx in range(5):
            expected = np.ones((6, 5, 1), np.float32)
            top, left = cy - size // 2, cx - size // 2
            expected[max(0, top) : top + size, max(0, left) : left + size] = 0
            squares.add(expected.tobytes())
    cut = jax.jit(jax.vmap(cutout(size), (0, None)))(keys(400), image)
    assert {np.asarray(one).tobytes() for one in cut} == squares


def test_normalize_uses_the_channels_statistics():
    image = images(1)["inputs"][0]
    out = normalize([0.1, 0.2], [0.5, 2.0])(KEY, image)
    expected = (np.asarray(image, np.float64) - [0.1, 0.2]) / [0.5, 2.0]
    assert np.allclose(out, expected, atol=1e-6)
    bytes_ = jnp.full((2, 2, 1), 200, jnp.uint8)
    assert normalize([100.0], [50.0])(KEY, bytes_).tolist() == [[[2.0], [2.0]]] * 2


def test_bytes_stay_bytes_until_normalised():
    image = jnp.arange(48, dtype=jnp.uint8).reshape(4, 4, 3)
    changed = jax.eval_shape(compose(random_crop(1), random_flip, cutout(2)), KEY, image)
    assert (changed.dtype, changed.shape) == (jnp.uint8, (4, 4, 3))


def test_the_parts_of_a_composition_have_their_own_keys():
    seen = []

    def spy(key, image):
        seen.append(jax.random.key_data(key).tolist())
        return image

    compose(spy, spy, spy)(KEY, jnp.ones((2, 2, 1)))
    assert len({tuple(key) for key in seen}) == 3


def test_an_examples_result_does_not_depend_on_its_place_or_its_microbatch():
    batch = images(8)
    whole = np.asarray(apply(batch, KEY))
    for pair in ([0, 1], [5, 0], [7, 2]):
        part = {key: value[np.array(pair)] for key, value in batch.items()}
        assert np.array_equal(apply(part, KEY), whole[pair])


def test_the_key_of_an_example_is_the_steps_key_folded_with_its_index():
    batch = {**images(8), "index": np.array([100, 7, 3, 0, 1, 2, 50, 9])}
    draw = lambda key, image: image + jax.random.uniform(key)
    out = augment(batch, KEY, draw)["inputs"] - batch["inputs"]
    for i in (0, 6):
        expected = jax.random.uniform(jax.random.fold_in(KEY, int(batch["index"][i])))
        assert np.allclose(out[i], expected, atol=1e-6)


def test_examples_and_keys_differ():
    same = {**images(8), "inputs": jnp.repeat(images(1)["inputs"], 8, 0)}
    out, other = apply(same, KEY), apply(same, jax.random.key(4))
    assert len({np.asarray(one).tobytes() for one in out}) > 5
    assert not np.array_equal(out, other)


def test_the_rest_of_the_batch_is_untouched():
    batch = {**images(3), "context": "graph"}
    out = augment(batch, KEY, random_flip)
    assert all(out[key] is batch[key] for key in ("index", "labels", "context"))


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: random_crop(-1), "pad=-1"),
        (lambda: random_crop(1, "wrap"), "mode='wrap'"),
        (lambda: random_shift(1.0), r"share=1\.0"),
        (lambda: cutout(0), "size=0"),
        (lambda: normalize([0.0], [0.0]), "std above 0"),
        (lambda: normalize([0.0], [1.0, 1.0]), "equal lengths"),
        (lambda: augment({"inputs": jnp.ones((2, 3, 3, 1))}, KEY, random_flip), "index"),
        (
            lambda: augment(
                {"inputs": jnp.ones((2, 3, 3)), "index": jnp.arange(2)}, KEY, random_flip
            ),
            r"\(2, 3, 3\)",
        ),
    ],
)
def test_wrong_use_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
