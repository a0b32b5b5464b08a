"""Where files are found, and what is said when they are not."""

import gzip
import hashlib
import subprocess
import sys

import pytest

from jaxlearn.data import CorruptData, MissingData
from jaxlearn.data.cifar10 import ARCHIVE
from jaxlearn.data.download import Failure
from jaxlearn.data.errors import one_line, parsing
from jaxlearn.data.fashion_mnist import FASHION_FILES, MNIST_FILES
from jaxlearn.data.graphs import AMAZON_PHOTO, CORA_ML
from jaxlearn.data.planetoid import _PARTS, _file
from jaxlearn.data.source import DataFile, cache_folder, digest, find, local
from tests.data.conftest import put

HOME = "https://example.org/set"
BODY = b"the right bytes"
SHA = hashlib.sha256(BODY).hexdigest()


def named(**fields):
    return DataFile(**{"paths": ("set/a.bin", "other/a.bin"), "homepage": HOME, **fields})


def test_order_root_then_system_then_cache(root, tmp_path):
    system = put(tmp_path, "system/a.bin", b"system")
    file = named(sha256=SHA, system=(str(system),))
    cached = put(cache_folder(), "set/a.bin", BODY)
    assert local(named(sha256=SHA)) == cached
    assert local(file) == system
    second = put(root, "other/a.bin", b"second place")
    assert local(file) == second
    assert find(file) == second
    assert local(file) != put(root, "set/a.bin", b"first place") == find(file)


def test_a_file_in_the_root_need_not_have_the_hash_of_the_download(root):
    path = put(root, "set/a.bin", b"packed differently")
    assert find(named(sha256=SHA, urls=("http://unused/",))) == path


def test_a_cached_file_with_the_wrong_hash_counts_as_absent(root):
    put(cache_folder(), "set/a.bin", b"bit rot")
    assert local(named(sha256=SHA)) is None


def test_missing_is_one_line_naming_file_source_and_variable(root):
    for urls in ((), ("http://unused/",)):
        with pytest.raises(MissingData) as caught:
            find(named(urls=urls, sha256=SHA))
        text = str(caught.value)
        assert all(word in text for word in ("set/a.bin", HOME, "JAXLEARN_DATA"))
        assert "\n" not in text


def test_only_corrupt_copies_is_corrupt_data(root, monkeypatch):
    failure = Failure("u sent a file with the wrong SHA-256", corrupt=True)
    monkeypatch.setattr("jaxlearn.data.source.download", lambda *_: failure)
    with pytest.raises(CorruptData, match=r"set/a.bin: u sent .*SHA-256"):
        find(named(urls=("u",), sha256=SHA))


def test_no_download_without_a_digest(root):
    with pytest.raises(ValueError, match="sha256"):
        find(named(urls=("u",)))


def test_every_published_file_with_an_address_has_a_digest():
    planetoid = [_file(name, part) for name in ("cora", "citeseer", "pubmed") for part in _PARTS]
    known = [ARCHIVE, CORA_ML, AMAZON_PHOTO, *FASHION_FILES, *MNIST_FILES, *planetoid]
    assert sum(bool(file.urls) for file in known) == 1 + 1 + 4 + 4 + 23
    assert all(len(file.sha256) == 64 for file in known if file.urls)


def test_digest_of_gzip_content_does_not_depend_on_the_packing(tmp_path):
    plain = put(tmp_path, "plain", BODY)
    packed = [
        put(tmp_path, f"{level}.gz", gzip.compress(BODY, level, mtime=level)) for level in (1, 9)
    ]
    assert digest(plain) == SHA
    assert {digest(path, gunzipped=True) for path in (*packed, plain)} == {SHA}
    assert SHA not in {digest(path) for path in packed}


def test_parsing_keeps_our_errors_and_turns_others_into_one_line():
    for inner in (MissingData("m"), CorruptData("c")):
        with pytest.raises(type(inner)) as caught, parsing("file"):
            raise inner
        assert caught.value is inner
    with (
        pytest.raises(CorruptData, match=r"^file is damaged: ZeroDivisionError") as caught,
        parsing("file"),
    ):
        raise ZeroDivisionError
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert one_line(ValueError("x" * 1000 + "\ny")) == "x" * 160


def test_importing_the_package_loads_nothing_heavy():
    heavy = "sklearn scipy PIL pooch requests jax"
    code = f"import sys, jaxlearn.data; print(*[m for m in '{heavy}'.split() if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
