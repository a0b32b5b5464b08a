"""The loop does what the steps alone would do, and says so once per step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.runtime import Diverged, data_mesh, fit
from tests.runtime import toy

QUIET = {"progress": False}


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("mesh", [False, True])
def test_the_loop_is_the_steps_one_after_the_other(on_device, mesh):
    mesh = data_mesh(jax.devices()[:1]) if mesh else None
    start = toy.state()
    done = fit(toy.step, start, toy.batches, steps=23, on_device=on_device, mesh=mesh, **QUIET)
    expected = toy.by_hand(23)
    for have, want in zip(
        jax.tree.leaves(done.state.params), jax.tree.leaves(expected.params), strict=True
    ):
        np.testing.assert_allclose(have, want, rtol=1e-6)
    assert int(done.state.step) == done.steps == 23
    assert [row["step"] for row in done.history] == list(range(1, 24))
    # the caller's state was copied, not consumed
    assert float(start.params["w"][0]) == 0.5


@pytest.mark.parametrize("on_device", [False, True])
def test_where_a_run_is_cut_into_chunks_changes_no_bit(on_device):
    def run(chunk, **more):
        return fit(
            toy.step,
            toy.state(),
            toy.batches,
            steps=21,
            chunk=chunk,
            on_device=on_device,
            **QUIET,
            **more,
        )

    whole = run(10)
    cut = run(10, evaluate=toy.evaluate, evaluate_every=4)
    assert toy.bits(whole.state) == toy.bits(cut.state)
    assert [row["loss"] for row in whole.history] == [row["loss"] for row in cut.history]
    other = run(1)
    difference = whole.state.params["w"] / other.state.params["w"] - 1
    assert np.abs(difference).max() < 1e-6
    assert abs(difference.mean()) < 1e-7


@pytest.mark.parametrize("on_device", [False, True])
def test_the_step_is_traced_for_one_program_only(on_device):
    traces = []

    def counted(state, batch):
        traces.append(batch["inputs"].shape)
        return toy.step(state, batch)

    with jax.log_compiles(), pytest.MonkeyPatch.context() as patch:
        compiled = []
        lower = jax.stages.Lowered.compile
        patch.setattr(
            jax.stages.Lowered, "compile", lambda self, *a: compiled.append(1) or lower(self, *a)
        )
        fit(counted, toy.state(), toy.batches, steps=25, on_device=on_device, **QUIET)
    assert len(compiled) == 1
    # a loop on the device traces its body for shapes, too; 25 steps in 3 chunks add nothing
    assert len(traces) <= 4


def test_another_run_of_the_same_step_compiles_nothing():
    traces = []

    def counted(state, batch):
        traces.append(0)
        return toy.step(state, batch)

    first = fit(counted, toy.state(), toy.batches, steps=12, **QUIET)
    traces.clear()
    again = fit(counted, toy.state(), toy.batches, steps=12, **QUIET)
    assert not traces
    assert toy.bits(first.state) == toy.bits(again.state)


def convolved(state, batch):
    twice = jax.checkpoint(
        lambda x: jax.lax.fori_loop(0, 2, lambda _, y: jnp.convolve(y, jnp.ones(3), "same"), x)
    )
    new, metrics = toy.step(state, batch)
    return new, metrics | {"extra": twice(batch["labels"]).sum()}


@pytest.mark.parametrize("step, loops", [(toy.step, 1), (convolved, 0)], ids=["dense", "conv"])
def test_only_convolutions_leave_the_loop_on_the_cpu(step, loops, monkeypatch):
    programs = []
    lower = jax.stages.Lowered.compile
    monkeypatch.setattr(
        jax.stages.Lowered, "compile", lambda self, *a: programs.append(self) or lower(self, *a)
    )
    done = fit(step, toy.state(), toy.batches, steps=12, **QUIET)
    (program,) = programs
    carried = [leaf.shape for leaf in jax.tree.leaves(program.in_avals) if leaf.ndim == 3]
    assert carried == [(10, toy.ROWS, toy.WIDTH)] * loops
    assert toy.bits(done.state) == toy.bits(
        fit(step, toy.state(), toy.batches, steps=12, on_device=bool(loops), **QUIET).state
    )


def test_evaluation_joins_the_row_of_its_step():
    done = fit(
        toy.step,
        toy.state(),
        toy.batches,
        steps=10,
        evaluate=toy.evaluate,
        evaluate_every=4,
        **QUIET,
    )
    assert [r["step"] for r in done.history if "validation/error" in r] == [4, 8, 10]
    assert done.history[-1]["validation/error"] == toy.evaluate(done.state)["validation/error"]


def test_evaluation_under_the_name_of_a_training_metric_is_refused():
    """It would replace the batch's number in one row of many, and the two would look alike."""
    judge = lambda state: {"loss": 0.0}
    with pytest.raises(ValueError, match=r"both measure \['loss'\]"):
        fit(toy.step, toy.state(), toy.batches, steps=4, evaluate=judge, **QUIET)


