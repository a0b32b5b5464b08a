"""MixtureGrowth's table: what rows cost, what trains when, and claims that follow the figures."""

from dataclasses import replace
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

from experiments import mixturegrowth as mg
from experiments.harness import Measured, Run
from experiments.parts import mixturegrowth_cost as cost
from experiments.parts import mixturegrowth_images as images
from experiments.parts import mixturegrowth_learners as learners
from experiments.parts import mixturegrowth_stages as stages
from experiments.parts.abstract import abstract, labelled
from experiments.parts.mixturegrowth_both import both
from experiments.parts.mixturegrowth_claims import claims
from experiments.parts.mixturegrowth_networks import multiply_adds, network
from experiments.parts.mixturegrowth_rows import MODES
from jaxlearn.core import FROZEN, from_linen, make_state
from jaxlearn.objectives import cross_entropy
from jaxlearn.parametrizations.templates import member, wide
from jaxlearn.rules import backprop

SMOKE, SMALL, PAPER = (mg.PRESETS[name] for name in ("smoke", "small", "paper"))


def by_name(config):
    return {row.name: row.config for row in mg.rows(config)}


def trained(number, config=SMOKE):
    """A member as if trained: every leaf drawn, variances positive, without compiling its draws."""
    draw = np.random.default_rng(number)
    shapes = jax.eval_shape(
        lambda: make_state(
            learners.member_rule(config, number),
            learners.phase(config, 0),
            jax.random.key(0),
            images.blank(config),
        )
    )
    fill = lambda tree: jax.tree.map(
        lambda leaf: jnp.asarray(draw.uniform(0.2, 0.8, leaf.shape), leaf.dtype), tree
    )
    made = shapes._replace(params=fill(shapes.params), state=fill(shapes.state))
    return made._replace(opt_state=fill(shapes.opt_state))


ONE, TWO = trained(0), trained(1)


def test_multiply_adds_of_wrn_10_1_by_hand():
    """Stem, then per stage conv1, conv2 and, where the shape changes, the shortcut."""
    total = 9 * 3 * 16 * 32**2 + 64 * 10
    for before, after, side, changes in ((16, 16, 32, 0), (16, 32, 16, 1), (32, 64, 8, 1)):
        total += side**2 * (9 * before * after + 9 * after * after + changes * before * after)
    assert multiply_adds("cifar10", 10, 1.0, False, (32, 32, 3)) == total


def test_multiply_adds_are_those_that_xla_counts():
    """XLA leaves out products with the zeros around a picture, and counts norms and additions."""
    model, x = network("cifar10", 10, 1.0, False), jnp.zeros((1, 32, 32, 3))
    params, state = jax.eval_shape(model.init, jax.random.key(0), x)
    lowered = jax.jit(lambda p, s, x: model.apply(p, s, x)[0]).lower(params, state, x)
    counted = (lowered.cost_analysis() or {})["flops"]
    assert counted == pytest.approx(
        2 * multiply_adds("cifar10", 10, 1.0, False, x.shape[1:]), rel=0.1
    )


def test_a_member_has_the_share_of_flops_that_xla_counts_in_whole_steps():
    """In programs for an accelerator, where no convolution is a loop over pictures."""
    batch, counted = labelled(SMALL.batch, images.shape_of(SMALL)), []
    for rule in (learners.member_rule(SMALL), learners.wide_rule(SMALL)):
        made = abstract(rule, learners.phase(SMALL, 0), batch)
        traced = jax.jit(made.step).trace(made.state, made.batch)
        lowered = traced.lower(lowering_platforms=("tpu",))
        counted.append((lowered.cost_analysis() or {})["flops"])
    share = cost.step_flops(SMALL, True) / cost.step_flops(SMALL, False)
    assert 0.2 < share < 0.3
    assert share == pytest.approx(counted[0] / counted[1], rel=0.05)


