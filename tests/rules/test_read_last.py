"""What `read_last` adds to a rule, on a rule simple enough to count by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.core import SEQUENCE, Rule
from jaxlearn.rules.read_last import read_last

X = jnp.array([[1.0, 10.0, 100.0]])  # one example, three steps
BATCH = {"inputs": X}


def counting() -> Rule:
    """Signals are the input seen and the sum of all inputs so far."""

    def init(key, batch):
        state = {SEQUENCE: {"sum": jnp.zeros(1)}, "calls": {"n": jnp.zeros(())}}
        return {"seen": batch["inputs"], "sum": jnp.zeros(1)}, state

    def moved(state, batch):
        total = state[SEQUENCE]["sum"] + batch["inputs"]
        return total, {SEQUENCE: {"sum": total}, "calls": {"n": state["calls"]["n"] + 1}}

    def signal(params, state, batch, key):
        total, state = moved(state, batch)
        grads = {"seen": batch["inputs"], "sum": total}
        return grads, state, {"loss": total[0]}

    def predict(params, state, batch):
        return moved(state, batch)

    return Rule(init, signal, predict)


@pytest.mark.parametrize(
    ("every_step", "seen", "total"),
    [
        (lambda path: False, 100, 111),
        (lambda path: True, 111 / 3, (1 + 11 + 111) / 3),
        (lambda path: path == "seen", 111 / 3, 111),
    ],
)
def test_each_parameter_learns_when_it_is_told_to(every_step, seen, total):
    rule = read_last(counting(), 3, every_step=every_step, time_axis=1)
    params, state = rule.init(jax.random.key(0), BATCH)
    assert set(state) == {"calls"}
    grads, after, metrics = jax.jit(rule.signal)(params, state, BATCH, jax.random.key(0))
    np.testing.assert_allclose(grads["seen"], [seen], rtol=1e-6)
    np.testing.assert_allclose(grads["sum"], [total], rtol=1e-6)
    assert float(metrics["loss"]) == 111
    assert float(after["calls"]["n"]) == 3


def test_the_last_step_predicts_and_the_middle_one_initialises():
    rule = read_last(counting(), 3, time_axis=1)
    params, state = rule.init(jax.random.key(0), BATCH)
    assert float(params["seen"][0]) == 10
    outputs, after = rule.predict(params, state, BATCH)
    assert float(outputs[0]) == 111
    assert set(after) == {"calls"}


def test_wrong_lengths_are_refused():
    with pytest.raises(ValueError, match="T must be at least 1"):
        read_last(counting(), 0)
    with pytest.raises(ValueError, match="3 frames on axis 1, expected T=2"):
        read_last(counting(), 2, time_axis=1).init(jax.random.key(0), BATCH)
