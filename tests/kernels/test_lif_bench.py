"""The benchmark's arithmetic and its report."""

import json

import jax
import jax.numpy as jnp
from jaxlearn_kernels import comparison
from jaxlearn_kernels.lif import bench
from jaxlearn_kernels.lif.shapes import Shape

TINY = Shape("tiny", 4, (2, 8))


def test_minimal_bytes_are_the_sizes_of_what_comes_and_goes():
    x, gs = bench.arguments_of(TINY)
    size = lambda *arrays: sum(2 * a.size for a in arrays)  # of bfloat16
    spikes, u = x, (x, x)  # two bfloat16 take the room of one float32
    assert bench.minimal_bytes(x.size, 2, gradient=False) == size(x, spikes)
    back = size(*u, gs, x)
    assert bench.minimal_bytes(x.size, 2, gradient=True) == size(x, spikes, *u) + back


def test_the_gradient_is_that_of_the_definition():
    arguments = bench.arguments_of(TINY)
    found, expected = bench.gradient(None, *arguments), bench.gradient("reference", *arguments)
    assert comparison.deviation(found, expected) < 1e-6
    assert jnp.abs(found[1]).max() > 0


def test_medians_runs_each_function_once_more_than_asked():
    calls = []
    times = comparison.medians({"a": calls.append, "b": calls.append}, (1,), 3)
    assert len(calls) == 8
    assert set(times) == {"a", "b"}
    assert all(value >= 0 for value in times.values())


def test_report_has_a_line_per_part_and_implementation_and_the_shares():
    rows = list(bench.rows((TINY,), 1))
    compared = [row["implementation"] for row in rows if "implementation" in row]
    assert compared == 2 * list(bench.IMPLEMENTATIONS)
    shares = [row["lif_share"] for row in rows if "lif_share" in row]
    assert len(shares) == 2
    assert all(0 <= share < 1 for share in shares)
    for row in rows:
        assert json.loads(json.dumps(row)) == row
        assert row["device"] == jax.devices()[0].device_kind
