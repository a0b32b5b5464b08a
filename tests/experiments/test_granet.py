"""The rows of the GraNet experiment: what each starts with, and what is refused."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.granet import (
    AT_INIT,
    METHODS,
    PARITY,
    PRESETS,
    REFERENCES,
    VARIANTS,
    Config,
    rows,
    transform,
)
from experiments.parts.granet_choice import by_sorting, choice
from experiments.parts.granet_plasticity import KINDS, plasticity_study
from jaxlearn.models.tiny import tiny_batch, tiny_stack
from jaxlearn.objectives import cross_entropy
from jaxlearn.procedures.seeds import over_seeds, seed_of, stacked
from jaxlearn.rules import backprop
from jaxlearn.runtime import fit
from jaxlearn.transforms.sparsity import density, masks

SMOKE = PRESETS["smoke"]
START = {"static": 0.1, "set": 0.1, "rigl": 0.1, "rigl_itop": 0.1, "granet_0.5": 0.5}
"""Density before the first step where it is drawn; the others are dense or look at the weights."""


@pytest.mark.parametrize("method", [*METHODS[1:], *VARIANTS, *PARITY])
def test_every_method_starts_at_its_density(method):
    config = replace(SMOKE, method=method)
    params = {"Dense_0": {"kernel": np.ones((64, 32)), "bias": np.ones(32)}}
    found = masks(transform(config, 60, jax.random.key(0)).init(params))
    wanted = START.get(method, 1.0)
    assert float(density(found)) == pytest.approx(wanted, abs=1 / (64 * 32))


def test_small_rows_are_all_methods_and_both_studies_of_plasticity():
    names = [row.name for row in rows(PRESETS["small"])]
    assert set(METHODS) < set(names)
    assert [n for n in names if "early" in n] == ["pruned_early", "plasticity_early"]


def test_the_variants_have_a_table_of_their_own_beside_the_methods():
    names = [row.name for row in rows(PRESETS["variants"])]
    assert names == [*REFERENCES, *AT_INIT, *VARIANTS]
    small = {row.name: row.config for row in rows(PRESETS["small"])}
    again = {row.name: row.config for row in rows(PRESETS["variants"]) if row.name in small}
    assert again == {name: small[name] for name in REFERENCES}, "trained once for both tables"


def test_the_paper_rows_have_every_method_and_the_study_of_plasticity():
    table = {row.name: row.config for row in rows(PRESETS["paper"])}
    for network in ("vgg19", "resnet50"):
        names = {name.split(" ")[1] for name in table if name.startswith(network)}
        assert {*METHODS, *AT_INIT, *VARIANTS, "plasticity_early", "plasticity_late"} == names
        assert table[f"{network} plasticity_late"].recovery_epochs == 30
    assert {c.interval for c in table.values() if c.method == "rigl"} == {100}


def test_the_bench_chooses_a_fifth_and_a_sort_that_disagrees_is_refused():
    made = choice(1000)
    mask = np.asarray(jax.jit(made.step)(made.state, made.batch)[1]["mask"])
    order = np.argsort(-np.abs(np.asarray(made.state["weights"])))
    assert {*np.flatnonzero(mask)} == {*order[:200]}
    np.testing.assert_array_equal(by_sorting(made).start()()["mask"], mask)
    other = replace(made, step=lambda state, batch: (state, {"mask": state["weights"] > 1}))
    with pytest.raises(ValueError, match="other weights than the search"):
        by_sorting(other).start()


def test_refuses_a_study_without_a_checkpoint():
    with pytest.raises(ValueError, match="method='plasticity' needs prune_at"):
        Config(method="plasticity")
    with pytest.raises(ValueError, match="prune_at needs method='dense', found 'gmp'"):
        Config(method="gmp", prune_at=0.5)
    with pytest.raises(ValueError, match=r"share of training below 1, found 1\.5"):
        Config(method="dense", prune_at=1.5)


@pytest.mark.parametrize("method", ["gmp_uniform", "granet_uniform"])
@pytest.mark.parametrize(("network", "last"), [("mlp", "Dense_1"), ("lenet", "Dense_2")])
def test_rows_layer_by_layer_hold_the_output_layer_at_a_fifth(method, network, last):
    config = replace(SMOKE, method=method, network=network, density=0.05, interval=1)
    params = {
        name: {"kernel": jax.random.normal(jax.random.key(i), (40, 10 if name == last else 90))}
        for i, name in enumerate(("Dense_0", "Dense_1", "Dense_2")[: int(last[-1]) + 1])
    }
    tx = transform(config, 2, jax.random.key(0))
    zero = jax.tree.map(jnp.zeros_like, params)
    found = masks(jax.jit(tx.update)(zero, tx.init(params), params)[1])
    assert int(found[last]["kernel"].sum()) == 80
    total = sum(leaf["kernel"].size for leaf in params.values())
    assert sum(int(leaf["kernel"].sum()) for leaf in found.values()) <= 0.05 * total


@pytest.mark.slow
def test_the_study_of_plasticity_trains_every_seed_on_from_its_own_network(tmp_path):
    rule, tx = backprop(tiny_stack(), cross_entropy), optax.sgd(0.05, 0.9)
    feed = stacked([lambda at, s=s: tiny_batch(16, seed=10 * at + s) for s in (0, 1)])
    state, step = over_seeds(rule, lambda key: tx, (0, 1), tiny_batch(16))
    quiet = {"progress": False, "chunk": 2}
    state = fit(step, state, feed, steps=4, **quiet).state
    size = lambda state, i: sum(
        float(abs(leaf).sum()) for leaf in jax.tree.leaves(seed_of(state, i).params)
    )
    sizes = lambda state: [size(state, i) for i in (0, 1)]
    found = plasticity_study(
        rule, tx, state, feed, 6, sizes, (0.5,), workdir=tmp_path, progress=False
    )
    on = sizes(fit(step, state, feed, steps=6, **quiet).state)
    assert list(found[0]) == ["dense", *(f"{kind} 50 %" for kind in KINDS)]
    for seed, before in enumerate(sizes(state)):
        # dense: the momentum starts anew, and two more steps change little
        assert found[seed]["dense"] == pytest.approx(on[seed] - before, abs=0.05 * before)
        # pruned: weights are gone that two steps do not bring back
        assert all(found[seed][f"{kind} 50 %"] < -0.1 * before for kind in KINDS[:2])
    assert found[0] != found[1]
