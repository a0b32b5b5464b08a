"""The networks and rows of the lottery-ticket experiment."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.harness import Measured, Run
from experiments.lth_rewinding import PRESETS, Config, _pruning, _shared, rows, train, transform
from experiments.parts.lth_claims import claims
from experiments.parts.lth_networks import network, prunable
from jaxlearn.transforms.sparsity import masks
from jaxlearn.transforms.sparsity.prunable import prunable_leaves

SHAPES = {"lenet": (1, 28, 28, 1), "resnet20": (1, 32, 32, 3), "vgg16": (1, 32, 32, 3)}


def abstract(name):
    model = network(name)
    return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(SHAPES[name]))[0]


@pytest.mark.parametrize(
    ("name", "weights"),
    [("lenet", 265_200), ("resnet20", 270_896), ("vgg16", 14_710_464)],
)
def test_prunable_weights_are_all_but_the_exempt_output_layers(name, weights):
    found = prunable_leaves(abstract(name), prunable(name))
    assert sum(leaf.size for leaf in found.values()) == weights


@pytest.mark.slow
def test_published_initialisation_of_the_residual_network():
    params, _ = network("resnet20").init(jax.random.key(0), jnp.zeros(SHAPES["resnet20"]))
    scales = [
        np.asarray(leaf)
        for path, leaf in jax.tree.leaves_with_path(params)
        if "scale" in jax.tree_util.keystr(path)
    ]
    drawn = np.concatenate(scales)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert abs(drawn.mean() - 0.5) < 0.05
    assert abs(drawn.std() - np.sqrt(1 / 12)) < 0.05
    kernel = np.asarray(params["9"]["Conv_1"]["kernel"])
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 64)), rel=0.03)


def test_density_of_the_small_rows_is_the_same_whatever_the_number_of_levels():
    chains = [row.config for row in rows(PRESETS["small"])]
    assert {round((1 - c.fraction) ** c.levels, 6) for c in chains} == {round(0.64**8, 6)}
    assert {c.rewind for c in chains if c.method == "rewind"} == {0, 40, 160}


def test_layer_by_layer_the_output_layer_loses_half_as_much():
    config = Config(method="layerwise", fraction=0.2)
    shapes = abstract("lenet")
    params = jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(0), leaf.shape), shapes)
    start = masks(transform(_shared(config), 10).init(params))
    found = _pruning(config)(params, start)
    counts = [int(found[f"Dense_{i}"]["kernel"].sum()) for i in range(3)]
    assert counts == [0.8 * 235_200, 0.8 * 30_000, 0.9 * 1_000]
    others = masks(transform(_shared(Config()), 10).init(params))
    assert others["Dense_2"]["kernel"] is None


def test_claims_of_the_deep_network_are_about_rewinding_late():
    def held(**late):
        first = {"density": [0.1], "ticket": [88.0], "random layer": [87.0], "barrier, ticket": [5]}
        rows = {"resnet20 rewind to 0": first, "resnet20 rewind to 500": first | late}
        found = {claim.id: claim.holds for claim in claims(Measured(rows))}
        return [found[n] for n in ("late-rewinding", "late-over-random", "barrier-falls")]

    assert held(ticket=[90.0], **{"barrier, ticket": [1]}) == [True, True, True]
    assert held(ticket=[87.5]) == [False, True, False]
    assert held(ticket=[89.0], **{"random layer": [89.5]}) == [True, False, False]


@pytest.mark.slow
def test_a_rewind_beyond_the_training_is_refused(tmp_path):
    with pytest.raises(ValueError, match="rewind=500 has to be before the last step"):
        train(replace(PRESETS["smoke"], rewind=500), [0], Run(tmp_path))


def test_the_rate_rises_over_the_warm_up_and_falls_at_the_drops():
    config = Config(warmup=4, drops=(0.5,), epochs=2)
    tx = transform(config, 20)
    params = {"Dense_0": {"kernel": jnp.zeros((2, 2))}}
    state, step = tx.init(params), jax.jit(tx.update)
    ones, moved = jax.tree.map(jnp.ones_like, params), []
    for _ in range(12):
        updates, state = step(ones, state, params)
        moved.append(-float(updates["Dense_0"]["kernel"][0, 0]))
    wanted = [0.025, 0.05, 0.075, *[0.1] * 6, 0.1, 0.01, 0.01]
    np.testing.assert_allclose(moved, wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fraction": 1.0}, "fraction must be between 0 and 1, found 1.0"),
        ({"rewind": -1}, "rewind at least 0"),
        ({"points": 1}, "points must be at least 2"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        Config(**options)
