"""What is silenced, what is exchanged, and that both follow the example and not its place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.core import microbatch, prepared
from jaxlearn.core.contracts import Rule
from jaxlearn.data.augment_sequences import cut_mix, mask_time_and_neurons, span
from jaxlearn.objectives import cross_entropy, mixed_cross_entropy

KEY = jax.random.key(0)


def batch_of(size, frames=12, bands=8):
    """Every number tells its example, frame and band; none is 0."""
    x = 1.0 + np.arange(size * frames * bands).reshape(size, frames, bands)
    index = 7 + 3 * np.arange(size, dtype=np.int32)
    return {"inputs": jnp.asarray(x, jnp.float32), "labels": jnp.arange(size), "index": index}


def test_a_span_is_one_run_and_its_length_and_place_are_uniform():
    spans = np.asarray(jax.vmap(lambda key: span(key, 10, 4))(jax.random.split(KEY, 4000)))
    lengths = spans.sum(1)
    starts = np.diff(np.pad(spans, ((0, 0), (1, 0))).astype(int), axis=1) == 1
    np.testing.assert_array_equal(starts.sum(1), lengths > 0)
    for length in range(5):
        assert np.mean(lengths == length) == pytest.approx(1 / 5, abs=0.03)
    where = starts[lengths == 4].argmax(1)
    assert np.bincount(where, minlength=7) / len(where) == pytest.approx(1 / 7, abs=0.04)


def test_masking_silences_a_run_of_frames_and_a_run_of_bands_at_its_chance():
    batch = batch_of(600)
    x = np.asarray(jax.jit(mask_time_and_neurons(5, 3, 0.25))(batch, KEY)["inputs"])
    kept = x != 0
    np.testing.assert_array_equal(x[kept], np.asarray(batch["inputs"])[kept])
    frames, bands = ~kept.any(2), ~kept.any(1)
    np.testing.assert_array_equal(~kept, frames[:, :, None] | bands[:, None])
    assert frames.sum(1).max() == 5
    assert bands.sum(1).max() == 3
    # a span of length 0 silences nothing
    assert frames.any(1).mean() == pytest.approx(0.25 * 5 / 6, abs=0.06)
    assert bands.any(1).mean() == pytest.approx(0.25 * 3 / 4, abs=0.06)


def test_cut_mix_takes_the_same_frames_of_the_neighbour_and_says_how_many():
    batch = batch_of(400)
    mixed = jax.jit(cut_mix(0.5, 0.75))(batch, KEY)
    x, own = np.asarray(mixed["inputs"]), np.asarray(batch["inputs"])
    other = np.roll(own, -1, 0)
    foreign = (x == other).all(2)
    np.testing.assert_array_equal(np.where(foreign[..., None], other, own), x)
    np.testing.assert_allclose(mixed["mix"], 1 - foreign.mean(1), atol=1e-6)
    np.testing.assert_array_equal(mixed["partner"]["labels"], np.roll(np.arange(400), -1))
    assert foreign.sum(1).max() == 6
    assert foreign.any(1).mean() == pytest.approx(0.75 * 6 / 7, abs=0.06)


def test_what_happens_to_an_example_does_not_depend_on_its_place():
    batch, order = batch_of(6), np.array([3, 0, 5, 1, 4, 2])
    moved = jax.tree.map(lambda leaf: leaf[order], batch)
    change, mix = jax.jit(mask_time_and_neurons(5, 3, 0.9)), jax.jit(cut_mix(0.5, 1.0))
    found, there = (np.asarray(change(b, KEY)["inputs"]) for b in (batch, moved))
    np.testing.assert_array_equal(found[order], there)
    spans = [np.asarray(mix(b, KEY)["mix"]) for b in (batch, moved)]
    np.testing.assert_array_equal(spans[0][order], spans[1])
    assert (found != np.asarray(change(batch, jax.random.key(1))["inputs"])).any()


def test_as_part_of_a_rule_masks_are_the_same_in_microbatches():
    """The gradient of `w . mean(x)` is the mean of what the rule was shown."""
    zeros = {"w": jnp.zeros((12, 8))}
    rule = Rule(
        lambda key, batch: (zeros, {}),
        lambda params, state, batch, key: ({"w": batch["inputs"].mean(0)}, state, {"loss": 0.0}),
        lambda params, state, batch: (batch["inputs"], state),
    )
    change = mask_time_and_neurons(5, 3, 0.9)
    whole = prepared(rule, lambda batch: batch, change)
    batch = batch_of(6)
    expected, _, _ = whole.signal(zeros, {}, batch, KEY)
    found, _, _ = prepared(microbatch(rule, 3), lambda b: b, change).signal(zeros, {}, batch, KEY)
    np.testing.assert_allclose(found["w"], expected["w"], rtol=1e-5)
    np.testing.assert_array_equal(whole.predict(zeros, {}, batch)[0], batch["inputs"])


def test_the_mixed_loss_is_the_cross_entropy_of_the_mixed_label():
    logits = jax.random.normal(KEY, (5, 3))
    batch = {"labels": jnp.array([0, 1, 2, 0, 1]), "weight": jnp.array([1.0, 2.0, 0.5, 0.5, 1.0])}
    partner, share = np.array([2, 2, 0, 1, 1]), np.array([0.0, 0.3, 1.0, 0.5, 0.9])
    target = share[:, None] * np.eye(3)[batch["labels"]] + (1 - share)[:, None] * np.eye(3)[partner]
    z = np.asarray(logits, np.float64)
    log_share = z - np.log(np.exp(z).sum(1, keepdims=True))
    expected = -np.mean(np.asarray(batch["weight"]) * (target * log_share).sum(1))
    mixed = batch | {"partner": {"labels": jnp.asarray(partner)}, "mix": jnp.asarray(share)}
    loss, metrics = mixed_cross_entropy(logits, mixed)
    assert float(loss) == float(metrics["loss"]) == pytest.approx(expected, rel=1e-5)
    assert mixed_cross_entropy(logits, batch)[0] == cross_entropy(logits, batch)[0]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: mask_time_and_neurons(2, 2, 1.5), r"chance=1\.5; it is a probability"),
        (lambda: mask_time_and_neurons(-1, 2), "time=-1; it cannot be negative"),
        (lambda: mask_time_and_neurons(13, 2)(batch_of(2), KEY), "spans of 13 frames"),
        (lambda: cut_mix(1.2), r"longest=1\.2; it is a share"),
        (lambda: cut_mix(0.5)(batch_of(2) | {"inputs": jnp.ones((2, 3))}, KEY), "sequences"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
