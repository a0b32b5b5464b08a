"""Peers compute what our steps compute: each compares outputs with ours before it is timed."""

from importlib import import_module

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning"),
]

NAMES = (
    *("auglocal", "demo", "forwardgnn", "gbnn", "local_learning", "lth_rewinding", "man"),
    *("mixturegrowth", "precision", "sltt", "snn_delays", "snnk", "spikegpt"),
)


@pytest.mark.parametrize("name", NAMES)
def test_every_peer_agrees_with_ours_and_its_step_learns_the_batch(name):
    pytest.importorskip("torch")
    bench = import_module(f"experiments.{name}").bench()
    assert bench.peers
    for peer in [peer for row in bench.peers for peer in bench.beside(row)]:
        pytest.importorskip(peer.package)
        step = peer.start()
        first = step()
        for _ in range(5):
            last = step()
        assert last < first
