"""Feedback alignment: the backward pass runs through other weights than the forward pass.

Lillicrap, Cownden, Tweed, Akerman, "Random synaptic feedback weights support error backpropagation
for deep learning", Nature Communications 7, 2016 (fixed random weights); Liao, Leibo, Poggio, "How
important is weight symmetry in backpropagation?", AAAI 2016 (arXiv 1510.05067; weights that share
the forward weights' signs).
"""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen
from jax import lax

from jaxlearn.core import FROZEN, Key, Model, Objective, Params, PyTree, Rule, State, stack, trees
from jaxlearn.models.layers.conv import Conv
from jaxlearn.objectives import cross_entropy
from jaxlearn.rules.backprop import backprop

Feedback = Literal["random", "sign", "random_sign"]
FEEDBACK = "feedback"
AFFINE = (linen.Dense, linen.Conv, Conv)
"""Layers `x -> A(kernel) x + bias`, linear in x: their backward pass needs the kernel alone."""


def feedback_alignment(
    blocks: Sequence[Model],
    classifier: Model,
    *,
    objective: Objective = cross_entropy,
    feedback: Feedback = "random",
) -> Rule:
    """Backpropagation with other weights: `delta_{i-1} = (B_i^T delta_i) sigma'(z_{i-1})`.

    Every weight's own gradient is as ever; only what a layer hands down is changed. It is
    `backprop` over layers `with_feedback`, and so goes with everything `backprop` goes with.

    Args:
        blocks: the hidden layers, made of Linen's Dense and Conv and whatever has no kernels.
        classifier: from the last block's output to what the objective takes.
        objective: the loss.
        feedback: what B is, see `with_feedback`.

    Example:
        >>> from jaxlearn.models.tiny import tiny_blocks, tiny_head
        >>> rule = feedback_alignment(tiny_blocks(), tiny_head(), feedback="sign")
    """
    layers = [with_feedback(layer, feedback) for layer in [*blocks, classifier]]
    return backprop(stack(layers), objective)


def with_feedback(model: Model, feedback: Feedback = "random") -> Model:
    """The same model with feedback weights B in its backward pass by the inputs.

    `"random"`: B is a second draw of the model's own initialisation and stays. `"sign"`: `B = s
    sign(W)` with the W of the moment, s the root mean square of W at initialisation.
    `"random_sign"`: `B = |R| sign(W)` with a fixed draw R. B is frozen state.

    Args:
        model: made of Linen modules; kernels may be those of Dense and Conv only.
        feedback: which kind.

    Raises:
        ValueError: for another kind; when first applied, if a kernel belongs to another layer.
    """
    if feedback not in ("random", "sign", "random_sign"):
        raise ValueError(f"feedback must be 'random', 'sign' or 'random_sign', found {feedback!r}")

    def init(key: Key, x: PyTree) -> tuple[Params, State]:
        params, state = model.init(key, x)
        drawn = model.init(jax.random.fold_in(key, 1), x)[0]
        rms = lambda kernel: jnp.sqrt(jnp.mean(kernel**2))
        made = jax.tree.map(rms, params) if feedback == "sign" else drawn
        frozen = state.get(FROZEN, {}) | {FEEDBACK: _kernels(made, params)}
        return params, state | {FROZEN: frozen}

    def apply(params: Params, state: State, x: PyTree, *, train: bool = False, key=None):
        kernels, fixed = _kernels(params, params), state[FROZEN][FEEDBACK]
        if feedback != "random":
            fixed = {path: jnp.abs(fixed[path]) * jnp.sign(w) for path, w in kernels.items()}
        fixed = lax.stop_gradient(fixed)
        met: set[str] = set()
        inner = {name: value for name, value in state[FROZEN].items() if name != FEEDBACK}
        rest = state | {FROZEN: inner} if inner else _without_frozen(state)
        with linen.intercept_methods(_interceptor(kernels, fixed, met)):
            y, new = model.apply(params, rest, x, train=train, key=key)
        if left := sorted(set(kernels) - met):
            raise ValueError(
                f"the kernel {left[0]} is none of a Dense or Conv layer of Linen; "
                "feedback alignment does not know its backward pass"
            )
        return y, new | {FROZEN: new.get(FROZEN, {}) | {FEEDBACK: state[FROZEN][FEEDBACK]}}

    return Model(init, apply)


def _kernels(tree: PyTree, like: PyTree) -> dict[str, jax.Array]:
    """The leaves of a tree by path, where `like` has kernels."""
    shapes = jax.tree.leaves_with_path(like)
    leaves = jax.tree.leaves(tree)
    paths = [trees.path(keys) for keys, _ in shapes]
    return {path: leaf for path, leaf in zip(paths, leaves, strict=True) if path.endswith("kernel")}


def _interceptor(kernels: dict[str, jax.Array], fixed: dict[str, jax.Array], met: set[str]):
    # a layer is known by its kernel, the very array that is a leaf of the parameters: names repeat
    # from block to block
    names = {id(kernel): path for path, kernel in kernels.items()}
    handing_down: list[str] = []

    def intercept(call, args, kwargs, context):
        layer = context.module
        if not isinstance(layer, AFFINE) or context.method_name != "__call__":
            return call(*args, **kwargs)
        own = layer.variables.get("params", {})
        path = names.get(id(own.get("kernel")))
        if path is None or handing_down:
            return call(*args, **kwargs)
        met.add(path)
        (x,) = args
        back = {"params": lax.stop_gradient(dict(own)) | {"kernel": fixed[path]}}
        handing_down.append(path)
        handed = layer.clone(parent=None).apply(back, x)
        handing_down.pop()
        return _two_ways(call(lax.stop_gradient(x)), handed)

    return intercept


@jax.custom_vjp
def _two_ways(forward: jax.Array, backward: jax.Array) -> jax.Array:
    """The value of one, with the gradient handed to both."""
    del backward
    return forward


_two_ways.defvjp(lambda forward, backward: (forward, None), lambda _, g: (g, g))


def _without_frozen(state: State) -> State:
    return {name: value for name, value in state.items() if name != FROZEN}


def examples() -> dict[str, Rule]:
    """With random weights and with the forward weights' signs, on dense layers."""
    from jaxlearn.models.tiny import tiny_blocks, tiny_head

    return {
        f"feedback-{kind}": feedback_alignment(tiny_blocks(), tiny_head(), feedback=kind)
        for kind in ("random", "sign", "random_sign")
    }
