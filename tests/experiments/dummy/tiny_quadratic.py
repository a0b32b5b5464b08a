"""A tiny quadratic as an experiment."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from experiments.harness import Bench, Claim, Experiment, Peer, Program, Row, each_seed, main


@dataclass(frozen=True)
class Config:
    """What decides a run."""

    learning_rate: float = 0.1
    steps: int = 20
    noise: Literal["none", "some"] = "none"
    batch: int = 512

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(f"steps must be positive, found {self.steps}")


def rows(config):
    """Return two rows."""
    return [
        Row("slow", config, {"loss": 0.5}),
        Row("fast", replace(config, learning_rate=0.4)),
    ]


@each_seed
def train(config, seed, run):
    """Descend on x²/2 from a random start."""
    x = 1 + np.random.default_rng(seed).random()
    for _ in range(config.steps):
        x -= config.learning_rate * x
    print("training prints this")
    calls = run.workdir.parent / "calls.txt"
    with calls.open("a") as log:
        log.write(f"{config.learning_rate} {seed}\n")
    stop = run.workdir.parent / f"stop-{config.learning_rate}-{seed}"
    if stop.exists():
        raise KeyboardInterrupt
    return {"loss": x * x / 2, "start": 1.0, "missing": math.nan}


def claims(measured):
    """Return one claim that holds and one that only scale shows."""
    gap = measured.gap("fast", "slow", "loss")
    figures = f"{measured.show('fast', 'loss')}, {measured.show('slow', 'loss')}"
    return [
        Claim("faster", "fast ends lower", gap < 0, figures, presets=("smoke", "small")),
        Claim(
            "below",
            "slow ends below 0.1",
            measured.mean("slow", "loss") < 0.1,
            figures,
            "few steps",
            ("smoke",),
        ),
        Claim("scale", "at scale too", False, "not run", presets=("paper",)),
    ]


def program(config):
    """Return a linear regression step."""
    import jax
    import jax.numpy as jnp

    from jaxlearn.core import axis

    def step(state, batch):
        def loss(w):
            return jnp.mean((batch["inputs"] @ w - batch["labels"]) ** 2)

        value, grad = jax.value_and_grad(loss)(state["w"])
        grad, value = axis.mean((grad, value))
        return {"w": state["w"] - 0.1 * grad}, {"loss": value}

    f = jnp.float32
    batch = {
        "inputs": jax.ShapeDtypeStruct((config.batch, 8), f),
        "labels": jax.ShapeDtypeStruct((config.batch,), f),
    }
    return Program(step, {"w": jax.ShapeDtypeStruct((8,), f)}, batch)


def bench():
    """Return two programs over arrays."""
    import jax
    import jax.numpy as jnp

    made = program(Config())
    state, batch = jax.tree.map(lambda s: jnp.ones(s.shape, s.dtype), (made.state, made.batch))
    ours = Program(made.step, state, batch)
    peers = {
        "again": Peer("numpy", lambda: lambda: np.ones(512) @ np.ones((512, 8))),
        "backprop": Peer("no_such_package", lambda: lambda: None),
    }
    return Bench({"backprop": ours, "again": ours}, peers)


def figure(table):
    """Return a bar per row."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(2, 2))
    axes = made.subplots()
    axes.bar([row["name"] for row in table["rows"]], [1 for _ in table["rows"]])
    return made


EXPERIMENT = Experiment(
    slug="tiny-quadratic",
    title="A tiny quadratic",
    paper="Nobody, 2026",
    slots=("rule",),
    Config=Config,
    presets={"smoke": Config(steps=3), "small": Config(), "paper": Config(steps=100)},
    rows=rows,
    train=train,
    claims=claims,
    program=program,
    bench=bench,
    figure=figure,
    metrics={"loss": "`x^2 / 2` at the end", "st*t": "always 1"},
    deviations=("It is not a paper.",),
)

if __name__ == "__main__":
    main(EXPERIMENT)
