"""Recurrent layers for one step, their hidden state in the collection `"sequence"`."""

from typing import Literal

import jax
from flax import linen

from jaxlearn.core import SEQUENCE, Model, from_linen, through_time

CELLS = {"rnn": linen.SimpleCell, "gru": linen.GRUCell, "lstm": linen.LSTMCell}


class Recurrent(linen.Module):
    """One step of a recurrent layer; the output is its hidden state h.

    `"rnn"`: `h' = tanh(x W_i + b + h W_h)`; `"gru"` and `"lstm"` as in Linen. The state starts at
    zero, is handed from step to step by `over_time`, `read_last` and `through_time`, and ends with
    the sequence; whether gradients run through it is decided there.

    Attributes:
        width: units.
        cell: which kind.
    """

    width: int
    cell: Literal["rnn", "gru", "lstm"] = "rnn"

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map the input of this step `[batch, ...]` to `[batch, width]`."""
        x = x.reshape(x.shape[0], -1)
        cell = CELLS[self.cell](self.width, name="cell")
        start = lambda: cell.initialize_carry(jax.random.key(0), x.shape)
        carry = self.variable(SEQUENCE, "carry", start)
        after, y = cell(carry.value, x)
        if not self.is_initializing():
            # as wide as it came: float64 inputs make no carry that a scan would refuse
            carry.value = jax.tree.map(lambda new, old: new.astype(old.dtype), after, carry.value)
        return y


def recurrent(width: int, cell: Literal["rnn", "gru", "lstm"] = "rnn") -> Model:
    """The layer as a model.

    Raises:
        ValueError: for an unknown kind of cell.

    Example:
        >>> model = recurrent(5, "gru")
        >>> x = jax.numpy.ones((2, 3))
        >>> params, state = jax.eval_shape(model.init, jax.random.key(0), x)
        >>> jax.eval_shape(model.apply, params, state, x)[0].shape
        (2, 5)
    """
    if cell not in CELLS:
        raise ValueError(f"unknown cell {cell!r}, expected one of {[*CELLS]}")
    return from_linen(Recurrent(width, cell))


def examples() -> dict[str, tuple[Model, jax.Array]]:
    """Three steps of each kind, for the battery of models: the first knows no past."""
    x = jax.random.normal(jax.random.key(0), (4, 3))
    kinds = ("rnn", "gru", "lstm")
    return {f"recurrent-{kind}": (through_time(recurrent(5, kind), 3), x) for kind in kinds}
