"""ReLinear: the arms are what their names say, and claims follow the figures."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import relinear
from experiments.harness import Measured, Run
from experiments.parts import relinear_claims
from experiments.parts.relinear_published import published_start
from jaxlearn.core import TrainState
from jaxlearn.data import MissingData
from jaxlearn.data.resnet_weights import resnet_weights

SMOKE = relinear.PRESETS["smoke"]


def size(config):
    shape = (1, 64) if config.task == "digits" else (1, 2)
    params, _ = jax.eval_shape(relinear.model(config).init, jax.random.key(0), jnp.ones(shape))
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def by_name(preset):
    return {row.name: row.config for row in relinear.rows(relinear.PRESETS[preset])}


def test_rows_of_equal_size_have_about_as_many_parameters():
    found = by_name("small")
    for prefix, quadratic in (("digits", "sg 0.01"), ("spiral", "quadratic, sg 0.1")):
        wide = size(found[f"{prefix}: conventional, equal size"])
        assert wide == pytest.approx(size(found[f"{prefix}: {quadratic}"]), rel=0.1)
    three = size(found["digits: sg 0"]) / size(found["digits: conventional"])
    assert 2.7 < three < 3


def test_the_paper_rows_sweep_the_rate_and_the_depth():
    found = by_name("paper")
    rates = [c.gamma for n, c in found.items() if n.startswith("QResNet-20 sg")]
    assert rates == [0, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1]
    assert {c.blocks for c in found.values()} == {(n,) * 3 for n in (3, 5, 9, 18)}
    # the released script with ReZero has a rate a hundred times that of the others
    rezero = {name: c.gamma for name, c in found.items() if c.rezero}
    assert rezero == {f"QResNet-{depth} ReZero, sg 0.01": 1e-2 for depth in (20, 32, 56, 110)}
    config = relinear.PRESETS["paper"]
    assert (config.epochs, config.batch, config.momentum, config.weight_decay) == (
        200,
        128,
        0.9,
        1e-4,
    )


def test_a_pretrained_start_goes_on_from_the_conventional_network(tmp_path, monkeypatch):
    seen = []

    def fit(step, state, feed, **options):
        seen.append((state.params, options["workdir"]))
        return SimpleNamespace(
            state=state._replace(params=jax.tree.map(lambda w: w + 1, state.params))
        )

    monkeypatch.setattr(relinear, "fit", fit)
    config = replace(SMOKE, task="spiral", widths=(4,), batch=100, start="pretrained")
    relinear.trained(config, [3, 4], Run(tmp_path))
    (plain, first), (grown, second) = seen
    assert first != second
    before, after = plain["0"]["QuadraticDense_0"], grown["0"]["QuadraticDense_0"]
    for name in ("kernel_r", "bias_r"):
        np.testing.assert_array_equal(after[name], before[name] + 1)
    assert after["kernel_g"].shape == (2, 2, 4)  # two seeds
    assert not np.any(after["kernel_g"])
    assert np.all(after["bias_g"] == 1)
    np.testing.assert_array_equal(
        grown["1"]["Dense_0"]["kernel"], plain["1"]["Dense_0"]["kernel"] + 1
    )


def test_the_published_start_is_the_trained_network_in_every_seed():
    config = by_name("paper")["QResNet-20 published, sg 0.0001"]
    try:
        arrays = resnet_weights(20)
    except MissingData as absent:
        pytest.skip(str(absent))
    x = jnp.zeros((1, 32, 32, 3))
    shapes = jax.eval_shape(relinear.model(config).init, jax.random.key(0), x)
    params, state = jax.tree.map(lambda s: jnp.zeros((2, *s.shape), s.dtype), shapes)
    empty = TrainState(jnp.int32(0), params, state, (), jax.random.key(0))
    found = published_start(empty)
    assert jax.tree.map(jnp.shape, found.params) == jax.tree.map(jnp.shape, params)
    assert jax.tree.map(jnp.shape, found.state) == jax.tree.map(jnp.shape, state)
    first = found.params["4"]["conv1"]
    for seed in range(2):
        kernel = arrays["layer2.0.conv1.weight"].transpose(2, 3, 1, 0)
        np.testing.assert_array_equal(first["kernel_r"][seed], kernel)
        np.testing.assert_array_equal(first["bias_g"][seed], 1)
        assert not np.any(first["kernel_g"][seed])


@pytest.mark.slow
def test_training_goes_on_from_the_published_network(tmp_path, monkeypatch):
    seen = []

    def fit(step, state, feed, **options):
        seen.append((state, jax.jit(step)(state, feed(0))[0].params))
        return SimpleNamespace(state=state)

    x = np.random.default_rng(0).uniform(size=(2, 32, 32, 3)).astype(np.float32)
    part = {"inputs": x, "labels": np.zeros(2, np.int32), "index": np.arange(2)}
    monkeypatch.setattr(relinear, "fit", fit)
    monkeypatch.setattr(relinear, "read", lambda config: (part, part, part))
    config = replace(by_name("paper")["QResNet-20 published, sg 0.0001"], batch=2, momentum=0.0)
    try:
        relinear.trained(config, [5], Run(tmp_path))
    except MissingData as absent:
        pytest.skip(str(absent))
    ((state, after),) = seen
    kernel = resnet_weights(20)["layer1.0.conv1.weight"].transpose(2, 3, 1, 0)
    before, moved = (tree["1"]["conv1"] for tree in (state.params, after))
    np.testing.assert_array_equal(before["kernel_r"][0], kernel)
    change = lambda name: float(np.abs(moved[name] - before[name]).max())
    assert 0 < change("kernel_g") < 0.01 * change("kernel_r")


@pytest.mark.slow
def test_replicas_are_averaged_and_divergence_is_counted(tmp_path):
    config = replace(SMOKE, task="deep", widths=(8,) * 12, start="random", steps=3, replicas=3)
    found = relinear.train(config, [0], Run(tmp_path))[0]
    assert set(found) == {"accuracy", "validation", "parameters", "diverged"}
    assert found["diverged"] >= 2 / 3
    blank = jax.tree.map(lambda s: jnp.full(s.shape, jnp.nan), jax.eval_shape(
        relinear.model(config).init, jax.random.key(0), jnp.ones((1, 2)))[0])  # fmt: skip
    state = TrainState(jnp.int32(0), blank, {}, (), jax.random.key(0))
    assert relinear.measure(config, state)["diverged"] == 1


def test_growth_options_reach_the_transform():
    params = {"kernel_g": jnp.ones(1), "kernel_r": jnp.ones(1)}

    def after(**options):
        tx = relinear.transform(replace(SMOKE, weight_decay=0.0, **options), 100)
        updates, _ = tx.update(jax.tree.map(jnp.ones_like, params), tx.init(params), params)
        return [float((params[k] + updates[k])[0]) for k in ("kernel_g", "kernel_r")]

    assert after(gamma=1.0) == pytest.approx([0.9, 0.9])
    assert after(gamma=0.0) == pytest.approx([1.0, 0.9])
    assert after(alpha=0.5) == pytest.approx([0.45, 0.9])
    assert after(beta=0.2) == pytest.approx([0.2, 0.9])
    assert after(clip=2**0.5 / 10) == pytest.approx([0.99, 0.99])


def figures(**changes):
    """Measured rows for which every claim holds, with changes."""
    rows = {
        "neuron: conventional": {"accuracy": [55.0]},
        "neuron: compact": {"accuracy": [100.0]},
        "neuron: quadratic": {"accuracy": [99.0]},
        **{f"deep: {name}": {"diverged": [0.0]} for name in relinear_claims.DEEP},
        "deep: random start": {"diverged": [1.0]},
        **{
            f"digits: sg {g}": {"accuracy": [95.0], "validation": [float(i)]}
            for i, g in enumerate(("0", "0.0001", "0.01"))
        },
        "digits: sg 1": {"accuracy": [10.0], "validation": [-1.0]},
        "digits: conventional": {"accuracy": [95.0]},
        "checkpoint": {"accuracy": [82.0], "difference": [1e-5]},
    }
    found = relinear.claims(Measured(rows | changes))
    return {claim.id: claim.holds for claim in found}


@pytest.mark.parametrize(
    ("broken", "row"),
    [
        ("one-neuron", {"neuron: conventional": {"accuracy": [80.0]}}),
        ("random-start-collapses", {"deep: random start": {"diverged": [0.6]}}),
        ("never-below-conventional", {"digits: sg 0.01": {"accuracy": [94.0],
                                                          "validation": [9.0]}}),
        ("rate-0-is-conventional", {"digits: conventional": {"accuracy": [94.0]}}),
        ("rate-1-collapses", {"digits: sg 1": {"accuracy": [94.0], "validation": [-1.0]}}),
        ("trained-start", {"checkpoint": {"accuracy": [82.0], "difference": [0.1]}}),
    ],
)  # fmt: skip
def test_each_claim_follows_its_figures(broken, row):
    assert all(figures().values())
    found = figures(**row)
    assert [name for name, holds in found.items() if not holds] == [broken]


def paper_figures(**changes):
    """Rows of `paper` for which every claim holds, with changes."""
    rates = ("0", "1e-05", "0.0001", "0.001", "0.01", "0.1", "1")
    rises = (91.0, 91.2, 91.5, 91.4, 91.1, 60.0, 10.0)
    rows = {
        f"QResNet-20 sg {rate}": {"accuracy": [value], "validation": [value - 1]}
        for rate, value in zip(rates, rises, strict=True)
    }
    rows["QResNet-20 conventional"] = {"accuracy": [91.2]}
    found = relinear.claims(Measured(rows | changes))
    assert all(claim.presets == ("paper",) for claim in found)
    return {claim.id: claim.holds for claim in found}


@pytest.mark.parametrize(
    ("broken", "row"),
    [
        # the best by validation, not by test
        (["accuracy-rises-with-the-rate", "better-than-conventional"],
         {"QResNet-20 sg 0.01": {"accuracy": [90.9], "validation": [95.0]}}),
        (["accuracy-collapses-at-rate-1"],
         {"QResNet-20 sg 1": {"accuracy": [91.3], "validation": [9.0]}}),
        (["better-than-conventional"], {"QResNet-20 conventional": {"accuracy": [92.0]}}),
    ],
)  # fmt: skip
def test_each_claim_of_the_paper_follows_its_figures(broken, row):
    found = paper_figures()
    assert len(found) == 3
    assert all(found.values())
    found = paper_figures(**row)
    assert [name for name, holds in found.items() if not holds] == broken


def test_the_claims_of_the_paper_are_judged_on_rows_that_it_has():
    names = by_name("paper").keys()
    rows = {name: {"accuracy": [1.0], "validation": [1.0]} for name in names}
    assert len(relinear.claims(Measured(rows))) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": -0.1}, "learning_rate=-0.1; a rate is at least 0"),
        ({"gamma": -1.0}, "gamma, beta and clip"),
        ({"epochs": 0}, "steps, epochs, batch"),
        ({"start": "published"}, "start='published' needs the blocks"),
    ],
)
def test_config_refuses_values_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        relinear.Config(**options)