@pytest.mark.parametrize("config", [SMALL, PAPER], ids=["small", "paper"])
def test_rows_with_matched_flops_cost_the_same_to_half_a_wide_step(config):
    rows = by_name(config)
    ours = cost.spent(rows["MixtureGrowth, orthogonal"])
    for name in ("target from scratch", "member 0, trained on", "Net2WiderNet"):
        assert abs(cost.spent(rows[name]) - ours) <= cost.step_flops(config, False) / 2, name
    shares = [cost.step_flops(config, half) for half in (True, False)]
    assert 0.24 < shares[0] / shares[1] < 0.27
    assert cost.spent(rows["member 0"]) * 2 == cost.spent(rows["ensemble"]) < ours


def test_two_members_and_growth_at_paper_cost_about_140_epochs_of_the_target():
    assert cost.alone_steps(replace(PAPER, method="scratch")) / 390 == pytest.approx(140, abs=3)


def test_training_both_costs_the_second_phase_twice():
    plain, twice = (cost.phases_flops(replace(SMALL, both=weight)) for weight in (0.0, 0.1))
    assert twice == [plain[0], 2 * plain[1], plain[2]]


def test_templates_and_norms_decay_and_coefficients_do_not():
    params = {
        "templates": {"k": jnp.ones(3)},
        "coefficients": {"k": jnp.ones(2)},
        "rest": {"norm/scale": jnp.ones(2)},
    }
    tx = learners.sgd(0.5, 10, 0.0, 0, 1, 0.1)
    none = jax.tree.map(jnp.zeros_like, params)
    updates = cast(Any, tx.update(none, tx.init(params), params)[0])
    # Nesterov's first step is 1 + 0.9 of the gradient
    for name in ("templates", "rest"):
        np.testing.assert_allclose(jax.tree.leaves(updates[name])[0], -0.5 * 1.9 * 0.1, rtol=1e-5)
    assert not np.any(updates["coefficients"]["k"])
    assert learners.decays("0/stem/kernel")  # plain weights


def test_growth_keeps_the_momentum_of_existing_leaves_unless_it_restarts():
    _, _, start = stages.grown(SMOKE, ONE, TWO, 0)
    kept = stages.momentum(start)
    path = "1/conv1/kernel"
    for name, found in {"0": ONE, "1": TWO}.items():
        np.testing.assert_array_equal(
            kept["templates"][path][name], stages.momentum(found)["templates"][path]
        )
    assert not np.any(kept["coefficients"][path][2:])
    _, _, again = stages.grown(replace(SMOKE, keep_momentum=False), ONE, TWO, 0)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(stages.momentum(again)))


def test_zero_growth_has_the_logits_of_the_ensemble():
    part = images.data_of(SMOKE).validation
    sum_ = stages.ensemble(SMOKE, (ONE, TWO), part)
    rule, _, start = stages.grown(replace(SMOKE, growth="zero"), ONE, TWO, 0)
    found = stages.logits(rule, start, part)
    assert found.shape == (64, 10)
    assert np.std(found) > 0
    np.testing.assert_allclose(found, sum_, rtol=1e-4, atol=1e-4 * np.abs(sum_).max())


@pytest.mark.slow
def test_member_0_widened_has_its_logits_where_its_copies_have_no_noise():
    part = images.data_of(SMOKE).validation
    params, state = stages.widened(replace(SMOKE, copy_noise=0.0), ONE, jax.random.key(5))
    made = ONE._replace(params=params, state=state)
    found = stages.logits(learners.plain_rule(SMOKE, False), made, part)
    own = stages.logits(learners.member_rule(SMOKE), ONE, part)
    np.testing.assert_allclose(found, own, rtol=1e-4, atol=1e-4 * np.abs(own).max())


def test_the_wide_rule_begins_with_the_templates_that_growth_adds():
    """Its first state says which parameters a step is for."""
    config = replace(SMOKE, extra=1)
    _, _, start = stages.grown(config, ONE, TWO, 0)
    init = learners.wide_rule(config).init
    params, _ = jax.eval_shape(init, jax.random.key(0), stages.blank(config))
    shapes = lambda tree: jax.tree.map(lambda leaf: leaf.shape, tree)
    assert shapes(params) == shapes(start.params)