def test_stops_early_and_keeps_the_best_state():
    values = iter([0.1, 0.5, 0.4, 0.3, 0.9])
    seen = []

    def evaluate(state):
        seen.append(toy.bits(state))
        return {"validation/accuracy": next(values)}

    done = fit(
        toy.step,
        toy.state(),
        toy.batches,
        steps=50,
        evaluate=evaluate,
        evaluate_every=5,
        monitor="validation/accuracy",
        patience=2,
        **QUIET,
    )
    assert done.steps == 20
    assert int(done.best.step) == 10
    assert toy.bits(done.best) == seen[1]


def test_callbacks_see_the_state_after_every_chunk():
    seen = []
    fit(
        toy.step,
        toy.state(),
        toy.batches,
        steps=12,
        chunk=5,
        callbacks=[lambda at, state, row: seen.append((at, int(state.step), row["step"]))],
        **QUIET,
    )
    assert seen == [(5, 5, 5), (10, 10, 10), (12, 12, 12)]


def test_seeds_can_be_stacked():
    states = jax.vmap(lambda seed: toy.state()._replace(key=jax.random.key(seed)))(jnp.arange(3))
    together = fit(jax.vmap(toy.step, in_axes=(0, None)), states, toy.batches, steps=7, **QUIET)
    assert len(together.history[-1]["loss"]) == 3
    for seed in range(3):
        alone = fit(toy.step, toy.state(seed), toy.batches, steps=7, **QUIET)
        np.testing.assert_allclose(
            together.state.params["w"][seed], alone.state.params["w"], rtol=1e-5
        )


def poisoned(at):
    batch = toy.batches(at)
    return batch | {"labels": batch["labels"] * (np.nan if at == 13 else 1)}


@pytest.mark.parametrize("on_device", [False, True])
def test_a_loss_that_is_not_finite_stops_the_run(on_device):
    with pytest.raises(
        Diverged, match=r"loss is not finite at step 14; parameters were finite;"
    ) as error:
        fit(toy.step, toy.state(), poisoned, steps=40, on_device=on_device, **QUIET)
    assert error.value.step == 14
    done = fit(toy.step, toy.state(), poisoned, steps=20, on_nan="ignore", **QUIET)
    assert np.isnan(done.history[13]["loss"])
    assert done.steps == 20


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize(
    "place, at, bad",
    [
        ("loss", 14, "parameters were finite;"),
        ("both", 14, "parameters were finite;"),
        ("gradient", 15, "not finite before it: w;"),
    ],
)
@pytest.mark.parametrize("chunk", [1, 7, 10])
def test_nan_is_named_wherever_it_begins(place, at, bad, on_device, chunk):
    """In the loss alone, with a parameter, or in one gradient leaf, whose loss is the next one.

    Every step after it spreads it over all parameters, and two chunks may follow before it is seen.
    """

    def step(state, batch):
        factor = jnp.where(state.step == 13, jnp.nan, 1.0)
        new, values = toy.step(state, batch)
        if place != "gradient":
            values = values | {"loss": factor * values["loss"]}
        if place != "loss":
            new = new._replace(params=new.params | {"w": factor * new.params["w"]})
        return new, values

    with pytest.raises(Diverged, match=f"loss is not finite at step {at}; .*{bad}"):
        fit(step, toy.state(), toy.batches, steps=40, on_device=on_device, chunk=chunk, **QUIET)


