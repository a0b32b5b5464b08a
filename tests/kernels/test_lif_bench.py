"""The benchmark's arithmetic and its report."""

import jax.numpy as jnp
import numpy as np
from jaxlearn_kernels.lif import Neuron, bench
from jaxlearn_kernels.lif.shapes import Shape


def test_gradient_is_of_all_arguments():
    found = bench.gradient(lambda x, w: x * w)(jnp.float32(2.0), jnp.float32(3.0), jnp.float32(5.0))
    np.testing.assert_allclose(found, (10.0, 6.0))


def test_medians_runs_each_function_once_more_than_asked():
    calls = []
    times = bench.medians({"a": calls.append, "b": calls.append}, (1,), 3)
    assert len(calls) == 8
    assert set(times) == {"a", "b"}
    assert all(value >= 0 for value in times.values())


def test_report_names_shape_bytes_and_share(capsys):
    shape = Shape("tiny", 4, (2, 8))
    bench.bench_op(shape, Neuron(), 1)
    bench.bench_share(shape, Neuron(), 1)
    text = capsys.readouterr().out
    assert text.count("fwd+bwd") == len(bench.IMPLEMENTATIONS) + 1
    assert "a free LIF would save" in text
