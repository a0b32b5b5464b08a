"""Different rules for different parameters."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from jaxlearn.core import trees
from jaxlearn.core.contracts import Batch, Key, Params, PyTree, Rule, State

Labels = Callable[[str], str]


def route(rules: Mapping[str, Rule], label: Labels, *, predict: str | None = None) -> Rule:
    """Give each parameter the signal of the rule that its label names.

    The rules' parameters are merged by path: leaves at the same path are one leaf, initialised by
    the first rule that has it. Each rule sees its own part of the merged tree and keeps its own
    state, so rules of different structure can meet as long as shared paths mean shared leaves, as
    with `stack` and `local_learning` over the same blocks.

    Args:
        rules: rules by label.
        label: from the path of a parameter (`"0/kernel"`) to a label.
        predict: the label of the rule that predicts, by default the first.

    Raises:
        ValueError: when a label has no rule, a rule lacks a leaf routed to it, or two rules have
            different shapes at one path.

    Example:
        >>> from jaxlearn.models.tiny import tiny_batch, tiny_stack
        >>> from jaxlearn.objectives import cross_entropy
        >>> from jaxlearn.rules import backprop, over_time
        >>> rule = backprop(tiny_stack(), cross_entropy)
        >>> both = route(
        ...     {"once": rule, "thrice": over_time(rule, 3)},
        ...     lambda path: "once" if path.startswith("0/") else "thrice",
        ... )
        >>> params, state = jax.jit(both.init)(jax.random.key(0), tiny_batch())
    """
    first = next(iter(rules)) if predict is None else predict
    if first not in rules:
        raise ValueError(f"predict names no rule: {first!r}, expected one of {sorted(rules)}")

    def init(key: Key, batch: Batch) -> tuple[Params, State]:
        merged: PyTree = {}
        states = {}
        for name, rule in rules.items():
            params, states[name] = rule.init(key, batch)
            merged = _merge(merged, params, name)
        _check(label, rules, merged, key, batch)
        return merged, trees.joined(states)

    def signal(params: Params, state: State, batch: Batch, key: Key):
        structures = _structures(rules, key, batch)
        signals, states, metrics = {}, {}, {}
        for name, rule in rules.items():
            own = _cut(params, structures[name])
            grads, states[name], own_metrics = rule.signal(own, trees.part(state, name), batch, key)
            signals[name] = dict(_leaves(grads))
            metrics |= {f"{name}/{metric}": value for metric, value in own_metrics.items()}
        pick = lambda keys, leaf: signals[label(trees.path(keys))][trees.path(keys)]
        metrics["loss"] = metrics[f"{first}/loss"]
        return jax.tree.map_with_path(pick, params), trees.joined(states), metrics

    def predict_fn(params: Params, state: State, batch: Batch) -> tuple[PyTree, State]:
        own = _cut(params, _structures(rules, jax.random.key(0), batch)[first])
        outputs, new = rules[first].predict(own, trees.part(state, first), batch)
        states = {name: trees.part(state, name) for name in rules} | {first: new}
        return outputs, trees.joined(states)

    return Rule(init, signal, predict_fn)


def _leaves(tree: PyTree) -> list[tuple[str, Any]]:
    return [(trees.path(keys), leaf) for keys, leaf in jax.tree.leaves_with_path(tree)]


def _structures(rules: Mapping[str, Rule], key: Key, batch: Batch) -> dict[str, PyTree]:
    return {name: jax.eval_shape(rule.init, key, batch)[0] for name, rule in rules.items()}


def _cut(merged: PyTree, structure: PyTree) -> PyTree:
    found = dict(_leaves(merged))
    return jax.tree.map_with_path(lambda keys, _: found[trees.path(keys)], structure)


def _merge(a: PyTree, b: PyTree, name: str, where: str = "") -> PyTree:
    if isinstance(a, dict) and isinstance(b, dict):
        shared = {k: _merge(a[k], b[k], name, f"{where}/{k}") for k in a.keys() & b.keys()}
        return a | b | shared
    if jax.tree.map(jax.numpy.shape, a) != jax.tree.map(jax.numpy.shape, b):
        raise ValueError(f"rule {name!r} has another shape at {where[1:]} than the rules before it")
    return a


def _check(label: Labels, rules: Mapping[str, Rule], merged: PyTree, key: Key, batch: Batch):
    has = {name: dict(_leaves(tree)) for name, tree in _structures(rules, key, batch).items()}
    for where, _ in _leaves(merged):
        wanted = label(where)
        if wanted not in has:
            raise ValueError(f"{where} is labelled {wanted!r}, which is none of {sorted(has)}")
        if where not in has[wanted]:
            raise ValueError(f"{where} is routed to rule {wanted!r}, which has no such parameter")
