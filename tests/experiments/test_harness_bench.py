import sys
import time
from itertools import pairwise
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.harness import Bench, Peer, Program, allocations, bench, loop, scaling, timing
from experiments.peers import torch as peer_torch
from jaxlearn.core import TrainState


def step(state, batch):
    return state + batch["inputs"].sum(), {"loss": state}


def program(size=8):
    return Program(step, jnp.float32(0), {"inputs": jnp.ones(size)})


def test_runners_take_turns_in_an_order_that_changes(monkeypatch):
    monkeypatch.setattr(timing, "repeats", lambda runner: 1)
    order = []
    runners = {name: lambda name=name: order.append(name) for name in "ABC"}
    times = bench.take_turns(runners, turns=8)
    assert order[::2] == order[1::2]  # once without the clock
    turns = [tuple(turn) for turn in zip(*[iter(order[::2])] * 3, strict=True)]
    assert all(sorted(turn) == ["A", "B", "C"] for turn in turns)
    assert len(set(turns)) > 2
    assert {name: len(found) for name, found in times.items()} == {"A": 8, "B": 8, "C": 8}


def test_a_short_step_does_not_pay_for_what_ran_before(sleep):
    """A runner that leaves threads spinning slows the next call of whichever follows."""
    left = [0.0]

    def spinning():
        sleep(0.02)
        left[0] = 0.01

    def plain():
        sleep(0.02 + left[0])
        left[0] = 0.0

    times = bench.take_turns({"plain": plain, "spinning": spinning}, turns=9)
    assert times["plain"] == pytest.approx([0.02] * 9)


def test_long_steps_are_not_run_twice(sleep):
    calls = []
    bench.take_turns({"long": lambda: (sleep(1.0), calls.append(1))}, turns=5)
    assert len(calls) == 3 + 5  # warming up, and one a turn


@pytest.fixture
def sleep(monkeypatch):
    """A clock that only the returned function moves, by so many seconds."""
    now = [0.0]
    hands = SimpleNamespace(perf_counter=lambda: now[0])
    for module in (timing, bench):
        monkeypatch.setattr(module, "time", hands)

    def advance(seconds):
        now[0] += seconds

    return advance


def test_ratio_sees_a_runner_that_takes_twice_as_long(sleep):
    runners = {"one": lambda: sleep(0.01), "two": lambda: sleep(0.02)}
    times = bench.take_turns(runners, turns=5)
    assert timing.ratio(times["two"], times["one"]) == pytest.approx(2)
    assert timing.spread(times["two"])["step_ms"] == pytest.approx(20)


def test_slow_bench_ends_after_a_minute_but_not_before_five_turns(sleep):
    assert len(bench.take_turns({"slow": lambda: sleep(14)}, turns=20)["slow"]) == 5
    assert len(bench.take_turns({"slow": lambda: sleep(7)}, turns=20)["slow"]) == 9


def test_short_steps_are_repeated_to_fill_a_sample(sleep):
    assert timing.repeats(lambda: sleep(0.001)) == 10
    assert timing.repeats(lambda: sleep(0.02)) == 1


def test_state_is_carried_and_the_programs_own_arrays_stay():
    made = program()
    runner, costs = bench.compiled(made)
    assert [float(runner()["loss"]) for _ in range(3)] == [0, 8, 16]
    assert float(made.state) == 0
    assert costs["flops"] > 0


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=9), st.floats(0.5, 2))
def test_ratio_is_unmoved_by_drift(drift, factor):
    """A machine slowing down by any factors between turns leaves the ratio as it is."""
    theirs = [0.01 * slow for slow in drift]
    ours = [factor * value for value in theirs]
    assert timing.ratio(ours, theirs) == pytest.approx(factor)


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=9))
def test_quartiles_enclose_the_median_within_the_range(seconds):
    found = timing.spread(seconds)
    low, high = found["quartiles_ms"]
    figures = [1e3 * min(seconds), low, found["step_ms"], high, 1e3 * max(seconds)]
    for smaller, larger in pairwise(figures):
        assert smaller <= larger * (1 + 1e-12)


def test_a_peer_that_cannot_use_our_gpu_is_named(monkeypatch):
    blind = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False), __version__="9.9")
    monkeypatch.setattr(peer_torch, "import_module", lambda name: blind)
    assert peer_torch.torch() is blind
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.raises(ValueError, match=r"PyTorch 9\.9 cannot use this GPU"):
        peer_torch.torch()


def test_bench_begins_with_backprop():
    with pytest.raises(ValueError, match="found \\['ours'\\]"):
        Bench({"ours": program()})
    with pytest.raises(ValueError, match="unknown rows \\['our'\\]"):
        Bench({"backprop": program()}, {"our": Peer("numpy", lambda: lambda: None)})


