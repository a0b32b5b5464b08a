"""Each example counts once, however they are cut into batches."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.core import TrainState
from jaxlearn.data.batches import padded
from jaxlearn.runtime import data_mesh, evaluator

B = 4


def predict(params, state, batch):
    return batch["inputs"] @ params, state


def error(outputs, batch):
    return (outputs - batch["labels"]) ** 2


def arrays(n):
    rng = np.random.default_rng(n)
    return {
        "inputs": rng.normal(size=(n, 3)).astype(np.float32),
        "labels": rng.normal(size=n).astype(np.float32),
    }


def in_batches(whole, size):
    n = len(whole["labels"])
    return [{k: v[i : i + size] for k, v in whole.items()} for i in range(0, n, size)]


@pytest.mark.parametrize("mesh", [False, True])
@pytest.mark.parametrize("n", [1, B - 1, B, B + 1, 3 * B + 2])
def test_the_mean_is_over_exactly_n_examples(n, mesh):
    import jax

    mesh = data_mesh(jax.devices()[:1]) if mesh else None
    whole, params = arrays(n), np.array([1.0, -2.0, 0.5], np.float32)
    state = TrainState(jnp.int32(0), jnp.asarray(params), {}, (), None)
    traces = []
    metrics = {"error": error, "one": lambda o, b: traces.append(0) or jnp.ones(o.shape)}
    one_by_one = [(x @ params.astype(float) - y) ** 2 for x, y in zip(*whole.values(), strict=True)]
    pieces = (in_batches(whole, B), lambda: iter(in_batches(whole, B)), padded(whole, B))
    for batches, most in zip(pieces, (1, 0, 1), strict=True):
        traces.clear()
        found = evaluator(predict, metrics, batches, mesh)(state)
        assert found["error"] == pytest.approx(np.mean(one_by_one), rel=1e-5)
        assert found["one"] == 1.0
        # compiled once, the short last batch included, and not again for batches of that shape
        assert len(traces) <= most


def test_masked_rows_may_hold_anything():
    batch = arrays(3) | {"mask": np.array([1, 0, 1])}
    batch["labels"][1] = np.nan
    state = TrainState(jnp.int32(0), jnp.zeros(3), {}, (), None)
    expected = np.mean(batch["labels"][[0, 2]].astype(float) ** 2)
    found = evaluator(predict, {"error": error}, [batch])(state)
    assert found["error"] == pytest.approx(expected, rel=1e-6)


def test_bad_input_is_named():
    state = TrainState(jnp.int32(0), jnp.zeros(3), {}, (), None)
    with pytest.raises(ValueError, match="no examples to evaluate"):
        evaluator(predict, {"error": error}, [])(state)
    with pytest.raises(ValueError, match="batch of 5 after one of 3"):
        evaluator(predict, {"error": error}, [arrays(3), arrays(5)])(state)
    with pytest.raises(ValueError, match=r"'mean' returned shape \(\); expected .* \(3,\)"):
        evaluator(predict, {"mean": lambda o, b: o.mean()}, [arrays(3)])(state)
