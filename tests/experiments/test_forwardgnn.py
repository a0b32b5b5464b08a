"""ForwardGNN: memory of the two methods, what is reported per depth, and how claims are judged."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments import forwardgnn
from experiments.harness import Measured, Run
from jaxlearn.data.node_batches import node_batch
from jaxlearn.data.virtual_nodes import augment_with_virtual_nodes

TINY = dataclasses.replace(forwardgnn.EXPERIMENT.presets["smoke"], depths=(2, 3, 4))


def bytes_by_depth(method: str) -> list[float]:
    config = dataclasses.replace(TINY, method=method)
    graph, ids = forwardgnn.read(config), np.arange(76)
    whole = augment_with_virtual_nodes(graph, ids, jax.random.key(0))
    context = forwardgnn.context(config, whole) | {"virtual": np.arange(120, 123)}
    batch = node_batch(ids, graph.labels, context)
    return [forwardgnn.step_megabytes(config, batch, depth) for depth in config.depths]


def test_a_step_takes_the_same_bytes_in_layers_2_3_and_4():
    assert len(set(bytes_by_depth("single-forward"))) == 1


def test_a_step_of_backprop_takes_more_bytes_with_every_layer():
    two, three, four = bytes_by_depth("backprop")
    assert two < three < four


def test_one_greedy_run_reports_every_depth_and_learns(tmp_path):
    config = dataclasses.replace(
        TINY, depths=(1, 2), convolution="sage", epochs=20, learning_rate=0.02
    )
    found = forwardgnn.train_one(config, 0, Run(tmp_path))
    assert set(found) == {"accuracy_1", "accuracy_2", "epochs_1", "epochs_2"}
    assert found["epochs_1"] < found["epochs_2"] <= 40
    assert found["accuracy_2"] > 70  # of three classes


def test_the_split_of_the_seed_decides_which_nodes_are_labelled(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "jaxlearn.procedures.layerwise.layerwise",
        lambda stages, tx, key, train, validation, *_, **__: seen.append((train, validation)) or [],
    )
    monkeypatch.setattr(
        "jaxlearn.procedures.layerwise.predict",
        lambda stages, trained, test: seen.append(test) or np.zeros((24, 3)),
    )
    config = dataclasses.replace(TINY, depths=(1,), convolution="sage")
    for seed in (1, 6):
        forwardgnn.train_one(config, seed, Run(tmp_path))
    (train, validation), test, (again, _), _ = seen
    parts = [batch["inputs"] for batch in (train, validation, test)]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(120))
    np.testing.assert_array_equal(train["inputs"], again["inputs"])
    matrix = train["context"]["matrix"]
    reached = set(np.asarray(matrix.pattern.indices)[np.asarray(matrix.pattern.rows) >= 120])
    assert reached == set(parts[0].tolist())


def judged(sf: dict, bp: dict) -> dict[str, bool]:
    rows = {
        "single-forward gcn": {name: [value] for name, value in sf.items()},
        "backprop gcn": {name: [value] for name, value in bp.items()},
    }
    return {claim.id: claim.holds for claim in forwardgnn.claims(Measured(rows))}


def test_claims_follow_the_figures():
    memory = {f"step_mb_{l}": 5.0 for l in (2, 3, 4)}
    growing = {f"step_mb_{l}": float(l) for l in (2, 3, 4)}
    sf = {"accuracy_1": 87.75, "accuracy_2": 87.95} | memory
    bp = {"accuracy_1": 31.72, "accuracy_2": 86.84} | growing
    assert judged(sf, bp) == {
        "one-layer": True,
        "two-layers": True,
        "flat-memory": True,
        "growing-memory": True,
    }
    assert not any(judged(bp | {"accuracy_2": 80.0}, sf).values())
    assert judged({"accuracy_2": 80.0}, {"accuracy_2": 82.0}) == {"two-layers": True}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("depths", (), "name at least one"),
        ("depths", (0,), "each 1 or more"),
        ("patience", 0, "patience=0"),
    ],
)
def test_config_refuses_values_out_of_range(field, value, message):
    with pytest.raises(ValueError, match=message):
        forwardgnn.Config(**{field: value})
