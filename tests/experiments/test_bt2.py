"""The experiment's own logic; training the table is left to its smoke preset."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from experiments import bt2
from experiments.harness import Measured
from experiments.parts.bt2_captions import caption_features

SMALL, PAPER = bt2.PRESETS["small"], bt2.PRESETS["paper"]


def test_published_numbers_stand_beside_rows_of_paper_alone():
    assert not any(row.paper for row in bt2.rows(SMALL))
    shown = {row.name: row.paper for row in bt2.rows(PAPER) if row.paper}
    assert set(shown) == {"old", "independent", "BCT", "BT2"}
    assert shown["BT2"]["new_old_map"] == 27.7


def test_rows_share_the_models_they_have_in_common():
    both = [*bt2.rows(SMALL), *bt2.rows(bt2.PRESETS["upgrades"])]
    rows = {row.name: bt2.stages_of(row.config) for row in both}
    assert {stages[0] for name, stages in rows.items() if name.startswith("BCT")} == {
        rows["old"][0]
    }
    assert rows["independent"][1].classes == 10
    assert [stage.classes for stage in rows["BT2, second update"]] == [5, 7, 10]
    assert rows["BT2, second update"][2].config.old == 40  # all of the second embedding
    two = [stage.network for stage in rows["BT2, two architectures"]]
    assert two == ["linear", "mlp", "cnn"]
    assert rows["BT2, captions"][0].kind == "captions"
    assert rows["BT2, half the old size"][0].width == 16


def test_a_model_of_captions_can_be_updated_twice():
    stages = bt2.stages_of(replace(SMALL, captions=True, old=10, updates=2))
    assert [stage.kind for stage in stages] == ["captions", "bt2", "bt2"]
    assert stages[2].config.old == 40


def test_prototypes_are_means_of_embeddings_as_long_as_they_are(monkeypatch):
    """Those of an updated model have length sqrt(1 + scale^2); features to match have length 1."""
    draw, n = np.random.default_rng(0), 40
    train = {
        "inputs": np.zeros((n, 28, 28, 1), np.float32),
        "labels": (np.arange(n) % 10).astype(np.int32),
    }
    third = bt2.stages_of(replace(SMALL, updates=2, batch=n))[2]
    rows = draw.normal(size=(n, 40))
    rows *= np.sqrt(5) / np.linalg.norm(rows, axis=1, keepdims=True)
    unit = draw.normal(size=(n, 32))
    given = lambda stage, *rest: rows if stage is third.before else unit
    monkeypatch.setattr(bt2, "embedded", given)
    batch = bt2.stream_of(third, SimpleNamespace(train=train), 0, None)(0)
    means = np.stack([rows[train["labels"] == c].mean(0) for c in range(10)])
    np.testing.assert_allclose(batch["context"]["prototypes"], means, atol=1e-6)
    np.testing.assert_allclose(batch["old"], rows[batch["index"]] / np.sqrt(5), atol=1e-6)


def test_captions_keep_the_inner_products_of_their_trigrams():
    names = ["sandal", "sneaker", "bag"]
    found = caption_features(names)
    bags = [[f" a photo of {n} "[i : i + 3] for i in range(len(n) + 11)] for n in names]
    for i in range(3):
        for j in range(3):
            every = set(bags[i]) | set(bags[j])
            count = lambda bag, every=every: np.array([bag.count(x) for x in sorted(every)], float)
            a, b = count(bags[i]), count(bags[j])
            wanted = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            assert found[i] @ found[j] == pytest.approx(wanted, abs=1e-5)


def measured(**change):
    """Figures for which all claims hold, changed by row and metric."""
    rows = {
        "old": {"old_old_map": 50.0},
        "independent": {"new_old_map": 12.0, "new_new_map": 70.0},
        "BCT": {"new_new_map": 66.0},
        "BT2": {"new_old_map": 55.0, "new_new_map": 69.0},
        "BT2, second update": {"first_map": 52.0},
    }
    for name, value in change.items():
        row, metric = name.split("__")
        rows[row.replace("_", " ").replace("again", "BT2, second update")][metric] = value
    return Measured({n: {m: [v] for m, v in row.items()} for n, row in rows.items()})


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({}, set()),
        ({"BT2__new_old_map": 49.0}, {"compatible"}),
        ({"independent__new_old_map": 26.0}, {"independent-is-not"}),
        ({"BT2__new_new_map": 67.0}, {"keeps-the-new"}),
        ({"BCT__new_new_map": 69.5}, {"over-bct"}),
        ({"again__first_map": 40.0}, {"again"}),
    ],
)
def test_each_claim_fails_on_figures_against_it(change, failing):
    assert {c.id for c in bt2.claims(measured(**change)) if not c.holds} == failing


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"extra": 40}, "dimensions"),
        ({"old": 64}, "dimensions"),
        ({"captions": True}, "captions"),
        ({"share": 0.0}, "share"),
    ],
)
def test_config_refuses_what_cannot_run(change, text):
    with pytest.raises(ValueError, match=text):
        replace(SMALL, **change)


def test_program_shares_the_published_batch_over_every_chip():
    program = bt2.program(PAPER)
    assert program.batch["inputs"].shape == (256 * 128, 32, 32, 3)
    assert program.batch["old"].shape == (256 * 128, 128)
    assert program.batch["context"]["prototypes"].shape == (100, 128)
