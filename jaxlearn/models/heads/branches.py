"""Several heads on one representation."""

from collections.abc import Mapping

import jax

from jaxlearn.core import Key, Model, Params, PyTree, State, trees


def branches(heads: Mapping[str, Model]) -> Model:
    """`x -> {name: head(x)}`: heads side by side, parameters and states by name.

    Example:
        >>> from jaxlearn.models.tiny import tiny_head
        >>> both = branches({"a": tiny_head(), "b": tiny_head()})
        >>> x = jax.numpy.ones((2, 12))
        >>> outputs, _ = jax.jit(both.apply)(*jax.jit(both.init)(jax.random.key(0), x), x)
        >>> {name: y.shape for name, y in outputs.items()}
        {'a': (2, 3), 'b': (2, 3)}
    """

    def keys_of(key: Key | None) -> dict[str, Key | None]:
        split = [None] * len(heads) if key is None else jax.random.split(key, len(heads))
        return dict(zip(heads, split, strict=True))

    def init(key: Key, x: PyTree) -> tuple[Params, State]:
        keys = keys_of(key)
        made = {name: head.init(keys[name], x) for name, head in heads.items()}
        states = trees.joined({name: state for name, (_, state) in made.items()})
        return {name: params for name, (params, _) in made.items()}, states

    def apply(params: Params, state: State, x: PyTree, *, train: bool = False, key=None):
        keys, outputs, states = keys_of(key), {}, {}
        for name, head in heads.items():
            own = trees.part(state, name)
            outputs[name], states[name] = head.apply(
                params[name], own, x, train=train, key=keys[name]
            )
        return outputs, trees.joined(states)

    return Model(init, apply)
