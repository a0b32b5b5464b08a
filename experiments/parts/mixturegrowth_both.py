"""Both members of MixtureGrowth in one step, for phases in which the first goes on a little."""

import jax

from jaxlearn.core import Batch, Key, Rule, trees


def both(rule: Rule, weight: float) -> Rule:
    """Member 1 learns by `rule`, and member 0 as well with its signal times `weight`.

    Parameters and collections of the state are `{"0": member 0, "1": member 1}`; metrics and
    predictions are those of member 1.
    """
    factors = {"0": weight, "1": 1.0}

    def init(key: Key, batch: Batch):
        made = {name: rule.init(key, batch) for name in factors}
        params = {name: params for name, (params, _) in made.items()}
        return params, trees.joined({name: state for name, (_, state) in made.items()})

    def signal(params, state, batch: Batch, key: Key):
        grads, states, metrics = {}, {}, {}
        for name, factor in factors.items():
            found, states[name], metrics = rule.signal(
                params[name], trees.part(state, name), batch, key
            )
            grads[name] = jax.tree.map(lambda leaf, by=factor: by * leaf, found)
        return grads, trees.joined(states), metrics

    def predict(params, state, batch: Batch):
        outputs, own = rule.predict(params["1"], trees.part(state, "1"), batch)
        return outputs, trees.joined({"0": trees.part(state, "0"), "1": own})

    return Rule(init, signal, predict)
