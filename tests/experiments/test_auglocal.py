from dataclasses import replace

import pytest

from experiments.auglocal import EXPERIMENT, SMALL, Config, claims, program, rows
from experiments.harness import Measured


def test_rows_cover_the_baselines_and_every_depth_with_published_numbers_only_for_the_paper():
    names = [row.name for row in rows(Config())]
    assert names == [
        *("backprop", "greedy", "dgl", "predsim", "infopro"),
        *(f"auglocal, d = {d}" for d in range(1, 7)),
        *("auglocal, d = 6, consecutive", "auglocal, d = 6, repeated"),
    ]
    published = {row.name: dict(row.paper) for row in rows(Config()) if row.paper}
    assert published == {
        "backprop": {"accuracy": 94.61},
        "auglocal, d = 6": {"accuracy": 93.96},
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
