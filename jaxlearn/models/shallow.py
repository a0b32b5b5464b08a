"""Networks with one hidden layer, initialised as scikit-learn's perceptrons are."""

import jax
import jax.numpy as jnp

from jaxlearn.core import Key, Model, Params, State

ACTIVATIONS = {
    "logistic": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
}


def shallow(units: int, outputs: int, activation: str = "logistic") -> Model:
    """`y = V^T s(W^T x + c) + b` with `units` hidden units.

    Every weight and bias of a layer is drawn uniformly within `sqrt(g / (inputs + outputs))`, g = 2
    for logistic units and 6 for others (Glorot & Bengio, AISTATS 2010).

    Raises:
        ValueError: when a size is below 1 or the activation unknown.

    Example:
        >>> model = shallow(4, 2)
        >>> params, state = jax.jit(model.init)(jax.random.key(0), jnp.ones((3, 5)))
        >>> params["hidden"]["kernel"].shape, model.apply(params, state, jnp.ones((3, 5)))[0].shape
        ((5, 4), (3, 2))
    """
    if min(units, outputs) < 1:
        raise ValueError(f"units and outputs must be at least 1, found {units} and {outputs}")
    act = activation_of(activation)

    def init(key: Key, x: jax.Array) -> tuple[Params, State]:
        first, second = jax.random.split(key)
        return {
            "hidden": _glorot(first, x.shape[-1], units, activation),
            "out": _glorot(second, units, outputs, activation),
        }, {}

    def apply(params: Params, state: State, x: jax.Array, *, train: bool = False, key=None):
        del train, key
        hidden = act(x @ params["hidden"]["kernel"] + params["hidden"]["bias"])
        return hidden @ params["out"]["kernel"] + params["out"]["bias"], state

    return Model(init, apply)


def activation_of(name: str):
    """The function of that name.

    Raises:
        ValueError: when there is none.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}, expected one of {[*ACTIVATIONS]}")
    return ACTIVATIONS[name]


def fold_scaler(params: Params, mean: jax.Array, std: jax.Array) -> Params:
    """The same network for inputs that were not standardised: `params` of `(x - mean) / std`.

    Example:
        >>> model = shallow(3, 1)
        >>> x, mean, std = jnp.arange(6.0).reshape(3, 2), jnp.ones(2), jnp.full(2, 4.0)
        >>> params, _ = jax.jit(model.init)(jax.random.key(0), x)
        >>> raw = model.apply(fold_scaler(params, mean, std), {}, x)[0]
        >>> bool(jnp.allclose(raw, model.apply(params, {}, (x - mean) / std)[0], atol=1e-6))
        True
    """
    kernel = params["hidden"]["kernel"] / std[:, None]
    hidden = {"kernel": kernel, "bias": params["hidden"]["bias"] - mean @ kernel}
    return params | {"hidden": hidden}


def _glorot(key: Key, inputs: int, outputs: int, activation: str) -> Params:
    bound = ((2.0 if activation == "logistic" else 6.0) / (inputs + outputs)) ** 0.5
    kernel, bias = jax.random.split(key)
    draw = lambda key, shape: jax.random.uniform(key, shape, minval=-bound, maxval=bound)
    return {"kernel": draw(kernel, (inputs, outputs)), "bias": draw(bias, (outputs,))}


def examples() -> dict[str, tuple[Model, jax.Array]]:
    """Logistic units, for the battery of models."""
    return {"shallow": (shallow(5, 3), jax.random.normal(jax.random.key(0), (8, 4)))}
