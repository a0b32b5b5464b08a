"""What the benchmarks of all operations share."""

import json

import jax.numpy as jnp
from jaxlearn_kernels import comparison
from jaxlearn_kernels.comparison import compared, deviation, report


def test_a_copy_moves_its_bytes_twice(monkeypatch):
    monkeypatch.setattr(comparison, "medians", lambda *_: {"copy": 0.5})
    assert comparison.copied(8_000_000, 1) == 16.0


def test_deviation_is_relative_and_of_the_worst_leaf():
    a, b = jnp.array([3.0, 4.0]), jnp.array([3.0, 4.1])
    assert abs(deviation((a, b), (a, a)) - 0.02) < 1e-6


def test_rows_name_what_moved_and_the_exit_status_says_what_deviates(capsys):
    x = jnp.arange(1.0, 9.0)
    functions = {"reference": lambda x: 2 * x, "same": lambda x: x + x, "off": lambda x: 2.1 * x}
    rows = list(compared(functions, (x,), 2, moved=64))
    assert [row["implementation"] for row in rows] == list(functions)
    assert [round(row["deviation"], 6) for row in rows] == [0.0, 0.0, 0.05]
    for row in rows:
        assert row["gigabytes_per_s"] > 0
        assert row["megabytes"] == 64e-6
        assert row["share_of_copy"] > 0
    assert report(rows, 0.1) == 0
    assert report(rows, 0.01) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[0]) == rows[0]
    assert "megabytes" not in next(compared(functions, (x,), 1))
