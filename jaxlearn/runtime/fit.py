"""The training loop: one function, read from top to bottom."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxlearn.core.contracts import Batch, PyTree, TrainState
from jaxlearn.core.step import Step
from jaxlearn.runtime import checkpoint, metrics
from jaxlearn.runtime.checkpoint import CheckpointError
from jaxlearn.runtime.chunk import Result, convolves, device_loop, host_loop
from jaxlearn.runtime.feed import Piece, Take, feed, place_context, requests
from jaxlearn.runtime.finite import STOP, WAYS, Diverged, bad_leaves, diverged, first_bad
from jaxlearn.runtime.pace import pacer
from jaxlearn.runtime.parallel import distribute
from jaxlearn.runtime.processes import on_first
from jaxlearn.runtime.progress import bar
from jaxlearn.runtime.sharding import layout
from jaxlearn.runtime.signals import EXIT, termination
from jaxlearn.runtime.stopping import Stopping
from jaxlearn.runtime.workdir import WorkdirError, bind, locked

SAVE, LEAVE = 1, 2  # requests, in the order of their weight
SAVE_SECONDS = 600.0
AT_AN_END = (Diverged, WorkdirError, CheckpointError)
"""Errors after which there is nothing to save, or nowhere."""


class Fitted(NamedTuple):
    """What a run leaves.

    Attributes:
        state: after the last step.
        best: as it was at the best value of the monitored metric; `None` without `monitor`.
        history: one dict per step with `"step"` and its metrics, and what `evaluate` said there.
        steps: the steps taken, fewer than asked for after early stopping.
    """

    state: TrainState
    best: TrainState | None
    history: list[dict[str, Any]]
    steps: int


def fit(
    step: Step,
    state: TrainState,
    batches: Callable[[int], Batch],
    *,
    steps: int,
    mesh: Mesh | None = None,
    chunk: int = 10,
    on_device: bool | None = None,
    evaluate: Callable[[TrainState], dict[str, float]] | None = None,
    evaluate_every: int | None = None,
    monitor: str | None = None,
    mode: str = "max",
    patience: int | None = None,
    workdir: str | Path | None = None,
    config: Mapping[str, Any] | None = None,
    save_every: int | None = None,
    keep: int = 2,
    callbacks: Sequence[Callable[[int, TrainState, dict], None]] = (),
    progress: bool = True,
    on_nan: str = "stop",
    name: str = "",
) -> Fitted:
    """Take `steps` steps, and leave something to resume from.

    With a workdir, a run that was killed at any moment and is called again ends with the same bits
    as one that was not; a finished one returns at once. SIGTERM saves after the running chunk and
    raises `SystemExit(143)`. When `evaluate`, a callback or `batches` fails, a run of one process
    saves what it has trained, and the next call begins with what failed.

    Args:
        step: `(state, batch) -> (state, metrics)`, pure; compiled once, also over several calls
            with the very same function (seeds, a resumed run) and batches of one shape.
        state: the state to start from, which stays usable: a `TrainState` or any NamedTuple with
            `step` and `params`, also one stacked over seeds (then `step` is `[seeds]`).
        batches: host batch of a step; of several processes each brings its own rows.
        steps: the step to end at.
        mesh: devices that share every batch; one device by default. On a mesh with an axis
            `"model"` large arrays of the state are shared out too, see `distribute`.
        chunk: steps between two looks at the metrics.
        on_device: loop over a chunk on the device, which spares the dispatch of each step. The
            default, but for steps with XLA's own convolutions on the CPU, whose gradients it runs
            5 to 180 times slower inside a loop (`jaxlearn.models.layers.conv` has others).
        evaluate: `evaluate(state) -> {"validation/accuracy": ...}`, called every `evaluate_every`
            steps and after the last one. Its names must not be those of the step's own metrics,
            beside which they stand in the history.
        evaluate_every: as said; only after the last step by default.
        monitor: the value of `evaluate` to keep the best state by. Choose one of validation data.
        mode: `"max"` if larger is better, or `"min"`. Of values per seed the mean decides.
        patience: stop after so many evaluations in a row without improvement.
        workdir: folder of checkpoints, metrics and lock.
        config: tied to the workdir; another one is refused.
        save_every: steps between checkpoints; by default one every ten minutes and one at the end.
        keep: checkpoints to keep, at least 2.
        callbacks: `callback(step, state, metrics)` after every chunk; the state may be read, not
            kept: the next chunk consumes it.
        progress: show a bar, or plain lines where there is no terminal.
        on_nan: `"stop"` raises at a loss that is not finite. `"skip"` does not take a step that
            gives a loss, or any number of the state, that is not finite: parameters, collections
            and the transform's state stay as they were before it, and the next batch is taken
            (`finite.kept`). `"ignore"` goes on.
        name: of the run, for the bar.

    Raises:
        Diverged: at a loss that is not finite; it names the parameters that were not finite
            before that step, where NaN began in one. Metrics up to that step are written, the last
            good checkpoint is kept.
        WorkdirError: when the workdir is in use, or of another config.
        CheckpointError: when saving fails, all checkpoints are damaged, or they do not fit.
        ValueError: for other bad arguments, and a batch that is not like the first.

    Example:
        >>> import jax.numpy as jnp
        >>> def step(state, batch):
        ...     return state._replace(step=state.step + 1), {"loss": batch["inputs"].mean()}
        >>> state = TrainState(jnp.int32(0), {}, {}, (), jax.random.key(0))
        >>> fit(step, state, lambda s: {"inputs": np.ones(4)}, steps=3, progress=False).steps
        3
    """
    _check(steps, chunk, evaluate, evaluate_every, monitor, mode, patience, save_every, on_nan)
    if workdir is not None and mesh is None and jax.process_count() > 1:
        raise ValueError("several processes share this workdir; pass mesh=every_device() to share")
    first_process = jax.process_index() == 0
    with ExitStack() as stack:
        folder = _enter(stack, workdir, config)
        terminated = stack.enter_context(termination())
        state = distribute(state, mesh)
        start = _position(state)
        run = _resume(folder, state, start)
        written = run.position - (run.owed is not None)
        history = metrics.read(folder, written) if folder else []
        if run.owed is None and (run.stopping.stopped or run.position >= steps):
            return Fitted(run.state, run.best, history, run.position)
        run = run._replace(fine=place_context({"fine": np.bool_(True)}, mesh)["fine"])
        log = stack.enter_context(metrics.open_log(folder if first_process else None, written))
        shown = stack.enter_context(
            bar(steps, run.position, name=name, show=progress and first_process)
        )
        request, pace = requests(mesh), pacer()
        nothing, clock, alone = request(0), time.monotonic(), jax.process_count() == 1
        limit = _limiter(steps, evaluate_every if evaluate else None, save_every)

        def settle(result: Result, state: PyTree) -> list[dict[str, Any]]:
            rows = result.rows()
            bad = first_bad(rows) if on_nan == STOP else None
            if bad is not None:
                log.write(rows[: bad + 1])
                raise diverged(rows[bad]["step"], state.params)
            return rows

        def record(rows: list[dict[str, Any]]) -> None:
            log.write(rows)
            history.extend(rows)
            for row in rows[-1:]:
                shown.show(row["step"], row)

        def look(run: _Run, rows: list[dict[str, Any]]) -> _Run:
            if evaluate and _due(run.position, steps, evaluate_every):
                rows[-1] |= _beside(rows[-1], evaluate(run.state))
                run = _judged(run, rows[-1], monitor, mode, patience)
            for callback in callbacks:
                callback(run.position, run.state, rows[-1])
            record(rows)
            return run

        def save(run: _Run) -> None:
            if folder is None:
                return
            if on_nan == STOP and bad_leaves(run.state.params):
                raise diverged(run.position, run.state.params, "a parameter")
            log.sync()
            _save(folder, run, keep)

        def rescue(run: _Run, pending: list[Result], error: Exception) -> None:
            try:
                rows = [row for result in pending for row in settle(result, run.state)]
                last = history[-1]["step"] if history else 0
                record([row for row in rows[:-1] if row["step"] > last])
                save(run._replace(owed=rows[-1]))
            except Exception as again:
                error.add_note(f"nor could the steps before it be saved: {again}")

        if run.owed is not None:
            run = look(run._replace(owed=None), [run.owed])
            save(run)
            if run.stopping.stopped or run.position >= steps:
                return Fitted(run.state, run.best, history, run.position)

        shown.say("compiling")

        def loop(on_device: bool) -> tuple[Take, Piece, jax.stages.Traced]:
            take = feed(batches, mesh, chunk, on_device)
            piece = take(run.position, limit(run.position))
            program = device_loop if on_device else host_loop
            arguments = (layout(run.state, mesh), run.state, run.fine, *piece.parts[0], nothing)
            return take, piece, program.trace(step, on_nan, mesh, *arguments)

        take, upcoming, traced = loop(on_device is not False)
        slow = on_device is None and jax.default_backend() == "cpu"
        if slow and convolves(traced.jaxpr.jaxpr, "cpu"):
            take, upcoming, traced = loop(False)
        program = traced.lower().compile()
        shown.say(f"compiled in {time.monotonic() - clock:.1f} s")
        pending: list[Result] = []

        try:
            while run.position < steps and not run.stopping.stopped:
                wish = _wish(terminated.is_set(), folder is not None and save_every is None, clock)
                run, result = _dispatch(
                    program, run, upcoming, request(wish) if wish else nothing, pace
                )
                pending.append(result)
                # from here to the next wait the host works while the device computes
                if run.position < steps:
                    upcoming = take(run.position, limit(run.position))
                agreed = wish if alone else 0  # in company it comes back with the chunk
                if len(pending) > 1:
                    before = pending.pop(0)
                    record(settle(before, run.state))
                    agreed = max(agreed, int(before.request))
                if alone and terminated.is_set():
                    agreed = LEAVE

                judging = evaluate is not None and _due(run.position, steps, evaluate_every)
                saving = folder is not None and _due(run.position, steps, save_every)
                if not (agreed or callbacks or saving or judging or run.position >= steps):
                    continue
                run = look(run, settle(result, run.state))
                pending.clear()
                agreed = max(agreed, int(result.request))
                if alone and terminated.is_set():
                    agreed = LEAVE
                if saving or agreed or run.stopping.stopped:
                    save(run)
                    clock = time.monotonic()
                if agreed == LEAVE:
                    raise SystemExit(EXIT)
        except Exception as error:
            # in company the others may not have failed, and saving takes all
            if folder and alone and pending and not isinstance(error, AT_AN_END):
                rescue(run, pending, error)
            raise
        return Fitted(run.state, run.best, history, run.position)


def _beside(row: Mapping[str, Any], judged: Mapping[str, Any]) -> Mapping[str, Any]:
    if twice := sorted(row.keys() & judged.keys()):
        raise ValueError(
            f"evaluate and the step both measure {twice}; name evaluate's apart, as 'test/accuracy'"
        )
    return judged


class _Run(NamedTuple):
    state: PyTree
    position: int
    stopping: Stopping = Stopping()
    best: PyTree | None = None
    fine: Any = None
    owed: dict[str, Any] | None = None  # the last row, where what was due after it failed


def _check(
    steps: int,
    chunk: int,
    evaluate: Callable | None,
    evaluate_every: int | None,
    monitor: str | None,
    mode: str,
    patience: int | None,
    save_every: int | None,
    on_nan: str,
) -> None:
    numbers = {
        "steps": steps,
        "chunk": chunk,
        "evaluate_every": evaluate_every,
        "patience": patience,
        "save_every": save_every,
    }
    for argument, value in numbers.items():
        if value is not None and value < 1:
            raise ValueError(f"{argument}={value}; it has to be 1 or more")
    if mode not in ("max", "min"):
        raise ValueError(f"mode={mode!r}; expected 'max' or 'min'")
    if on_nan not in WAYS:
        raise ValueError(f"on_nan={on_nan!r}; expected one of {', '.join(WAYS)}")
    if monitor is not None and evaluate is None:
        raise ValueError(f"monitor={monitor!r} needs evaluate, which returns it")
    if patience is not None and monitor is None:
        raise ValueError(f"patience={patience} needs monitor, the value to watch")


def _enter(
    stack: ExitStack, workdir: str | Path | None, config: Mapping[str, Any] | None
) -> Path | None:
    if workdir is None:
        return None

    def claim() -> None:
        stack.enter_context(locked(workdir))
        if config is not None:
            bind(workdir, config)

    on_first(claim)
    return Path(workdir)


def _position(state: PyTree) -> int:
    return int(np.asarray(jax.device_get(state.step)).ravel()[0])


def _resume(folder: Path | None, state: PyTree, start: int) -> _Run:
    def like(notes: dict[str, Any]) -> PyTree:
        return {"state": state} | ({"best": state} if notes["has_best"] else {})

    saved = checkpoint.restore(folder / "checkpoints", like) if folder else None
    if saved is None:
        return _Run(state, start)
    stopping = Stopping(**saved.notes["stopping"])
    best, owed = saved.tree.get("best"), saved.notes.get("owed")
    return _Run(saved.tree["state"], saved.step, stopping, best, owed=owed)


def _save(folder: Path, run: _Run, keep: int) -> None:
    tree = {"state": run.state} | ({} if run.best is None else {"best": run.best})
    notes = {"stopping": run.stopping._asdict(), "has_best": run.best is not None, "owed": run.owed}
    checkpoint.save(folder / "checkpoints", run.position, tree, notes, keep)


def _dispatch(
    program: jax.stages.Compiled,
    run: _Run,
    piece: Piece,
    asked: Any,
    pace: Callable[[PyTree], PyTree],
) -> tuple[_Run, Result]:
    state, fine, found = run.state, run.fine, []
    for part in piece.parts:
        state, fine, values, agreed = program(state, fine, *part, asked)
        found.append(pace(values))
    counts = [int(n) for _, _, n in piece.parts]
    run = run._replace(state=state, fine=fine, position=run.position + piece.count)
    return run, Result(run.position - piece.count, counts, found, agreed)


def _limiter(steps: int, *every: int | None) -> Callable[[int], int]:
    """The next step at which something is due, for a chunk to end there."""
    return lambda at: min([steps, *(at - at % period + period for period in every if period)])


def _due(position: int, steps: int, every: int | None) -> bool:
    return position >= steps or (every is not None and position % every == 0)


def _wish(terminated: bool, timed: bool, clock: float) -> int:
    late = timed and time.monotonic() - clock > SAVE_SECONDS
    return LEAVE if terminated else SAVE if late else 0


def _judged(
    run: _Run, row: dict[str, Any], monitor: str | None, mode: str, patience: int | None
) -> _Run:
    if monitor is None:
        return run
    if monitor not in row:
        raise ValueError(f"monitor={monitor!r} is not among {sorted(row)}; name one of these")
    value = float(np.mean(row[monitor]))
    stopping = run.stopping.after(value, run.position, mode, patience)
    if stopping.step != run.position:
        return run._replace(stopping=stopping)
    return run._replace(stopping=stopping, best=distribute(run.state, None))
