"""A leaky cell with a readout in three dialects, the same mathematics in each."""

import jax
import jax.numpy as jnp
from flax import linen, nnx

from jaxlearn.core import SEQUENCE, Model, SequenceVariable, from_linen, from_nnx

LEAK = 0.7


class LinenCell(linen.Module):
    """`v <- LEAK * v + x W`, `y = tanh(v) U`."""

    @linen.compact
    def __call__(self, x):
        """One step."""
        drive = linen.Dense(5, name="drive")(x)
        v = self.variable(SEQUENCE, "v", jnp.zeros, drive.shape)
        potential = LEAK * v.value + drive
        if not self.is_initializing():
            v.value = potential
        return linen.Dense(3, name="readout")(jnp.tanh(potential))


class NnxCell(nnx.Module):
    """The same cell for NNX; the batch size is part of the variable."""

    def __init__(self, rngs: nnx.Rngs, features: int, batch: int):
        """Build with fixed sizes."""
        self.drive = nnx.Linear(features, 5, rngs=rngs)
        self.readout = nnx.Linear(5, 3, rngs=rngs)
        self.v = SequenceVariable(jnp.zeros((batch, 5)))

    def __call__(self, x):
        """One step."""
        self.v[...] = LEAK * self.v[...] + self.drive(x)
        return self.readout(jnp.tanh(self.v[...]))


def linen_cell() -> Model:
    """The cell as a Linen model."""
    return from_linen(LinenCell())


def nnx_cell(features: int, batch: int) -> Model:
    """The cell as an NNX model."""
    return from_nnx(lambda rngs: NnxCell(rngs, features, batch))


def plain_cell() -> Model:
    """The cell as a plain pair with state."""

    def init(key, x):
        params, _ = linen_cell().init(key, x)
        return params, {SEQUENCE: {"v": jnp.zeros((x.shape[0], 5))}}

    def apply(params, state, x, *, train=False, key=None):
        v = state[SEQUENCE]["v"] if SEQUENCE in state else jnp.zeros((x.shape[0], 5))
        v = LEAK * v + x @ params["drive"]["kernel"] + params["drive"]["bias"]
        y = jnp.tanh(v) @ params["readout"]["kernel"] + params["readout"]["bias"]
        return y, {SEQUENCE: {"v": v}}

    return Model(init, apply)


def frames(batch: int, time: int, features: int = 4):
    """A batch of sequences `[batch, time, features]` with labels."""
    key = jax.random.key(3)
    inputs = jax.random.normal(key, (batch, time, features))
    labels = jax.random.randint(key, (batch,), 0, 3)
    return {"inputs": inputs, "labels": labels, "index": jnp.arange(batch)}
