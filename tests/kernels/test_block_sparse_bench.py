"""The benchmark's report."""

import json

import jax.numpy as jnp
import pytest
from jaxlearn_kernels.block_sparse import bench
from jaxlearn_kernels.block_sparse.shapes import Shape

TINY = Shape("tiny", 16, 4, 5, (4, 3))


def test_the_share_of_blocks_is_exact():
    for share, blocks in ((1.0, 20), (0.5, 10), (0.05, 1)):
        assert int(bench.arguments_of(TINY, share, jnp.float32)[2].sum()) == blocks


@pytest.mark.slow
def test_report_has_a_line_per_implementation():
    rows = list(bench.bench_share(TINY, 0.5, 1))
    assert [row["implementation"] for row in rows] == ["picked", "reference"]
    for row in rows:
        assert json.loads(json.dumps(row)) == row
        assert row["deviation"] < 1e-5
