"""Bundled networks in closed form, for several ridges at once."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlearn.data.uci import standardised, uci_regression
from jaxlearn.models.bundle import draw_tower, tower
from jaxlearn.models.layers.random_features import Features
from jaxlearn.procedures.ridge import accumulate, solve

RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
"""Shares of the mean square of a feature."""
PIECES = 10
Part = Mapping[str, Any]


def fitter(stages: Sequence[Features], target: Callable[[jax.Array], jax.Array]) -> Callable:
    """`(seed, train, parts) -> outputs [ridges, N, outputs]` of every part.

    Args:
        stages: the towers; none for ridge regression of the inputs themselves.
        target: from labels `[N]` to `[N, outputs]`.
    """

    @jax.jit
    def run(key: jax.Array, x: jax.Array, y: jax.Array, parts: list[jax.Array]):
        features = partial(tower, stages, draw_tower(stages, key, x.shape[-1]))
        sums = accumulate(features, x, target(y), PIECES)
        scale = jnp.trace(sums.zz) / len(sums.zz)
        omegas = jnp.stack([solve(sums, ridge * scale) for ridge in RIDGES])
        return [jnp.einsum("rom,nm->rno", omegas, features(part)) for part in parts]

    def fitted(seed: int, train: Part, parts: Sequence[Part]) -> list[np.ndarray]:
        whole = len(train["inputs"]) // PIECES * PIECES
        others = [with_one(part["inputs"]) for part in parts]
        x, y = with_one(train["inputs"][:whole]), train["labels"][:whole]
        return jax.device_get(run(jax.random.key(seed), x, y, others))

    return fitted


def with_one(inputs: np.ndarray) -> np.ndarray:
    """Vectors with a 1 appended, in place of a bias."""
    flat = inputs.reshape(len(inputs), -1)
    return np.concatenate([flat, np.ones((len(flat), 1), flat.dtype)], 1)


def accuracy(data: Any, seed: int, fitted: Callable) -> float:
    """Percent of the test examples, with the ridge that is best on the validation examples."""
    outputs = fitted(seed, data.train, [data.validation, data.test])
    right = lambda y, part: 100 * float((y.argmax(-1) == part["labels"]).mean())
    best = max(range(len(RIDGES)), key=lambda i: right(outputs[0][i], data.validation))
    return right(outputs[1][best], data.test)


def table_error(stages: Sequence[Features], name: str, seed: int) -> float:
    """Test error of a regression table, in units of its target; seed s takes the s-th split.

    A tenth of the training rows chooses the ridge.
    """
    table = uci_regression(name)
    pool, test = table.splits[seed % len(table.splits)]
    held = len(pool) // 10
    rows = (pool[held:], pool[:held], test)
    x = standardised(*(table.inputs[part] for part in rows))
    mean, std = table.targets[rows[0]].mean(), table.targets[rows[0]].std()
    y = [(table.targets[part] - mean) / std for part in rows]
    named = [{"inputs": np.float32(a), "labels": np.float32(b)} for a, b in zip(x, y, strict=True)]
    outputs = fitter(stages, lambda y: y[:, None])(seed, named[0], named[1:])
    rmse = lambda out, part: float(np.sqrt(((out[:, 0] - part["labels"]) ** 2).mean()))
    best = min(range(len(RIDGES)), key=lambda i: rmse(outputs[0][i], named[1]))
    return float(std) * rmse(outputs[1][best], named[2])
