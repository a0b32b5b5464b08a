import json
from dataclasses import replace

import jax
import numpy as np
import optax
import pytest

from experiments import _auglocal_memory
from experiments.auglocal import (
    EXPERIMENT,
    SMALL,
    SMOKE,
    Config,
    ImageNet,
    claims,
    network,
    normalised,
    program,
    rows,
    rule_of,
    train_one,
)
from experiments.harness import Measured, Run
from experiments.parts.auglocal_layers import likeness, probed, variables
from jaxlearn.core import make_state


def test_rows_cover_the_baselines_and_every_depth_with_published_numbers_only_for_the_paper():
    paper = rows(Config())
    names = [row.name for row in paper]
    expected = []
    for of, deepest in ((", ResNet-32", 5), (", ResNet-110", 6)):
        expected += [f"{n}{of}" for n in ("backprop", "greedy", "dgl", "predsim", "infopro")]
        expected += [f"auglocal{of}, d = {d}" for d in range(1, deepest + 1)]
        most = f"auglocal{of}, d = {deepest}"
        expected += [f"{most}, consecutive", f"{most}, repeated"]
    assert names == expected
    assert {sum(row.config.blocks) + 1 for row in paper if "ResNet-32" in row.name} == {16}
    assert {sum(row.config.blocks) + 1 for row in paper if "ResNet-110" in row.name} == {55}
    assert len({row.config for row in paper}) == len(paper)
    published = {row.name: row.paper["accuracy"] for row in paper if row.paper}
    assert published == {
        "backprop, ResNet-110": 94.61,
        "predsim, ResNet-110": 74.95,
        "infopro, ResNet-110": 86.95,
        "auglocal, ResNet-110, d = 6": 93.96,
    }
    assert not any(row.paper for row in rows(SMALL))
    assert [row.config.depth for row in rows(SMALL)[3:]] == [1, 3]


def test_paper_preset_is_the_published_protocol():
    paper = EXPERIMENT.presets["paper"]
    assert (sum(paper.blocks) + 1, paper.batch, paper.epochs) == (55, 1024, 400)
    assert (paper.learning_rate, paper.weight_decay, paper.warmup) == (0.8, 1e-4, 10)


@pytest.mark.parametrize(
    ("deepest", "failing"),
    [
        (60.0, set()),
        (52.9, {"better-than-greedy", "near-backprop"}),
        (53.5, {"near-backprop"}),
        (61.5, set()),
    ],
)
def test_claims_fail_by_their_margins(deepest, failing):
    found = {"backprop": 60.0, "greedy": 50.0, "dgl": 52.0, "auglocal, d = 1": 53.0}
    found["auglocal, d = 3"] = deepest
    table = Measured({name: {"accuracy": [value]} for name, value in found.items()})
    assert {claim.id for claim in claims(table) if not claim.holds} == failing


def test_impossible_configs_are_refused():
    with pytest.raises(ValueError, match=r"each in 1\.\.9 for 10 layers"):
        replace(SMALL, depth=10)
    with pytest.raises(ValueError, match="image=20; it has to divide 32"):
        replace(SMALL, image=20)


def test_the_compiled_step_takes_the_published_batch():
    tiny = replace(Config(), blocks=(1, 1, 1), widths=(4, 8, 16), depth=1, depths=(1,))
    made = program(tiny)
    assert made.batch["inputs"].shape == (1024, 32, 32, 3)
    heads = made.state.params["heads"]
    assert sorted(heads) == ["0", "1"]


def test_claims_are_judged_for_each_network():
    one = {"backprop": 94.0, "greedy": 80.0, "auglocal, d = 1": 90.0, "auglocal, d = 2": 93.0}
    other = one | {"auglocal, d = 2": 82.0}
    found = {}
    for net, part in (("ResNet-32", one), ("ResNet-110", other)):
        for name, value in part.items():
            method, comma, rest = name.partition(", ")
            found[f"{method}, {net}{comma}{rest}"] = {"accuracy": [value]}
    failing = {claim.id for claim in claims(Measured(found, "paper")) if not claim.holds}
    kinds = ("better-than-greedy", "depth-helps", "near-backprop")
    assert failing == {f"{kind}-resnet-110" for kind in kinds}


