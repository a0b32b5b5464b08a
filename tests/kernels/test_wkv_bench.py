"""The benchmark's arithmetic and its report."""

import json

import jax
import jax.numpy as jnp
import pytest
from jaxlearn_kernels.wkv import bench
from jaxlearn_kernels.wkv.shapes import Shape

TINY = Shape("tiny", 4, (2,), 8)


def test_minimal_bytes_are_the_sizes_of_what_comes_and_goes():
    k, v, *_, gy = bench.arguments_of(TINY, jnp.bfloat16)
    size = lambda *arrays: sum(2 * a.size for a in arrays)
    y, log_d = v, (k, k)  # two bfloat16 take the room of one float32
    assert bench.minimal_bytes(TINY, 2, gradient=False) == size(k, v, y)
    back = size(k, v, y, gy, *log_d, k, v)
    assert bench.minimal_bytes(TINY, 2, gradient=True) == size(k, v, y, *log_d) + back


def test_the_gradient_is_of_k_v_w_and_u():
    arguments = bench.arguments_of(TINY, jnp.float32)
    y, gradients = bench.gradient(None, *arguments)
    shapes = [a.shape for a in arguments]
    assert [a.shape for a in (*gradients, y)] == shapes
    assert all(jnp.abs(a).max() > 0 for a in gradients)


@pytest.mark.slow
def test_report_has_a_line_per_part_and_implementation():
    for part in bench.PARTS:
        rows = list(bench.bench_part(part, TINY, 1))
        assert [row["implementation"] for row in rows] == list(bench.IMPLEMENTATIONS)
        for row in rows:
            assert json.loads(json.dumps(row)) == row
            assert row["deviation"] < 1e-5
    assert jax.devices()[0].device_kind == rows[0]["device"]
