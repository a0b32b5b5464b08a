"""Models from Flax Linen modules, Flax NNX modules and plain functions."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
from flax import linen, nnx
from flax.core import DenyList

from jaxlearn.core.contracts import SEQUENCE, Key, Model, Params, PyTree, State


def from_functions(
    init: Callable[[Key, PyTree], Params], apply: Callable[[Params, PyTree], PyTree]
) -> Model:
    """A model without state from `init(key, x) -> params` and `apply(params, x) -> y`.

    Example:
        >>> half = from_functions(lambda key, x: {}, lambda params, x: x / 2)
        >>> half.apply({}, {}, 4.0)[0]
        2.0
    """

    def stateful(params: Params, state: State, x: PyTree, *, train: bool = False, key=None):
        del train, key
        return apply(params, x), state

    return Model(lambda key, x: (init(key, x), {}), stateful)


def from_linen(module: linen.Module) -> Model:
    """A model from a Linen module `y = module(x)` or `module(x, train)`.

    Variable collections become state collections; a variable in the collection `"sequence"` lives
    for one sequence. A key given to `apply` feeds the `"dropout"` stream.
    """
    takes_train = "train" in inspect.signature(type(module).__call__).parameters

    def flags(train: bool) -> dict[str, Any]:
        return {"train": train} if takes_train else {}

    def init(key: Key, x: PyTree) -> tuple[Params, State]:
        variables = dict(module.init(key, x, **flags(False)))
        return variables.pop("params", {}), variables

    def apply(params: Params, state: State, x: PyTree, *, train: bool = False, key=None):
        rngs = {} if key is None else {"dropout": key}
        mutable = DenyList(("params", "intermediates", "perturbations"))
        variables = {"params": params, **state}
        y, new = module.apply(variables, x, **flags(train), rngs=rngs, mutable=mutable)
        return y, {**state, **new}

    return Model(init, apply)


class SequenceVariable(nnx.Variable):
    """An NNX variable that lives for one sequence, such as a membrane potential."""


def from_nnx(build: Callable[[nnx.Rngs], nnx.Module]) -> Model:
    """A model from a function that builds an NNX module, called as `y = module(x)`.

    `nnx.Param` variables become the parameters, `SequenceVariable` the collection `"sequence"`, all
    others the collection `"variables"`. `train` switches the module between `.train()` and
    `.eval()`; a key given to `apply` reseeds its random streams.
    """

    def split(module: nnx.Module):
        return nnx.split(module, nnx.Param, SequenceVariable, ...)

    def abstract(train: bool) -> nnx.Module:
        module = nnx.eval_shape(lambda: build(nnx.Rngs(0)))
        (module.train if train else module.eval)()
        return module

    def init(key: Key, x: PyTree) -> tuple[Params, State]:
        del x
        _, params, sequence, variables = split(build(nnx.Rngs(key)))
        state = {SEQUENCE: nnx.to_pure_dict(sequence), "variables": nnx.to_pure_dict(variables)}
        return nnx.to_pure_dict(params), {name: c for name, c in state.items() if c}

    def apply(params: Params, state: State, x: PyTree, *, train: bool = False, key=None):
        if SEQUENCE not in state:
            state = {**init(jax.random.key(0), x)[1], **state}
        graph, *shapes = split(abstract(train))
        values = (params, state.get(SEQUENCE, {}), state.get("variables", {}))
        for shape, value in zip(shapes, values, strict=True):
            nnx.replace_by_pure_dict(shape, value)
        module = nnx.merge(graph, *shapes)
        if key is not None:
            nnx.reseed(module, default=key, dropout=key)
        y = module(x)
        _, _, sequence, variables = split(module)
        new = {SEQUENCE: nnx.to_pure_dict(sequence), "variables": nnx.to_pure_dict(variables)}
        return y, state | {name: c for name, c in new.items() if name in state}

    return Model(init, apply)
