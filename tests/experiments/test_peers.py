"""Peers compute what our steps compute: each compares outputs with ours before it is timed."""

from importlib import import_module
from pathlib import Path

import pytest

import experiments

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning"),
]

FOLDER = Path(experiments.__file__).parent
NAMES = sorted(
    file.stem for file in FOLDER.glob("*.py") if "from experiments.peers" in file.read_text()
)


def test_experiments_with_peers_are_found():
    assert {"auglocal", "forwardgnn", "sltt"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_peer_agrees_with_ours_and_its_step_learns_the_batch(name):
    torch = pytest.importorskip("torch")
    bench = import_module(f"experiments.{name}").bench()
    assert bench.peers
    beside = (peer for row in bench.peers for peer in bench.beside(row))
    for peer in (peer for peer in beside if peer.package != "jax"):  # that one sorts
        pytest.importorskip(peer.package)
        torch.manual_seed(0)  # masks of dropout, moves of images
        step = peer.start()
        first, *_, early, middle, last = (step() for _ in range(6))
        # one loss alone may be that of an unlucky mask
        assert (early + middle + last) / 3 < first
