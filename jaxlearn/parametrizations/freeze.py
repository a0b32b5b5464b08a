"""Train some of the parameters and keep the others."""

from collections.abc import Callable

import jax

from jaxlearn.core import Parametrization, PyTree, trees


def freeze(trainable: Callable[[str], bool]) -> Parametrization:
    """Split the parameters by path: where `trainable(path)` they are `theta`, else frozen.

    Raises:
        ValueError: when nothing is trainable.

    Example:
        >>> head_only = freeze(lambda path: path.startswith("1/"))
        >>> params = {"0": {"w": 1.0}, "1": {"w": 2.0}}
        >>> head_only.init(None, params)
        ({'0': {'w': None}, '1': {'w': 2.0}}, {'0': {'w': 1.0}, '1': {'w': None}})
    """

    def split(params: PyTree, wanted: bool) -> PyTree:
        keep = lambda keys, leaf: leaf if trainable(trees.path(keys)) == wanted else None
        return jax.tree.map_with_path(keep, params)

    def init(key, params: PyTree) -> tuple[PyTree, PyTree]:
        theta = split(params, True)
        if not jax.tree.leaves(theta):
            listed = ", ".join(trees.path(keys) for keys, _ in jax.tree.leaves_with_path(params))
            raise ValueError(
                f"freeze leaves nothing to train: trainable is false for all of {listed}"
            )
        return theta, split(params, False)

    def materialize(theta: PyTree, frozen: PyTree) -> PyTree:
        pick = lambda a, b: b if a is None else a
        return jax.tree.map(pick, theta, frozen, is_leaf=lambda leaf: leaf is None)

    return Parametrization(init, materialize)


def examples() -> dict[str, Parametrization]:
    """Biases stay as they are."""
    return {"freeze-biases": freeze(lambda path: not path.endswith("bias"))}
