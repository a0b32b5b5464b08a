from dataclasses import replace

import jax
import pytest

from experiments.harness import Measured, Run
from experiments.man import (
    BIAS,
    BOTH,
    EIGHT,
    EMA,
    EXPERIMENT,
    NONE,
    SMALL,
    SMOKE,
    THIRTY_TWO,
    Config,
    ImageNet,
    loss_weights,
    module_ends,
    program,
    rows,
    train_one,
)

LONG = (18, 18, 18)


@pytest.mark.parametrize(("blocks", "ends", "expected"), [
    ((5, 5, 5), (), [(4.643, 0.4643), (4.286, 0.4286), (3.929, 0.3929)]),
    ((5, 5, 5), EIGHT, [(4.167, 0.4167), (3.333, 0.3333), (2.5, 0.25)]),
    (LONG, THIRTY_TWO, [(4.833, 0.4833), (4.667, 0.4667), (4.5, 0.45)]),
    (LONG, (), [(4.906, 0.4906), (4.811, 0.4811), (4.717, 0.4717)]),
])  # fmt: skip
def test_identity_7_loss_weights_by_the_stage_of_the_next_block(blocks, ends, expected):
    config = Config(blocks=blocks, ends=ends)
    hidden = module_ends(config)[:-1]
    found = [loss_weights(config, module) for module in range(len(hidden))]
    for end, pair in zip(hidden, found, strict=True):
        stage = end // blocks[0]  # the next layer is end + 1, and layer 0 is the stem
        assert pair == pytest.approx(expected[stage], abs=1e-3)


def test_weights_by_module_end_where_they_are_told_to():
    config = Config(ratio="module", reconstruct=(5.0, 0.2), classify=(0.05, 0.5))
    assert loss_weights(config, 0) == pytest.approx((5.0, 0.05))
    assert loss_weights(config, 13) == pytest.approx((0.2, 0.5))
    with pytest.raises(ValueError, match="leaves the last hidden module without a loss"):
        Config(ratio="module")


@pytest.mark.parametrize(("cut", "modules", "last"), [
    ("ResNet-32, K = 16", 15, (0.2, 0.5)), ("ResNet-110, K = 55", 54, (0.5, 1.0)),
])  # fmt: skip
def test_infopro_alone_has_the_weights_of_its_own_paper(cut, modules, last):
    table = {row.name: row.config for row in rows(EXPERIMENT.presets["paper"])}
    alone, with_copy = table[f"InfoPro, {cut}"], table[f"InfoPro + MAN, {cut}"]
    assert loss_weights(alone, modules - 2) == pytest.approx(last)
    assert loss_weights(alone, 0)[0] == 5
    assert with_copy.ratio == "stage"


def test_partitions_are_the_published_ones():
    assert len(module_ends(Config())) == 15
    assert module_ends(Config(ends=EIGHT)) == [1, 3, 5, 7, 9, 11, 13, 15]
    assert len(module_ends(Config(blocks=LONG))) == 54
    thirty_two = module_ends(Config(blocks=LONG, ends=THIRTY_TWO))
    assert len(thirty_two) == 32
    assert thirty_two[-1] == 54


def test_paper_rows_carry_published_errors_and_the_protocol():
    table = {row.name: row for row in rows(EXPERIMENT.presets["paper"])}
    assert table["DGL + MAN, ResNet-32, K = 16"].paper == {"error": 9.11}
    assert table["InfoPro, ResNet-110, K = 55"].paper == {"error": 13.22}
    assert not table["PredSim + MAN, ResNet-32, K = 8"].paper
    assert table["AugLocal + MAN, ResNet-110, K = 32"].config.host == "auglocal"
    assert not table["AugLocal, ResNet-32, K = 16"].paper
    assert sum(bool(row.paper) for row in table.values()) == 19
    assert len({row.config for row in table.values()}) == len(table)
    paper = Config()
    assert (paper.batch, paper.epochs, paper.learning_rate) == (1024, 400, 0.8)
    assert (paper.momentum, paper.weight_decay, paper.warmup) == (0.995, 1e-4, 10)
    assert not any(row.paper for row in rows(SMALL))


