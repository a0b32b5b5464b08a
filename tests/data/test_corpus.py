"""Texts, windows, words, counts."""

import gzip

import numpy as np
import pytest

from jaxlearn.analysis.ngrams import ngram_bits
from jaxlearn.data import load
from jaxlearn.data.corpus import characters
from jaxlearn.data.errors import CorruptData, MissingData
from jaxlearn.data.plain_text import text_file, token_file
from jaxlearn.data.text_windows import random_windows, windows

TEXT = "To be, or not to be: that is the question — ☃." * 10


def test_characters_spell_the_text():
    corpus = characters("hamlet", TEXT, "here")
    tokens = np.concatenate([corpus.train, corpus.validation, corpus.test])
    assert corpus.text(tokens) == TEXT
    assert corpus.vocabulary == tuple(sorted(set(TEXT)))
    assert len(corpus.train) == int(0.9 * len(TEXT))
    assert len(characters("hamlet", TEXT, "here", train=50).train) == 50
    with pytest.raises(CorruptData, match="has 0 characters"):
        characters("nothing", "", "here")
    with pytest.raises(ValueError, match="train=1000 characters asked for"):
        characters("hamlet", TEXT, "here", train=1000)


def test_windows_are_the_text_in_order():
    cut = windows(np.arange(11), 3)
    assert cut["inputs"].ravel().tolist() == list(range(9))
    assert (cut["labels"] == cut["inputs"] + 1).all()
    with pytest.raises(ValueError, match="3 tokens hold no window of 3"):
        windows(np.arange(3), 3)


def test_random_windows_depend_on_seed_and_step_alone():
    stream = random_windows(np.arange(1000), 8, 16, seed=1)
    again = random_windows(np.arange(1000), 8, 16, seed=1)
    assert (stream(7)["inputs"] == again(7)["inputs"]).all()
    assert (stream(7)["inputs"] != stream(8)["inputs"]).any()
    assert (
        stream(7)["inputs"] != random_windows(np.arange(1000), 8, 16, seed=2)(7)["inputs"]
    ).any()
    begins = np.concatenate([stream(step)["index"] for step in range(200)])
    # every place can begin a window, the last one included
    assert begins.min() < 10
    assert 980 < begins.max() <= 991
    assert abs(begins.mean() - 495.5) < 4 * 286 / np.sqrt(len(begins))
    for words in ({"length": 1000}, {"length": 0}, {"batch_size": 0}):
        with pytest.raises(ValueError, match="windows need"):
            random_windows(np.arange(1000), **({"length": 8, "batch_size": 16} | words), seed=0)


def test_files_of_yours(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(TEXT.encode()))
    assert text_file(str(tmp_path / "a.txt.gz")).vocabulary == tuple(sorted(set(TEXT)))
    with pytest.raises(MissingData, match="is no file"):
        text_file(str(tmp_path / "b.txt"))
    (tmp_path / "c.txt").write_bytes(b"\xff\xfe\xff" * 20)
    with pytest.raises(CorruptData, match=r"c\.txt is damaged"):
        text_file(str(tmp_path / "c.txt"))


def test_files_of_token_numbers(tmp_path):
    path = str(tmp_path / "tokens.npy")
    np.save(path, np.arange(100, dtype=np.uint16) % 7)
    corpus = token_file(path)
    assert (len(corpus.train), len(corpus.test), len(corpus.vocabulary)) == (90, 5, 7)
    assert random_windows(corpus.train, 4, 2, seed=0)(0)["inputs"].dtype == np.int32
    for wrong in (np.ones((4, 4), int), np.ones(40), -np.ones(40, int), np.ones(3, int)):
        np.save(path, wrong)
        with pytest.raises(CorruptData, match="expected integers >= 0"):
            token_file(path)
    np.save(path, np.array([{"a": 1}] * 30), allow_pickle=True)
    with pytest.raises(CorruptData, match=r"tokens\.npy is damaged"):
        token_file(path)
    with pytest.raises(MissingData, match="is no file"):
        token_file(str(tmp_path / "none.npy"))


def test_counted_pairs_know_what_follows():
    text = np.tile([0, 1, 2, 3], 200)
    assert ngram_bits(text, text[:40], 2, 4) < 0.05
    np.testing.assert_allclose(ngram_bits(text, text[:40], 1, 4), 2.0, rtol=1e-6)
    with pytest.raises(ValueError, match="n=3"):
        ngram_bits(text, text, 3, 4)


def test_film_reviews(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXLEARN_DATA", str(tmp_path))
    (tmp_path / "movie-review").mkdir()
    for end, word in (("neg", "bad"), ("pos", "caf\xe9")):
        lines = "".join(f"{word} number {i} \n" for i in range(40))
        packed = gzip.compress(lines.encode("latin-1"))
        (tmp_path / "movie-review" / f"rt-polarity.{end}.gz").write_bytes(packed)
    data = load("movie_reviews")
    assert [len(part["labels"]) for part in (data.train, data.validation, data.test)] == [65, 7, 8]
    assert data.test["labels"].sum() == 4
    texts = [text for part in (data.train, data.validation, data.test) for text in part["inputs"]]
    assert len(set(texts)) == 80
    for text, label in zip(data.train["inputs"], data.train["labels"], strict=True):
        assert text.startswith("caf\xe9" if label else "bad")
    (tmp_path / "movie-review" / "rt-polarity.neg.gz").write_bytes(b"\n\n")
    with pytest.raises(CorruptData, match="has no line of text"):
        load("movie_reviews")
