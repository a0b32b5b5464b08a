"""The benchmark's arithmetic and its report."""

import json

import jax
import jax.numpy as jnp
import pytest
from jaxlearn_kernels.quadratic import bench
from jaxlearn_kernels.quadratic.shapes import Shape

TINY = Shape("tiny", 16, 4, 3)


def test_minimal_bytes_are_the_sizes_of_what_comes_and_goes():
    x, branches, dy = bench.arguments_of(TINY, jnp.bfloat16)
    size = lambda *trees: sum(2 * leaf.size for leaf in jax.tree.leaves(trees))
    assert bench.minimal_bytes(TINY, 2) == size(x, branches, dy)
    assert bench.minimal_bytes(TINY, 2, gradient=True) == size(x, x, dy, branches, branches)


@pytest.mark.slow
def test_report_has_a_line_per_part_and_implementation():
    for part in bench.PARTS:
        rows = list(bench.bench_part(part, TINY, 1))
        assert [row["implementation"] for row in rows] == ["picked", "reference"]
        for row in rows:
            assert json.loads(json.dumps(row)) == row
            assert row["deviation"] < 1e-5