def test_imagenet_rows_are_the_published_networks_with_every_layer_isolated():
    table = {row.name: row for row in rows(EXPERIMENT.presets["imagenet"])}
    layers = {"ResNet-34": 17, "ResNet-101": 34, "VGG-13": 10}
    assert [*table] == [f"{m}, {net}" for net in layers for m in ("backprop", "auglocal")]
    for net, count in layers.items():
        assert table[f"auglocal, {net}"].config.layers == count
    assert table["auglocal, ResNet-101"].paper == {"accuracy": 76.70}
    assert sum(bool(row.paper) for row in table.values()) == 3
    one = ImageNet()
    assert (one.batch, one.learning_rate, one.epochs, one.depth, one.tau) == (1024, 0.4, 200, 4, 0)
    assert one.weight_decay == 1e-4


@pytest.mark.parametrize(
    "kind",
    ["basic", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("bottleneck", "vgg"))],
)
def test_the_imagenet_step_isolates_every_layer(kind):
    blocks, widths = (1, 1, 1, 1, 1), (4, 8, 16, 32, 64)
    tiny = ImageNet(kind=kind, blocks=blocks, widths=widths, image=64, batch=2)
    made = program(tiny)
    after, metrics = jax.eval_shape(made.step, made.state, made.batch)
    shape = lambda leaf: (leaf.shape, leaf.dtype)
    assert jax.tree.map(shape, after) == jax.tree.map(shape, made.state)
    assert len(made.state.params["heads"]) == tiny.layers - 1
    assert f"loss/{tiny.layers - 1}" in metrics


def test_imagenet_is_compiled_but_not_trained(tmp_path):
    with pytest.raises(ValueError, match="compile auglocal --preset imagenet"):
        train_one(ImageNet(), 0, Run(tmp_path))
    with pytest.raises(ValueError, match="image=100; it has to be a multiple of 32"):
        ImageNet(image=100)
    with pytest.raises(ValueError, match=r"each in 1\.\.9 for 10 layers"):
        ImageNet(kind="vgg", blocks=(2,) * 5, depth=10)


@pytest.mark.parametrize("method", ["backprop", "greedy", "auglocal"])
def test_layers_are_found_however_training_was_cut(method):
    """Layer by layer they give what the rule predicts, less the classifier."""
    config = replace(SMOKE, method=method, depth=1)
    rule, random = rule_of(config), np.random.default_rng(0)
    batch = {
        "inputs": random.uniform(0, 255, (40, 8, 8, 3)).astype(np.float32),
        "labels": random.integers(0, 10, 40).astype(np.int32),
        "index": np.arange(40, dtype=np.int32),
    }
    state = jax.jit(lambda: make_state(rule, optax.sgd(0.1), jax.random.key(0), batch))()
    layers = network(config.blocks, config.widths, config.sync)
    own = variables(state, len(layers))
    x = normalised(batch["inputs"])
    assert likeness(layers, own, own, x) == pytest.approx(1, abs=1e-5)
    assert 0 <= probed(layers, own, (x, batch["labels"]), (x, batch["labels"]), 10) <= 100
    for layer, (params, stats) in zip(layers, own, strict=True):
        x, _ = layer.apply(params, {"batch_stats": stats}, x)
    logits = jax.jit(rule.predict)(state.params, state.state, batch)[0]
    # the classifier is linear in the pooled output, which has more rows than columns
    pooled = np.c_[np.asarray(x.mean((1, 2)), np.float64), np.ones(40)]
    fitted = np.linalg.lstsq(pooled, np.asarray(logits, np.float64), rcond=None)[0]
    np.testing.assert_allclose(pooled @ fitted, logits, atol=1e-4)


def test_the_memory_file_gets_the_cells_that_it_lacks(tmp_path, monkeypatch):
    asked = []

    def measure(network, way, target):
        asked.append((network, target, way))
        return 2**20

    monkeypatch.setattr(_auglocal_memory, "measure", measure)
    monkeypatch.setattr(_auglocal_memory, "operations", lambda network, method: 3.0)
    path = tmp_path / "memory.json"
    _auglocal_memory.write(path, ["resnet-32", "tpu", "backprop"])
    assert asked == [("resnet-32", "tpu", "backprop")]
    _auglocal_memory.write(path, [])
    assert len(asked) == len(set(asked)) == 16  # two networks, two compilers, four ways
    found = json.loads(path.read_text())
    cell = found["resnet-110"]["tpu"]["checkpointed backprop"]
    assert (cell["mib"], cell["gflop"]) == (1.0, 3.0)
    assert {"date", "revision", "jax", "jaxlib"} <= set(cell)
    _auglocal_memory.write(path, [])
    assert len(asked) == 16