def memory(state, batch):
    """The toy's step with a running mean of its inputs, as norms keep it."""
    mean = 0.9 * state.state["mean"] + 0.1 * batch["inputs"].mean()
    new, values = toy.step(state, batch)
    return new._replace(state={"mean": mean, "best": state.state["best"]}), values


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("place", ["loss", "gradient", "batch"])
def test_a_skipped_step_leaves_all_but_the_step_number_as_it_was(place, on_device):
    """The end is that of a run, by hand, that never took that step."""

    def step(state, batch):
        factor = jnp.where(state.step == 13, jnp.nan, 1.0)
        new, values = memory(state, batch)
        if place == "loss":
            values = values | {"loss": factor * values["loss"]}
        if place == "gradient":
            new = new._replace(
                opt_state=new.opt_state | {"w": new.opt_state["w"].at[2].mul(factor)}
            )
        return new, values

    def broken(at):
        batch = toy.batches(at)
        return batch | {"inputs": batch["inputs"] * (np.nan if at == 13 else 1)}

    # an infinity that was always there is not the step's doing
    start = toy.state()._replace(state={"mean": jnp.float32(0), "best": jnp.float32(jnp.inf)})
    batches = broken if place == "batch" else toy.batches
    compiled = []
    with pytest.MonkeyPatch.context() as patch:
        lower = jax.stages.Lowered.compile
        patch.setattr(
            jax.stages.Lowered, "compile", lambda self, *a: compiled.append(1) or lower(self, *a)
        )
        done = fit(step, start, batches, steps=25, on_nan="skip", on_device=on_device, **QUIET)
    assert len(compiled) == 1
    now, once = start, jax.jit(memory)
    for at in range(25):
        now = now._replace(step=now.step + 1) if at == 13 else once(now, toy.batches(at))[0]
    assert int(done.state.step) == 25
    for have, want in zip(
        jax.tree.leaves((done.state.params, done.state.state, done.state.opt_state)),
        jax.tree.leaves((now.params, now.state, now.opt_state)),
        strict=True,
    ):
        np.testing.assert_allclose(have, want, rtol=1e-5)
    assert [row["step"] for row in done.history] == list(range(1, 26))
    losses = np.isfinite([row["loss"] for row in done.history])
    assert losses.all() if place == "gradient" else list(np.flatnonzero(~losses)) == [13]


def test_of_stacked_seeds_only_the_one_with_nan_skips():
    states = jax.vmap(lambda seed: toy.state()._replace(key=jax.random.key(seed)))(jnp.arange(2))

    def step(state, batch):
        hit = (state.step == 3) & (jax.random.key_data(state.key)[-1] == 1)
        new, values = toy.step(state, batch)
        return new, values | {"loss": jnp.where(hit, jnp.nan, values["loss"])}

    both = jax.vmap(step, in_axes=(0, None))
    before = fit(both, states, toy.batches, steps=3, on_nan="skip", **QUIET).state
    after = fit(both, states, toy.batches, steps=4, on_nan="skip", **QUIET).state
    same = np.asarray(before.params["w"] == after.params["w"]).all(1)
    assert same.tolist() == [False, True]
    assert after.step.tolist() == [4, 4]


def test_a_context_goes_whole_to_every_step_and_once_to_the_device():
    shared = {"factor": np.float32(2)}

    def with_context(at):
        return toy.batches(at) | {"context": shared if at < 7 else {"factor": np.float32(3)}}

    def step(state, batch):
        return state._replace(step=state.step + 1), {"loss": batch["context"]["factor"]}

    for on_device in (False, True):
        done = fit(step, toy.state(), with_context, steps=9, on_device=on_device, **QUIET)
        assert [row["loss"] for row in done.history] == [2.0] * 7 + [3.0] * 2


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda b: b | {"inputs": b["inputs"].astype(np.float16)},
            r"batches\(3\): inputs is not like in batches\(0\): expected float32 \[16, 5\], "
            r"found float16 \[16, 5\]",
        ),
        (lambda b: b | {"labels": b["labels"][:, None]}, r"expected float32 \[16\], found .*16, 1"),
        (lambda b: {"inputs": b["inputs"]}, r"labels .* found no such leaf"),
        (lambda b: b | {"labels": np.array(["a"] * 16)}, r"labels has dtype <U1; expected numbers"),
    ],
)
def test_a_batch_unlike_the_first_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        fit(
            toy.step,
            toy.state(),
            lambda at: (change if at == 3 else dict)(toy.batches(at)),
            steps=9,
            **QUIET,
        )


def test_a_step_that_changes_a_dtype_is_refused():
    def step(state, batch):
        new, metrics = toy.step(state, batch)
        return new._replace(params=jax.tree.map(lambda p: p.astype(jnp.bfloat16), new.params)), {
            **metrics
        }

    with pytest.raises(
        ValueError, match=r"changed params/b: expected float32 \[\], found bfloat16"
    ):
        fit(step, toy.state(), toy.batches, steps=2, **QUIET)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"steps": 0}, "steps=0"),
        ({"steps": 5, "chunk": 0}, "chunk=0"),
        ({"steps": 5, "mode": "best"}, "mode='best'"),
        ({"steps": 5, "on_nan": "cry"}, "on_nan='cry'"),
        ({"steps": 5, "monitor": "x"}, "needs evaluate"),
        ({"steps": 5, "evaluate": toy.evaluate, "patience": 3}, "needs monitor"),
        ({"steps": 5, "evaluate": toy.evaluate, "monitor": "acc"}, "'acc' is not among .*error"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit(toy.step, toy.state(), toy.batches, **arguments, **QUIET)
