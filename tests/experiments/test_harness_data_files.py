import gzip
import json
import math

import pytest

from experiments.harness import experiment, runs
from jaxlearn.data import CorruptData
from jaxlearn.data.source import DataFile, find

FILE = DataFile(("set/numbers.txt", "set/numbers.txt.gz"), "https://example.org/set")


def train(config, seeds, run):
    path = find(FILE)
    if path.is_dir():
        return {seed: {"sum": len(list(path.iterdir()))} for seed in seeds}
    raw = path.read_bytes()
    text = gzip.decompress(raw) if path.suffix == ".gz" else raw
    return {seed: {"sum": math.fsum(map(float, text.split()))} for seed in seeds}


MADE = experiment.Experiment(
    slug="sums",
    title="Sums",
    paper="",
    slots=("data",),
    Config=float,
    presets=dict.fromkeys(("smoke", "small", "paper"), 0.5),
    rows=lambda config: [],
    train=train,
    claims=lambda measured: [],
)


@pytest.fixture
def numbers(tmp_path, monkeypatch):
    """Where the data file lies."""
    monkeypatch.setenv("JAXLEARN_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("JAXLEARN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data" / "set").mkdir(parents=True)
    return tmp_path / "data" / "set" / "numbers.txt"


def finish(tmp_path, *seeds):
    return runs.finish(MADE, 0.5, seeds, tmp_path / "runs")


def test_a_data_file_that_changed_is_named_and_nothing_more_is_trained(tmp_path, numbers):
    numbers.write_text("1 2")
    assert finish(tmp_path, 0) == {0: {"sum": 3}}
    numbers.write_text("1 2 3")
    # what is done needs no data
    assert finish(tmp_path, 0) == {0: {"sum": 3}}
    message = r"data file set/numbers.txt is not the one that the runs in .*sums were trained on"
    for _ in range(2):
        with pytest.raises(ValueError, match=message) as error:
            finish(tmp_path, 0, 1)
        assert "\n" not in str(error.value)
    assert not list((tmp_path / "runs").glob("**/seed-1/result.json"))
    numbers.write_text("1 2")
    assert finish(tmp_path, 0, 1) == {0: {"sum": 3}, 1: {"sum": 3}}


def test_the_same_content_packed_differently_is_no_change(tmp_path, numbers):
    numbers.write_text("1 2")
    finish(tmp_path, 0)
    numbers.unlink()
    packed = numbers.with_name("numbers.txt.gz")
    packed.write_bytes(gzip.compress(b"1 2"))
    assert finish(tmp_path, 1) == {1: {"sum": 3}}
    noted = json.loads((tmp_path / "runs" / "sums" / "data.json").read_text())
    assert list(noted) == ["set/numbers.txt"]
    packed.write_bytes(gzip.compress(b"1 2")[:-9])
    with pytest.raises(CorruptData, match=r"numbers.txt.gz is damaged"):
        finish(tmp_path, 2)


def test_a_folder_of_recordings_counts_by_names_and_sizes(tmp_path, numbers):
    numbers.mkdir()
    (numbers / "a").write_text("1")
    assert finish(tmp_path, 0) == {0: {"sum": 1}}
    (numbers / "b").write_text("1")
    with pytest.raises(ValueError, match=r"data file set/numbers.txt is not the one"):
        finish(tmp_path, 1)