def test_bench_file_keeps_other_experiments_and_those_of_other_devices(tmp_path):
    for slug, row, platform in (("b", 1, "cpu"), ("a", 2, "cpu"), ("b", 3, "cpu"), ("b", 4, "gpu")):
        bench.keep({"slug": slug, "rows": [row], "environment": {"platform": platform}}, tmp_path)
    found = bench.store.read(tmp_path / "bench.json")
    assert list(found) == ["a", "b"]
    assert [found[slug]["rows"] for slug in found] == [[2], [3]]
    assert bench.store.read(tmp_path / "bench-gpu.json")["b"]["rows"] == [4]


def test_loop_is_timed_beside_the_bare_step():
    """A step that sleeps costs in the loop at least what it sleeps."""

    def sleepy(state, batch):
        done = jax.pure_callback(rest, jax.ShapeDtypeStruct((), jnp.int32), state.step)
        return state._replace(step=done), {"loss": jnp.float32(0)}

    def rest(step):
        time.sleep(0.005)
        return step + 1

    state = TrainState(jnp.int32(0), {}, {}, (), jax.random.key(0))
    made = Program(sleepy, state, {"inputs": jnp.ones(4)})
    assert loop.worth(made, [0.005])
    assert loop.seconds_per_step(made, 30) > 0.004

    assert not loop.worth(made, [4.0, 5.0]), "what the loop adds could not be seen"


def test_loop_is_not_timed_for_a_state_that_is_not_its_own():
    assert not loop.worth(program(), [0.005])


def test_a_row_is_measured_by_the_backprop_of_its_setting():
    names = ("backprop", "ours", "backprop, wide", "ours, wide", "ours, T=2")
    made = Bench({name: program() for name in names})
    measures = ["backprop", "backprop", "backprop", "backprop, wide", "backprop"]
    assert [made.measure_of(name) for name in names] == measures


def test_keys_are_copied_too():
    def draw(state, batch):
        return jax.random.split(state)[0], {"loss": jax.random.uniform(state)}

    made = Program(draw, jax.random.key(0), {"inputs": jnp.ones(4)})
    runner, _ = bench.compiled(made)
    first, second = float(runner()["loss"]), float(runner()["loss"])
    assert first == float(jax.random.uniform(jax.random.key(0)))
    assert first != second


def test_of_several_peers_the_fastest_is_named_alone(monkeypatch, sleep):
    def peer(package, seconds):
        return Peer(package, lambda: lambda: sleep(seconds))

    ours = {"backprop": program(), "same": program(5)}
    made = Bench(ours, {"same": [peer("numpy", 0.5), peer("jax", 0.25), peer("not_installed", 0)]})
    costs = {"temp_bytes": 60}
    monkeypatch.setattr(bench, "compiled", lambda program: (lambda: sleep(1.0), costs))
    peaks = iter([None, 20])
    monkeypatch.setattr(allocations, "peak_bytes", lambda step: next(peaks))
    monkeypatch.setattr(loop, "worth", lambda program, seconds: False)
    alone, row = bench.measure("several", made, turns=5)["rows"]
    assert "peers" not in alone
    assert [entry["peer"].split()[0] for entry in row["peers"]] == ["jax", "numpy"]
    assert [entry["ratio"] for entry in row["peers"]] == pytest.approx([4, 2])
    assert row["ratio_to_peer"] == pytest.approx(4)
    assert row["peer"].startswith("jax ")
    assert [entry.get("memory_ratio") for entry in row["peers"]] == [3, None]


def test_peak_is_the_highest_level_between_allocations_and_releases(monkeypatch):
    def event(time, size, name="[memory]"):
        return SimpleNamespace(name=lambda: name, start_ns=lambda: time, nbytes=lambda: size)

    events = [event(3, -4), event(1, 4), event(2, 6), event(4, 1), event(2, 99, "aten::mm")]
    assert allocations.highest(events) == 10
    monkeypatch.setitem(sys.modules, "torch", None)
    assert allocations.peak_bytes(lambda: None) is None


def test_of_a_process_that_shares_a_step_its_last_words_are_told(harness):
    text = harness.file.read_text()
    begun = text.replace("def bench():", "def bench():\n    raise MemoryError('no room')", 1)
    assert begun != text
    harness.file.write_text(begun)
    with pytest.raises(ValueError, match="tiny-quadratic with devices=2: MemoryError: no room"):
        scaling.measure("tiny-quadratic", harness.folder, devices=(2, 4))
