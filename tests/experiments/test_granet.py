"""The rows of the GraNet experiment: what each starts with, and what is refused."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from experiments.granet import AT_INIT, METHODS, PARITY, PRESETS, VARIANTS, Config, rows, transform
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
    assert set(METHODS + AT_INIT + VARIANTS) < set(names)
    assert [n for n in names if "early" in n] == ["pruned_early", "plasticity_early"]


def test_refuses_a_study_without_a_checkpoint():
    with pytest.raises(ValueError, match="method='plasticity' needs prune_at"):
        Config(method="plasticity")
    with pytest.raises(ValueError, match="prune_at needs method='dense', found 'gmp'"):
        Config(method="gmp", prune_at=0.5)
