"""Every parser against mutated bytes: it reads them or raises `CorruptData`, nothing else."""

import gzip
import json
import pickle
import resource
import tempfile
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxlearn.data import CorruptData, babi, cifar100, uci
from jaxlearn.data.archive import read_tar
from jaxlearn.data.array_pickle import read_array_pickle
from jaxlearn.data.cifar10 import decode_jpeg, decode_shard, parse_records
from jaxlearn.data.event_files import read_aedat2, read_aedat3, read_atis
from jaxlearn.data.graphs import read_graph
from jaxlearn.data.idx import read_idx
from jaxlearn.data.llama2c import read_llama2c, read_pieces
from jaxlearn.data.llama_folder import CONFIG, llama_sizes
from jaxlearn.data.npz import parse_npy
from jaxlearn.data.plain_text import token_file
from jaxlearn.data.planetoid import read_linqs
from jaxlearn.data.safetensors import read_safetensors
from jaxlearn.data.spiking_heidelberg import read_events
from jaxlearn.data.spoken_digits import parse_wav
from jaxlearn.data.text import read_text
from jaxlearn.data.torch_file import read_torch
from jaxlearn.data.wordpiece import read_vocabulary
from jaxlearn.data.xlsx import read_xlsx
from tests.data import test_babi, test_cifar100, test_llama_folder, test_torch_file
from tests.data.test_archive import tar
from tests.data.test_cifar10 import jpeg, records, shard
from tests.data.test_event_cameras import aedat2, atis, packet, some_events
from tests.data.test_graphs import example
from tests.data.test_idx import idx
from tests.data.test_llama2c import checkpoint, tokenizer
from tests.data.test_npz import npy, npz
from tests.data.test_planetoid import CITES, CONTENT
from tests.data.test_spoken_digits import wav
from tests.data.test_vowels import made_rows, vowel_book

IMAGES = idx(np.arange(12, dtype=np.uint8).reshape(3, 4))
MATRIX = sp.csr_matrix(np.eye(3, dtype=np.float32))
PICKLED = {"a": np.arange(4), "m": MATRIX, "g": {0: [1, 2], 1: [0]}}
NOISE = np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8)


EVENTS = some_events(6)
HEADER = b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}'
TENSOR = test_torch_file.Tensor("Float", "0", 12, 0, (3, 4), (4, 1))


def whole(path):
    return path.read_bytes()


def table(path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uci, "find", lambda file: path)
        return uci.uci_classification("ecoli")


def config(path):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / CONFIG).write_bytes(path.read_bytes())
        return llama_sizes(Path(folder))


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
    "records 100": (test_cifar100.records(1), lambda p: cifar100.parse_records(whole(p), "a")),
    "atis": (atis(EVENTS), lambda path: read_atis(whole(path))),
    "aedat 2": (aedat2(EVENTS), lambda path: read_aedat2(whole(path))),
    "aedat 3": (b"#!END-HEADER\r\n" + packet(EVENTS), lambda path: read_aedat3(whole(path))),
    "llama2c": (checkpoint(), read_llama2c),
    "pieces": (tokenizer([b"<unk>", b"ab"], [0.0, -1.5]), lambda path: read_pieces(path, 2)),
    "safetensors": (len(HEADER).to_bytes(8, "little") + HEADER + bytes(8), read_safetensors),
    "torch": (test_torch_file.saved({"w": TENSOR}, {"0": test_torch_file.NUMBERS}), read_torch),
    "workbook": (vowel_book(made_rows(1)[:3]), read_xlsx),
    "table": (b"A, 1.5,'-1'\nB,2,'1'\n\nA,3,'1'\n", table),
    "stories": (test_babi.TEXT.encode(), lambda path: babi.parse(read_text(path))),
    "text gz": (gzip.compress("naïve".encode()), read_text),
    "vocabulary": (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n", read_vocabulary),
    "llama config": (json.dumps(test_llama_folder.TOLD).encode(), config),
    "tokens": (npy(np.arange(24)), lambda path: token_file(str(path))),
}


def events_file():
    """A small event file, as bytes."""
    from tests.data.test_spiking_heidelberg import clips, write

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        write(path, *clips(3, 0))
        return path.read_bytes()


FEWER = {}
"""Parsers that start a process for every file, and how many times fewer files they meet."""
if find_spec("h5py"):
    PARSERS["hdf5"] = (events_file(), lambda path: read_events(path, 10, 70, 20))
    FEWER["hdf5"] = 12


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
        max_examples=examples // FEWER.get(name, 1),
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
