"""Isolation from the machine's data and network, and access to the real data where they are."""

import pytest

from jaxlearn.data import MissingData, load
from jaxlearn.data.download import Failure


@pytest.fixture
def offline(monkeypatch):
    """No test downloads from the internet."""
    failure = Failure("no network in tests", corrupt=False)
    monkeypatch.setattr("jaxlearn.data.source.download", lambda *_, **__: failure)


@pytest.fixture
def root(tmp_path, monkeypatch, offline):
    """An empty JAXLEARN_DATA beside an empty cache."""
    folder = tmp_path / "root"
    folder.mkdir()
    monkeypatch.setenv("JAXLEARN_DATA", str(folder))
    monkeypatch.setenv("JAXLEARN_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def real(offline):
    """`load`, skipping the test where the dataset is not on this machine."""

    def read(name, **options):
        try:
            return load(name, **options)
        except MissingData as error:
            pytest.skip(f"{name} is not on this machine: {error}")

    return read


def put(folder, path, data):
    """Write bytes below a folder."""
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return target
