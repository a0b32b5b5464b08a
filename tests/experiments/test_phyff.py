"""The parts of the experiment `phyff`: what its baselines see of the physics, drift, claims."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from experiments import phyff
from experiments.harness import Measured
from experiments.parts.phyff_learners import (
    Learner,
    accuracy_of,
    hybrids_of_rows,
    learner,
    moved,
    shifted,
    training,
)
from experiments.parts.phyff_systems import (
    cavity,
    drifted,
    embedding_of,
    layers_of,
    parts,
    physics_of,
    rmse,
    stacked,
)

KEY = jax.random.key(0)
SMOKE = phyff.SETTINGS["smoke"]
ROW = phyff.Config(size="smoke", **(SMOKE["acoustic"] | {"epochs": 2}))
DATA = parts(ROW, 0)


def systems():
    """The cavity as it is built, and after it has drifted."""
    first = jax.jit(lambda: cavity(ROW))()
    return first, jax.jit(lambda real: drifted(real, 0.5))(first)


built = cache(systems)


def weights(method, real, believed):
    """The parameters after two steps."""
    config = replace(ROW, method=method)
    world = (physics_of(config, real), physics_of(config, believed))
    made = learner(config, 7, 4.0, *world)
    train = {name: jnp.asarray(leaf) for name, leaf in DATA.train.items()}

    @jax.jit
    def run():
        return training(config, made)(made.start(KEY, train), train, KEY, 2)

    state = run()
    return state.params, made, state


def same(a, b):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))


@pytest.mark.slow
def test_each_method_sees_of_the_physics_what_its_name_says():
    first, last = built()
    blind, _, state = weights("backprop", last, first)
    assert same(blind, weights("backprop", first, first)[0]), "in silico: the twin alone"
    aware = weights("physics-aware", last, first)[0]
    assert not same(aware, weights("physics-aware", first, first)[0]), "forward: the physics"
    assert not same(aware, weights("physics-aware", last, last)[0]), "backward: the twin"
    assert same(weights("phyll", last, first)[0], weights("phyll", last, last)[0])
    assert not same(weights("phyll", last, first)[0], weights("phyll", first, first)[0])
    # whatever training saw, accuracy is that of the real system
    config = replace(ROW, method="backprop")
    test = {name: jnp.asarray(leaf) for name, leaf in DATA.test.items()}
    judged = [
        jax.jit(
            learner(config, 7, 4.0, physics_of(config, real), physics_of(config, first)).predict
        )(state, test)
        for real in (first, last)
    ]
    assert not np.allclose(*judged)


def test_the_drift_is_relative_and_always_the_same():
    first, last = built()
    change = jax.tree.map(lambda a, b: np.ravel(np.divide(a, b)) * 1.25**0.5 - 1, last, first)
    values = np.concatenate(jax.tree.leaves(change))
    assert abs(values.mean()) < 0.02
    assert abs(values.std() - 0.5) < 0.02
    assert same(last, systems()[1])


def test_accuracy_in_pieces_is_the_accuracy():
    made = learner(replace(ROW, method="linear"), 3, 1.0, None, None)
    n = 1500
    data = {
        "inputs": jax.random.normal(KEY, (n, 5)),
        "labels": jax.random.randint(KEY, (n,), 0, 3),
        "index": jnp.arange(n),
    }
    state = jax.jit(made.start)(KEY, data)
    outputs = np.asarray(jax.jit(made.predict)(state, data))
    want = 100 * (outputs.argmax(1) == np.asarray(data["labels"])).mean()
    np.testing.assert_allclose(jax.jit(accuracy_of(made))(state, data), want, rtol=1e-6)


def test_every_system_has_its_published_shapes():
    expected = {"acoustic": 40, "microwave": 40, "optics": 676, "digital": 784}
    for system, width in expected.items():
        config = phyff.Config(size="paper", system=system, **phyff.PUBLISHED[system])
        labels = embedding_of(config, 7, 2.0)
        shape = {"optics": (1, 28, 28), "digital": (1, 784)}.get(system, (1, 20))
        x = jax.eval_shape(labels.write, jnp.zeros(shape), jnp.zeros(1, int))
        if system == "optics":
            assert x.shape == (1, 28 + 14, 28)
            continue  # its matrix of 34^2 modes squared is drawn when the system is built
        physics = physics_of(replace(config, size="smoke"))
        layers = layers_of(config, physics)
        assert len(layers) == config.layers
        assert jax.eval_shape(layers[0].measure, x).shape == (1, width)


def test_the_digital_network_has_the_exact_gelu():
    config = phyff.Config(system="digital", **(phyff.PUBLISHED["digital"] | {"width": 1}))
    layer, x = layers_of(config, None)[0], np.linspace(-6, 6, 241, dtype=np.float32)
    params, state = layer.readout.init(KEY, jnp.ones((1, 1)))
    identity = jax.tree.map(lambda leaf: jnp.full_like(leaf, leaf.ndim == 2), params)
    found = layer.readout.apply(identity, state, x[:, None])[0][:, 0]
    np.testing.assert_allclose(found, 0.5 * x * (1 + erf(x / 2**0.5)), rtol=1e-5, atol=1e-6)


def test_the_error_of_a_twin_is_a_root_mean_square():
    y, target = np.random.default_rng(0).normal(size=(2, 6, 20))
    found, _ = rmse(jnp.asarray(y), {"targets": jnp.asarray(target)})
    np.testing.assert_allclose(found, np.sqrt(((y - target) ** 2).mean()), rtol=1e-5)


def test_rows_of_pixels_are_mixed_as_images():
    batch = {"inputs": jnp.arange(2.0)[:, None] * jnp.ones((2, 64)), "index": jnp.arange(2)}
    made = np.asarray(hybrids_of_rows(batch, KEY))
    assert made.shape == (2, 64)
    assert set(np.unique(made)) == {0.0, 1.0}


def test_only_the_published_digital_run_moves_its_images():
    names = {row.name for row in phyff.rows(phyff.PRESETS["paper"]) if shifted(row.config)}
    assert names == {"PhyLL, digital", "forward-forward, digital", "unsupervised, digital"}
    for preset in ("smoke", "small"):
        assert not any(shifted(row.config) for row in phyff.rows(phyff.PRESETS[preset]))


def test_images_are_moved_anew_at_every_step_and_keep_their_pixels():
    inner = np.zeros((6, 28, 28), np.float32)
    inner[:, 5:20, 5:20] = np.random.default_rng(0).uniform(1, 2, (6, 15, 15))
    data = {"inputs": jnp.asarray(inner.reshape(6, -1)), "index": jnp.arange(6)}
    data["labels"] = jnp.zeros(6, jnp.int32)
    config = replace(
        phyff.PRESETS["paper"], system="digital", **(phyff.PUBLISHED["digital"] | {"batch": 6})
    )

    def step(state, batch):
        t, seen = state
        return (t + 1, seen.at[t].set(batch["inputs"])), None

    train = training(config, Learner(step, step, step))
    _, seen = train((0, jnp.zeros((3, 6, 784))), data, KEY, 3)
    seen = np.asarray(seen).reshape(3, 6, 28, 28)
    assert not np.array_equal(seen[0], seen[1])
    for images in seen:
        for image, whole in zip(images, inner, strict=True):
            places = [np.roll(whole, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)]
            # rolled in from the other side there is 0, moved in there is black
            assert any(np.array_equal(np.maximum(image, 0), place) for place in places)
    black = moved(data, KEY)["inputs"].min()
    assert float(black) == pytest.approx(-0.1307 / 0.3081)


def test_seeds_are_stacked_and_differ():
    both = stacked([parts(ROW, seed).train for seed in (0, 1)])
    assert both["inputs"].shape == (2, 32, 20)
    assert not np.array_equal(both["inputs"][0], both["inputs"][1])
    assert DATA.amplitude == DATA.train["inputs"].max() > 0


@pytest.mark.parametrize(
    "change, match",
    [
        ({"layers": 0}, "layers=0"),
        ({"epochs": -1}, "epochs=-1"),
        ({"system": "optics", "drift": 0.1}, "only the acoustic"),
        ({"width": 30}, "width=30; the acoustic system takes 20 values"),
        ({"system": "microwave", "width": 30}, "width=30; the microwave system takes 20 values"),
        ({"system": "optics", "method": "unsupervised"}, "unsupervised is of the digital system"),
        ({"method": "forward-forward"}, "forward-forward is of the digital system"),
        ({"system": "optics", "method": "linear"}, "the optical system images"),
        ({"learning_rate": -1.0}, "learning_rate=-1.0; it has to be above 0"),
        ({"theta": 0.0}, "theta=0.0; it has to be above 0"),
    ],
)
def test_impossible_rows_are_refused(change, match):
    with pytest.raises(ValueError, match=match):
        phyff.Config(**change)


def made_up(**changes):
    """A table in which every claim holds, but for the changes."""
    last = f"drift_{phyff.CHECKS[-1]}"
    rows = {
        "PhyLL": {"accuracy": [90], "drift_0": [30], last: [88], "twin_rmse": [0.01]},
        "linear on formants": {"accuracy": [91]},
        "untrained": {"accuracy": [15]},
        "backprop through twin": {"accuracy": [92], "drift_0": [40], last: [41]},
        "PhyLL, digital": {"accuracy": [80]},
    }
    rows["PhyLL"]["linear_rmse"] = [0.03]
    for where, value in changes.items():
        row, metric = where.split("__")
        rows[row.replace("_", " ")][metric] = [value]
    return {claim.id: claim.holds for claim in phyff.claims(Measured(rows))}


@pytest.mark.parametrize(
    "change, broken",
    [
        ({}, None),
        ({"PhyLL__twin_rmse": 0.04}, "twin"),
        ({"linear_on_formants__accuracy": 94}, "vowels"),
        ({"untrained__accuracy": 71}, "learning"),
        ({"backprop_through_twin__drift_50": 90}, "drift"),
        ({"PhyLL__drift_50": 84}, "drift"),
        ({"PhyLL,_digital__accuracy": 74}, "digital"),
    ],
)
def test_each_claim_fails_by_its_own_margin(change, broken):
    held = made_up(**change)
    assert [name for name, holds in held.items() if not holds] == ([broken] if broken else [])
