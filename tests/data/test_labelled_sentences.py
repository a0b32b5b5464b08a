"""Subj and SST-5 out of files made here."""

import gzip

import pytest

from jaxlearn.data import CorruptData, load


def test_five_grades_keep_the_parts_of_the_files(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXLEARN_DATA", str(tmp_path))
    (tmp_path / "sst5").mkdir()
    lines = [f"{grade} so {grade} , {i} \n" for i in range(2) for grade in range(5)]
    packed = gzip.compress("".join(lines).encode())
    (tmp_path / "sst5" / "stsa.fine.train.gz").write_bytes(packed)
    (tmp_path / "sst5" / "stsa.fine.dev").write_text("2 neither\n")
    (tmp_path / "sst5" / "stsa.fine.test").write_text("4 so 4\n0 so 0\n")
    data = load("sst5", train=5)
    assert sorted(data.train["labels"].tolist()) == [0, 1, 2, 3, 4]
    for text, grade in zip(data.train["inputs"], data.train["labels"], strict=True):
        assert text.startswith(f"so {grade} ,")
    assert data.validation["inputs"].tolist() == ["neither"]
    assert dict(zip(data.test["inputs"], data.test["labels"], strict=True)) == {
        "so 4": 4,
        "so 0": 0,
    }
    with pytest.raises(ValueError, match="validation=2 sentences asked for, 1 are there"):
        load("sst5", validation=2)
    (tmp_path / "sst5" / "stsa.fine.test").write_text("5 too good\n")
    with pytest.raises(CorruptData, match=r"stsa.fine.test: its lines are not a class from 0 to 4"):
        load("sst5")


def test_subjectivity_draws_its_parts_by_class(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXLEARN_DATA", str(tmp_path))
    (tmp_path / "subj").mkdir()
    lines = [f"{i % 2} caf\xe9 {'plot' if i % 2 else 'view'} {i} \n" for i in range(80)]
    file = tmp_path / "subj" / "subj.all"
    file.write_bytes("".join(lines).encode("latin-1"))
    data = load("subjectivity")
    parts = (data.train, data.validation, data.test)
    assert [len(part["labels"]) for part in parts] == [65, 7, 8]
    assert data.test["labels"].sum() == 4
    texts = [text for part in parts for text in part["inputs"]]
    assert len(set(texts)) == 80
    for part in parts:
        for text, label in zip(part["inputs"], part["labels"], strict=True):
            assert text.split()[:2] == ["caf\xe9", "plot" if label else "view"]
    assert set(load("subjectivity", seed=1).test["inputs"]) != set(data.test["inputs"])
    file.write_bytes(b"\n \n")
    with pytest.raises(CorruptData, match="replace the file"):
        load("subjectivity")