def test_imagenet_rows_carry_published_errors_and_the_authors_cuts():
    table = {row.name: row for row in rows(EXPERIMENT.presets["imagenet"])}
    assert len(table) == len({row.config for row in table.values()}) == 15
    assert table["InfoPro + MAN, ResNet-152, K = 4"].paper == {"error": 20.78}
    assert sum(bool(row.paper) for row in table.values()) == 6
    # the last layers of the modules; block (2, 0) is the fourth after the stem
    assert module_ends(table["InfoPro + MAN, ResNet-101, K = 2"].config) == [4, 33]
    assert module_ends(table["InfoPro + MAN, ResNet-152, K = 2"].config) == [9, 50]
    assert module_ends(table["InfoPro, ResNeXt-101 32x8d, K = 4"].config) == [8, 16, 24, 33]
    for row in table.values():
        for module in range(len(module_ends(row.config)) - 1):
            assert loss_weights(row.config, module) == (5.0, 0.75)


@pytest.mark.parametrize("method", [pytest.param("host", marks=pytest.mark.slow), "man"])
def test_the_imagenet_step_keeps_its_state_and_hears_from_the_next_block(method):
    tiny = ImageNet(
        method=method,
        blocks=(1, 1, 1, 1),
        widths=(4, 8, 16, 32),
        ends=((2, 0), (4, 0)),
        groups=2,
        base=32,
        batch=2,
    )
    made = program(tiny)
    after, metrics = jax.eval_shape(made.step, made.state, made.batch)
    shape = lambda leaf: (leaf.shape, leaf.dtype)
    assert jax.tree.map(shape, after) == jax.tree.map(shape, made.state)
    assert "loss/0" in metrics
    if method == "man":
        copied = made.state.state["momentum"]["heads"]["0"]["copy"]
        assert jax.tree.map(shape, copied) == jax.tree.map(shape, made.state.params["1"]["0"])
        assert copied["Conv_1"]["kernel"].shape == (3, 3, 8, 16)  # two groups


def test_imagenet_is_compiled_but_not_trained(tmp_path):
    with pytest.raises(ValueError, match="compile man --preset imagenet"):
        train_one(ImageNet(), 0, Run(tmp_path))
    with pytest.raises(ValueError, match="MAN goes with InfoPro's softmax heads"):
        ImageNet(host="dgl")
    with pytest.raises(ValueError, match="image=32; InfoPro's decoder"):
        ImageNet(image=32)


@pytest.mark.slow
@pytest.mark.parametrize("host", ["dgl", "infopro", "predsim", "auglocal"])
def test_every_host_takes_every_kind_of_copy_and_bias(host):
    tiny = replace(SMOKE, host=host, batch=4)
    for ema, bias in (("on", "block"), ("copy", "vector"), ("off", "none")):
        made = program(replace(tiny, ema=ema, bias=bias))
        after, metrics = jax.eval_shape(made.step, made.state, made.batch)
        assert jax.tree.structure(after) == jax.tree.structure(made.state)
        assert {"loss/0", "loss/1"} <= metrics.keys()
        assert ("momentum" in made.state.state) == (ema != "off")


def test_infopro_can_learn_an_embedding():
    made = program(replace(SMOKE, host="infopro", task="contrast", method="host", batch=4))
    head = made.state.params["heads"]["0"]["head"]["features"]
    assert head["Dense_1"]["bias"].shape == (128,)
    assert "loss/0" in jax.eval_shape(made.step, made.state, made.batch)[1]


def test_claims_fail_by_their_margins():
    found = {"backprop": 50.0, NONE: 60.0, EMA: 59.0, BIAS: 58.0, BOTH: 57.0}
    judge = lambda table: {c.id for c in EXPERIMENT.claims(Measured(table)) if not c.holds}
    table = {name: {"error": [value]} for name, value in found.items()}
    assert judge(table) == set()
    assert judge(table | {BOTH: {"error": [59.2]}}) == {"momentum-helps", "more-than-capacity"}
    assert judge(table | {EMA: {"error": [60.1]}}) == {"copy-helps"}
    assert judge({"DGL": {"error": [1.0]}}) == set()


def test_impossible_configs_are_refused():
    with pytest.raises(ValueError, match=r"pairs up to \(3, 4\)"):
        Config(ends=((1, 0), (3, 3)))
    with pytest.raises(ValueError, match=r"momentum=2; it has to lie in 0\.\.1"):
        Config(momentum=2)