@pytest.mark.parametrize("sets", [(0, 1, 0, 1), (0, 1, 1, 0)])
def test_new_blocks_are_mixtures_of_the_set_that_is_assigned_to_them(sets):
    _, _, start = stages.grown(replace(SMOKE, sets=sets), ONE, TWO, 0)
    path, frozen = "1/conv1/kernel", start.state[FROZEN]["own"]
    kernel = wide(lambda block: sets[block]).materialize(start.params, frozen)["1"]["conv1"][
        "kernel"
    ]
    rows, templates = (start.params[name][path] for name in ("coefficients", "templates"))
    mixture = lambda row: np.einsum("k,khwio->hwio", rows[row], templates[str(sets[row])])
    i, o = (size // 2 for size in kernel.shape[-2:])
    np.testing.assert_allclose(kernel[..., i:, :o], mixture(2), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(kernel[..., :i, o:], mixture(3), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sets", [(0, 1, 0, 1), (0, 1, 1, 0)])
def test_copied_coefficients_are_those_of_the_member_whose_set_the_block_reads(sets):
    config = replace(SMOKE, sets=sets, growth="copy", noise=0.0)
    _, _, start = stages.grown(config, ONE, TWO, 0)
    rows = start.params["coefficients"]["1/conv1/kernel"]
    np.testing.assert_array_equal(rows[2:], rows[np.array(sets[2:])])
    assert np.any(rows[0] != rows[1])


def test_k_is_the_number_of_templates_of_a_set():
    config = replace(SMOKE, templates=3)
    made = jax.eval_shape(learners.wide_rule(config).init, jax.random.key(0), images.blank(config))[
        0
    ]
    assert made["coefficients"]["1/conv1/kernel"].shape == (4, 3)
    assert made["templates"]["1/conv1/kernel"]["1"].shape[0] == 3


def test_templates_added_at_growth_leave_the_members_and_begin_without_momentum():
    _, _, start = stages.grown(replace(SMOKE, extra=1), ONE, TWO, 0)
    path = "1/conv1/kernel"
    sets, rows = (start.params[name][path] for name in ("templates", "coefficients"))
    for i, found in enumerate((ONE, TWO)):
        np.testing.assert_array_equal(sets[str(i)][:2], found.params["templates"][path])
        np.testing.assert_array_equal(rows[i, :2], found.params["coefficients"][path])
        assert np.any(sets[str(i)][2])
        assert rows[i, 2] == 0
    kept = stages.momentum(start)["templates"][path]
    np.testing.assert_array_equal(kept["0"][:2], stages.momentum(ONE)["templates"][path])
    assert not np.any(kept["0"][2])


@pytest.mark.parametrize(("held", "stem", "inner"), [("members", 2, 2), ("ends", 2, 0)])
def test_held_coefficients_are_those_of_the_members_or_of_the_ends(held, stem, inner):
    params = {
        "coefficients": {"0/stem/kernel": jnp.ones((2, 3)), "1/conv1/kernel": jnp.ones((4, 3))}
    }
    tx = learners.phase(replace(SMOKE, held=held), 2)
    updates = cast(Any, tx.update(params, tx.init(params), params)[0])["coefficients"]
    still = [int(np.sum(~np.any(np.asarray(leaf), 1))) for leaf in updates.values()]
    assert still == [stem, inner]
    assert not np.any(np.asarray(updates["1/conv1/kernel"])[:inner])


def test_random_blocks_leave_the_diagonal_and_train_plain_weights():
    rule, _, start = stages.grown(replace(SMOKE, growth="blocks"), ONE, TWO, 0)
    assert rule is learners.plain_rule(SMOKE, False)
    assert FROZEN not in start.state
    params, frozen = ONE.params, ONE.state[FROZEN]["own"]
    small = member(0, SMOKE.templates).materialize(params, frozen)["1"]["conv1"]["kernel"]
    whole, (i, o) = start.params["1"]["conv1"]["kernel"], small.shape[-2:]
    np.testing.assert_array_equal(whole[..., :i, :o], small)
    assert np.all(whole[..., :i, o:])


def test_both_members_learn_each_by_its_own_weight():
    rule = backprop(from_linen(linen.Dense(3)), cross_entropy)
    batch = {
        "inputs": jax.random.normal(jax.random.key(0), (5, 4)),
        "labels": jnp.array([0, 1, 2, 1, 0]),
        "index": jnp.arange(5),
    }
    pair = [rule.init(jax.random.key(n), batch) for n in (1, 2)]
    alone = [rule.signal(params, state, batch, jax.random.key(3)) for params, state in pair]
    together = both(rule, 0.25)
    params = {str(n): params for n, (params, _) in enumerate(pair)}
    grads, state, metrics = together.signal(params, {}, batch, jax.random.key(3))
    jax.tree.map(
        lambda found, own: np.testing.assert_allclose(found, 0.25 * own, rtol=1e-6),
        grads["0"],
        alone[0][0],
    )
    jax.tree.map(np.testing.assert_array_equal, grads["1"], alone[1][0])
    assert metrics["loss"] == alone[1][2]["loss"]
    outputs, _ = together.predict(params, state, batch)
    np.testing.assert_array_equal(outputs, rule.predict(pair[1][0], pair[1][1], batch)[0])


def test_pictures_are_averages_of_blocks_of_pixels():
    whole, half = (
        images.read("digits", size, train=256, validation=64, test=128) for size in (8, 4)
    )
    x, y = (np.asarray(data.test["inputs"]) for data in (whole, half))
    assert y.shape == (128, 4, 4, 1)
    np.testing.assert_allclose(y[3, 1, 2, 0], x[3, 2:4, 4:6, 0].mean(), rtol=1e-5)
    np.testing.assert_array_equal(whole.test["labels"], half.test["labels"])


def test_the_square_of_cutout_has_the_mean_colour():
    config = replace(SMALL, crop=0, cutout=4)
    x = np.random.default_rng(0).uniform(0.8, 1, (6, 16, 16, 3)).astype(np.float32)
    moved = images.moves_of(config)({"inputs": x, "index": np.arange(6)}, jax.random.key(0))
    shown = np.abs(np.asarray(images.normalised(config, moved)["inputs"])).max(-1)
    gone = (shown < 1e-5).sum((1, 2))
    assert np.all((gone > 0) & (gone <= 16))
    assert gone.max() == 16
    assert images.moves_of(replace(config, cutout=0)) is None


def test_rows_share_members_unless_these_are_trained_otherwise():
    rows = by_name(PAPER)
    own = learners.members_of(rows["MixtureGrowth, orthogonal"])
    same = (
        "ensemble",
        "Net2WiderNet",
        "MixtureGrowth, copy",
        "MixtureGrowth, sets swapped",
        "MixtureGrowth, a template more",
        "MixtureGrowth, coefficients of the ends held",
    )
    assert all(learners.members_of(rows[name]) == own for name in same)
    other = (
        "MixtureGrowth, both in phase 2",
        "MixtureGrowth, half of the data first",
        "MixtureGrowth, member 1 from member 0",
    )
    assert all(learners.members_of(rows[name]) != own for name in other)
    assert learners.members_of(replace(PAPER, rates=(0.1, 0.1, 0.5))) == own
    assert learners.members_of(replace(PAPER, rates=(0.1, 0.2, 1e-4))) != own


def test_smoke_has_every_way_of_growing_and_the_options():
    configs = by_name(SMOKE).values()
    assert {config.growth for config in configs} == {*MODES.values()}
    assert {config.method for config in configs} == {
        "grow",
        "member",
        "continued",
        "ensemble",
        "scratch",
        "net2wider",
    }
    assert {config.sets for config in configs} == {(0, 1, 0, 1), (0, 1, 1, 0)}
    assert {config.keep_momentum for config in configs} == {True, False}
    options = [(config.second, config.extra, config.held) for config in configs]
    assert {*options} == {("fresh", 0, "none"), ("copied", 1, "members")}


def test_the_compiled_step_is_the_grown_wrn_28_10():
    program = mg.program(PAPER)
    assert program.batch["inputs"].shape == (256 * 128, 32, 32, 3)
    theta = program.state.params
    widest = theta["templates"]["12/conv2/kernel"]
    assert {name: leaf.shape for name, leaf in widest.items()} == dict.fromkeys(
        ("0", "1"), (2, 3, 3, 320, 320)
    )
    assert theta["coefficients"]["12/conv2/kernel"].shape == (4, 2)
    assert theta["coefficients"]["0/stem/kernel"].shape == (2, 2)
    size = sum(leaf.size for leaf in jax.tree.leaves(program.state.params))
    assert size == pytest.approx(36.5e6, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("weight", [0.0, 0.1])
def test_phase_2_leaves_member_0_bitwise_unless_both_train(tmp_path, weight):
    config = replace(SMOKE, both=weight)
    before = stages.one_member(config, 0, Run(tmp_path / "row"))
    first, second = stages.members(config, 0, Run(tmp_path / "row"))
    same = [
        bool(np.array_equal(a, b))
        for a, b in zip(
            jax.tree.leaves((before.params, learners.bare(before.state))),
            jax.tree.leaves((first.params, learners.bare(first.state))),
            strict=True,
        )
    ]
    assert all(same) if weight == 0 else not any(same)
    kernels = [made.params["templates"]["0/stem/kernel"] for made in (first, second)]
    assert np.any(kernels[0] != kernels[1])
    trace = optax.tree_utils.tree_get(first.opt_state, "trace")
    assert jax.tree.structure(trace) == jax.tree.structure(first.params)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": (0, 1, 1)}, "must be at least 1"),
        ({"extra": -1}, "takes none away"),
        ({"sets": (1, 0, 0, 1)}, "the first two are 0, 1"),
        ({"first_share": 0.0}, "first_share=0.0"),
        ({"size": 3}, "size=3 does not divide 8"),
    ],
)
def test_wrong_configs_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        replace(SMOKE, **options)


def judged(**changed):
    """Figures at which every claim holds, some of them changed."""
    rows = {
        "member 0": {"accuracy": [40.0], "flops_share": [0.26], "temp_share": [0.5]},
        "ensemble": {"accuracy": [44.0]},
        "MixtureGrowth, orthogonal": {"accuracy": [48.0], "start": [20.0]},
        "MixtureGrowth, zero": {"start": [44.0], "from_ensemble": [1e-6]},
        "MixtureGrowth, random blocks": {"start": [12.0]},
        "Net2WiderNet": {"accuracy": [46.0]},
    }
    for name, found in changed.items():
        rows[name] = {**rows[name], **found}
    return {claim.id: claim.holds for claim in claims(Measured(rows))}


@pytest.mark.parametrize(
    ("row", "found", "claim"),
    [
        ("MixtureGrowth, zero", {"from_ensemble": [2e-4]}, "zero-growth-is-the-ensemble"),
        ("MixtureGrowth, orthogonal", {"accuracy": [46.9]}, "grown-is-better"),
        ("member 0", {"accuracy": [47.1]}, "grown-is-better"),
        ("MixtureGrowth, random blocks", {"start": [20.5]}, "starts-above-random"),
        ("member 0", {"flops_share": [0.35]}, "members-cost-a-quarter"),
    ],
)
def test_claims_follow_the_figures(row, found, claim):
    assert all(judged().values())
    changed = judged(**{row: found})
    assert [name for name, holds in changed.items() if not holds] == [claim]
