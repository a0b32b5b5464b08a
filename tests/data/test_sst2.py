"""SST-2 out of files made here."""

import gzip

import pytest

from jaxlearn.data.errors import CorruptData
from jaxlearn.data.sst2 import sst2


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXLEARN_DATA", str(tmp_path))
    home = tmp_path / "sst2"
    home.mkdir()
    lines = "so good\t1\nso bad\t0\ngreat\t1\nawful\t0\n"
    (home / "train.tsv.gz").write_bytes(gzip.compress(lines.encode()))
    (home / "dev.tsv").write_text("fine \t1\n")
    (home / "test.tsv").write_text("a tab\tin it\t0\n")
    return home


def test_parts_are_the_files_and_prefixes_are_balanced(folder):
    data = sst2(train=2)
    assert sorted(data.train["labels"].tolist()) == [0, 1]
    labels = dict(zip(data.train["inputs"], data.train["labels"], strict=True))
    assert labels == {"so good": 1, "so bad": 0}
    assert len(sst2().train["labels"]) == 4
    assert data.test["inputs"].tolist() == ["a tab\tin it"]
    assert data.validation["labels"].tolist() == [1]


def test_damaged_files_and_sizes_are_refused(folder):
    with pytest.raises(ValueError, match="train=5 sentences asked for, 4"):
        sst2(train=5)
    (folder / "dev.tsv").write_text("no label\n")
    with pytest.raises(CorruptData, match=r"dev.tsv: its lines are not"):
        sst2()
