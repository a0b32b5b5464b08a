import json
import math
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.harness import store

numbers = st.one_of(st.integers(), st.floats(), st.booleans(), st.text(), st.none())
trees = st.recursive(numbers, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@dataclass(frozen=True)
class Inner:
    width: int = 3


@dataclass(frozen=True)
class Config:
    rate: float = 0.1
    limit: float = math.inf
    widths: tuple[int, ...] = (1, 2)
    inner: Inner = field(default_factory=Inner)


@given(trees)
def test_dump_is_strict_json_of_the_same_data(tree):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    found = json.loads(store.dump(tree), parse_constant=refuse)
    assert found == store.plain(tree)


@pytest.mark.parametrize("value", [np.float32(0.5), np.float64(0.5), np.asarray(0.5)])
def test_numpy_numbers_are_numbers(value):
    assert json.loads(store.dump({"a": value})) == {"a": 0.5}


def test_function_has_no_spelling():
    with pytest.raises(ValueError, match="function cannot be part of a config"):
        store.dump({"a": store.dump})


def test_fingerprint_depends_on_every_field_and_on_nothing_else():
    other = [
        Config(rate=0.2),
        Config(limit=math.nan),
        Config(limit=-math.inf),
        Config(widths=(2, 1)),
        Config(inner=Inner(4)),
    ]
    prints = [store.fingerprint(config) for config in [Config(), *other]]
    assert len(set(prints)) == len(prints)
    assert store.fingerprint(replace(Config(rate=0.2), rate=0.1)) == prints[0]


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_fingerprint_tells_floats_apart(first, second):
    same = store.fingerprint(Config(first)) == store.fingerprint(Config(second))
    assert same == (repr(first) == repr(second))


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_failed_write_leaves_the_old_file_alone(tmp_path, monkeypatch, step):
    file = tmp_path / "result.json"
    store.write(file, "old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="disk full"):
        store.write(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_written_file_is_readable_by_others(tmp_path):
    store.write(tmp_path / "deep" / "file", b"x")
    assert Path(tmp_path / "deep" / "file").stat().st_mode & 0o777 == 0o644
