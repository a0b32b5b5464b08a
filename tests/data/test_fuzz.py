"""Every parser against mutated bytes: it reads them or raises `CorruptData`, nothing else."""

import gzip
import pickle
import resource
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxlearn.data import CorruptData
from jaxlearn.data.archive import read_tar
from jaxlearn.data.array_pickle import read_array_pickle
from jaxlearn.data.cifar10 import decode_jpeg, decode_shard, parse_records
from jaxlearn.data.graphs import read_graph
from jaxlearn.data.idx import read_idx
from jaxlearn.data.npz import parse_npy
from jaxlearn.data.planetoid import read_linqs
from jaxlearn.data.spoken_digits import parse_wav
from tests.data.test_archive import tar
from tests.data.test_cifar10 import jpeg, records, shard
from tests.data.test_graphs import example
from tests.data.test_idx import idx
from tests.data.test_npz import npy, npz
from tests.data.test_planetoid import CITES, CONTENT
from tests.data.test_spoken_digits import wav

IMAGES = idx(np.arange(12, dtype=np.uint8).reshape(3, 4))
MATRIX = sp.csr_matrix(np.eye(3, dtype=np.float32))
PICKLED = {"a": np.arange(4), "m": MATRIX, "g": {0: [1, 2], 1: [0]}}
NOISE = np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8)


def whole(path):
    return path.read_bytes()


PARSERS = {
    "idx": (IMAGES, read_idx),
    "idx gz": (gzip.compress(IMAGES), read_idx),
    "npy": (npy(np.arange(4.0)), lambda path: parse_npy(whole(path), "a")),
    "graph npz": (npz(**example()[0]), lambda path: read_graph(path, "adj_", "attr_")),
    "shard": (shard(2), decode_shard),
    "records": (records(1)[0], lambda path: parse_records(whole(path), "a")),
    "jpeg": (jpeg(NOISE), lambda path: decode_jpeg(whole(path), "a")),
    "tar": (tar({"d/a": b"12", "b": b"3"}, "w"), lambda path: read_tar(path, bool, 1 << 20)),
    "tar gz": (tar({"d/a": b"12"}), lambda path: read_tar(path, bool, 1 << 20)),
    "tar xz": (tar({"d/a": b"12"}, "w:xz"), lambda path: read_tar(path, bool, 1 << 20)),
    "pickle 2": (pickle.dumps(PICKLED, 2), lambda path: read_array_pickle(whole(path), "a")),
    "pickle 4": (pickle.dumps(PICKLED, 4), lambda path: read_array_pickle(whole(path), "a")),
    "content": (CONTENT.encode(), lambda path: read_linqs(path, path.with_name("cites"))),
    "cites": (CITES.encode(), lambda path: read_linqs(path.with_name("content"), path)),
    "wav": (wav(np.arange(8)), lambda path: parse_wav(whole(path), "a")),
}


@st.composite
def mutations(draw, data):
    """The bytes with some changed, inserted, removed, or cut off."""
    mutated = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(mutated) - 1)))
        kind = draw(st.sampled_from(["change", "change", "insert", "remove", "cut", "repeat"]))
        if kind == "change" and mutated:
            mutated[place] = draw(st.integers(0, 255) | st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
        elif kind == "insert":
            mutated[place:place] = draw(st.binary(min_size=1, max_size=8))
        elif kind == "remove":
            del mutated[place : place + draw(st.integers(1, 8))]
        elif kind == "cut":
            del mutated[place:]
        else:
            mutated[place:place] = mutated[place : place + 16]
    return bytes(mutated)


def check(folder, name, data):
    seed, parse = PARSERS[name]
    (folder / "content").write_text(CONTENT)
    (folder / "cites").write_text(CITES)
    path = folder / "file"
    path.write_bytes(seed)
    parse(path)  # the seed itself is good
    path.write_bytes(data)
    try:
        parse(path)
    except CorruptData as error:
        assert "\n" not in str(error)  # noqa: PT017 (both outcomes are allowed)
    assert {p.name for p in folder.iterdir()} == {"file", "content", "cites"}


def fuzz(name, folder, examples):
    @given(mutations(PARSERS[name][0]) | st.binary(max_size=64))
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    def run(data):
        check(folder, name, data)

    run()


@pytest.mark.parametrize("name", PARSERS)
def test_mutated_bytes(name, tmp_path):
    fuzz(name, tmp_path, 60)


@pytest.mark.slow
@pytest.mark.parametrize("name", PARSERS)
def test_mutated_bytes_at_length_within_two_gigabytes(name, tmp_path):
    # a process of its own: the peak of this one is that of every test before
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(peak_bytes, name, tmp_path).result() < 2 << 30


def peak_bytes(name, folder):
    """The most memory this process ever had, after the parser met many damaged files."""
    fuzz(name, folder, 3000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_the_fuzzer_reaches_both_outcomes(tmp_path):
    outcomes = set()

    @given(mutations(IMAGES))
    @settings(max_examples=100, deadline=None, database=None)
    def run(data):
        path = tmp_path / "file"
        path.write_bytes(data)
        try:
            read_idx(path)
            outcomes.add("read")
        except CorruptData:
            outcomes.add("refused")

    run()
    assert outcomes == {"read", "refused"}
