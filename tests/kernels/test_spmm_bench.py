"""The benchmark's arithmetic and its report."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxlearn_kernels.spmm import bench
from jaxlearn_kernels.spmm.shapes import Shape, random_graph

TINY = Shape("tiny", 16, 16, 40, 8)


def test_minimal_bytes_count_rows_entries_and_results():
    shape = Shape("", rows=5, columns=7, entries=11, width=3)
    assert bench.minimal_bytes(shape, 2) == 11 * (3 * 2 + 4 + 4) + 5 * 3 * 2
    extra = bench.minimal_bytes(shape, 2, messages=True) - bench.minimal_bytes(shape, 2)
    assert extra == 2 * 11 * 3 * 4


def test_graphs_average_over_neighbours_and_have_hubs():
    shape = Shape("", 200, 50, 5000, 1)
    matrix = jax.jit(lambda: random_graph(shape, padding=0.2))()
    degrees = np.diff(matrix.pattern.indptr)
    assert 0.7 * 5000 < degrees.sum() < 0.9 * 5000
    assert degrees.max() > 8 * np.median(degrees)
    totals = np.add.reduceat(np.asarray(matrix.values, np.float64), matrix.pattern.indptr[:-1])
    np.testing.assert_allclose(totals[degrees > 0], 1, atol=1e-5)


def test_deviation_is_relative_and_of_the_worst_leaf():
    a, b = jnp.array([3.0, 4.0]), jnp.array([3.0, 4.1])
    assert abs(bench.deviation((a, b), (a, a)) - 0.02) < 1e-6
    assert bench.same_bits((a, b), (a, b))
    assert not bench.same_bits((a, b), (a, a))


@pytest.mark.slow
def test_report_has_a_line_per_part_and_implementation(monkeypatch):
    monkeypatch.setattr(bench, "CHAIN", 2)
    for part in ("layer and gradient", "product"):
        rows = list(bench.bench_part(part, TINY, "float32", 1))
        assert [row["implementation"] for row in rows] == ["picked", "segments"]
        for row in rows:
            assert json.loads(json.dumps(row)) == row
            assert row["ms"] >= 0
            assert row["deviation"] < 1e-4
            assert row["same_bits"]
    assert rows[0]["megabytes"] == bench.minimal_bytes(TINY, 4) / 1e6
