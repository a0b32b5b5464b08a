"""Peers compute what our steps compute: each compares outputs with ours before it is timed."""

import pytest

from experiments import (
    auglocal,
    demo,
    forwardgnn,
    gbnn,
    local_learning,
    lth_rewinding,
    man,
    mixturegrowth,
    precision,
    sltt,
    snn_delays,
    snnk,
    spikegpt,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning"),
]

MODULES = [
    auglocal,
    demo,
    forwardgnn,
    gbnn,
    local_learning,
    lth_rewinding,
    man,
    mixturegrowth,
    precision,
    sltt,
    snn_delays,
    snnk,
    spikegpt,
]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.EXPERIMENT.slug)
def test_every_peer_agrees_with_ours_and_its_step_learns_the_batch(module):
    pytest.importorskip("torch")
    bench = module.bench()
    assert bench.peers
    for peer in [peer for row in bench.peers for peer in bench.beside(row)]:
        pytest.importorskip(peer.package)
        step = peer.start()
        first = step()
        for _ in range(5):
            last = step()
        assert last < first
