"""The experiment's own logic; training the table is left to its smoke preset."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import tpsgd
from experiments.harness import Measured
from jaxlearn.core import make_state, make_step

SMOKE = tpsgd.PRESETS["smoke"]
BATCH = {
    "inputs": jax.random.uniform(jax.random.key(0), (6, 8, 8, 1)),
    "labels": jnp.arange(6, dtype=jnp.int32),
}


def test_every_rule_of_a_network_has_the_networks_parameters():
    for network in ("mlp", "rnn"):
        shapes = set()
        for method in tpsgd.METHODS[:-1]:
            rule = tpsgd.rule_of(replace(SMOKE, network=network, widths=(5,), method=method))
            params = jax.eval_shape(rule.init, jax.random.key(0), BATCH)[0]
            params.pop("heads", None)
            shapes.add(str(jax.tree.map(lambda leaf: leaf.shape, params)))
        assert len(shapes) == 1, shapes


@pytest.mark.slow
def test_shallow_trains_the_readout_alone_at_its_own_rate():
    config = replace(SMOKE, widths=(5,), method="shallow", rate=0.5, momentum=0.0)
    rule, tx = tpsgd.rule_of(config), tpsgd.transform_of(config, 10**6)
    state = make_state(rule, tx, jax.random.key(0), BATCH)
    after, _ = make_step(rule, tx)(state, BATCH)
    grads, _, _ = rule.signal(state.params, state.state, BATCH, jax.random.key(0))
    assert not jax.tree.leaves(state.params["0"])
    moved = lambda p, g: p - 0.5 * g
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        after.params["1"],
        jax.tree.map(moved, state.params["1"], grads["1"]),
    )


def test_backpropagation_of_recurrent_networks_answers_at_the_end():
    rule = tpsgd.rule_of(replace(SMOKE, network="rnn", widths=(5,), method="BP"))
    params, state = rule.init(jax.random.key(0), BATCH)
    outputs, _ = rule.predict(params, state, BATCH)
    cell, h = params["0"]["cell"], np.zeros((6, 5))
    for t in range(8):
        x = np.asarray(BATCH["inputs"])[:, t, :, 0]
        h = np.tanh(x @ cell["i"]["kernel"] + cell["i"]["bias"] + h @ cell["h"]["kernel"])
    wanted = h @ params["1"]["Dense_0"]["kernel"] + params["1"]["Dense_0"]["bias"]
    np.testing.assert_allclose(outputs, wanted, rtol=1e-4, atol=1e-5)


def test_rows_show_no_number_of_the_paper_and_rates_exist_for_all_of_them():
    for preset in ("small", "paper"):
        for row in tpsgd.rows(tpsgd.PRESETS[preset]):
            assert not row.paper
            rate, hidden, _ = row.config.rates
            assert rate > 0
            assert hidden > 0 or row.config.method == "shallow"


def test_programs_have_the_batch_on_every_chip():
    program = tpsgd.program(replace(SMOKE, batch=4))
    assert program.batch["inputs"].shape == (256 * 4, 8, 8, 1)


def measured(**change):
    accuracy = {
        "BP": 86.0, "FA": 85.0, "DFA": 85.0, "DRTP": 83.0, "tpSGD-l2": 84.0, "tpSGD-l1": 84.0,
        "shallow": 81.0,
    }  # fmt: skip
    rows = {
        f"{name} {method}": {"accuracy": [value]}
        for name in ("MLP-1", "MLP-2", "MLP-4", "CNN", "RNN")
        for method, value in accuracy.items()
    }
    rows["MLP-4 tpSGD-l2"] = {"accuracy": [80.0]}
    mb = lambda *values: dict(zip(("temp_mb_2", "temp_mb_4", "temp_mb_8"), map(list, values)))  # noqa: B905
    rows["depth tpSGD-l2"], rows["depth BP"] = mb([5.0], [5.0], [5.1]), mb([9.0], [16.0], [30.0])
    times = lambda *values: {f"temp_mb_{28 * 2**i}": [v] for i, v in enumerate(values)}
    rows["length tpSGD-l2"], rows["length BP"] = times(1.0, 1.0, 1.0), times(2.0, 4.0, 8.0)
    for name, value in change.items():
        rows[name.replace("__", " ").replace("_", "-")] = value
    return Measured(rows)


@pytest.mark.parametrize(
    ("row", "value", "failing"),
    [
        ("FA", {}, set()),
        ("CNN__tpSGD_l2", {"accuracy": [80.9]}, {"bp", "shallow", "drtp"}),
        ("MLP_4__tpSGD_l2", {"accuracy": [85.0]}, {"gap-grows-with-depth"}),
        (
            "depth__tpSGD_l2",
            {"temp_mb_2": [9.0], "temp_mb_4": [9.0], "temp_mb_8": [16.0]},
            {"half-the-memory"},
        ),
        (
            "length__tpSGD_l2",
            {"temp_mb_28": [1.0], "temp_mb_56": [1.0], "temp_mb_112": [1.1]},
            {"memory-flat-in-time"},
        ),
    ],
)
def test_each_claim_fails_on_figures_against_it(row, value, failing):
    claims = tpsgd.claims(measured(**{row: value}))
    wrong = {c.id.removeprefix("cnn-tpsgd-l2-beside-") for c in claims if not c.holds}
    assert wrong == failing


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"method": "BPP"}, "method='BPP' is none of"),
        ({"rate": -1.0}, "have to be 0 or more"),
        ({"dataset": "spoken_digits"}, "takes images"),
    ],
)
def test_config_refuses_what_cannot_run(change, text):
    with pytest.raises(ValueError, match=text):
        replace(SMOKE, **change)
