"""Train other coordinates than the ones a rule computes with."""

import jax

from jaxlearn.core.contracts import (
    FROZEN,
    Batch,
    Key,
    Parametrization,
    Params,
    PyTree,
    Rule,
    State,
)


def reparametrize(rule: Rule, parametrization: Parametrization) -> Rule:
    """Let `theta` be what is trained, with `params = materialize(theta, frozen)`.

    The rule computes its signal `g` for `params` as ever, and the chain rule carries it over:
    `g_theta = (d materialize / d theta)^T g`. So it works for rules whose signal is no gradient.
    The frozen part is kept in the state under `"frozen"` and is never updated or averaged.
    """

    def init(key: Key, batch: Batch) -> tuple[PyTree, State]:
        rule_key, own_key = jax.random.split(key)
        params, state = rule.init(rule_key, batch)
        theta, frozen = parametrization.init(own_key, params)
        return theta, state | {FROZEN: {"own": frozen, "inner": state.get(FROZEN, {})}}

    def signal(theta: PyTree, state: State, batch: Batch, key: Key):
        frozen = state[FROZEN]
        materialize = lambda theta: parametrization.materialize(theta, frozen["own"])
        params, pull_back = jax.vjp(materialize, theta)
        grads, inner, metrics = rule.signal(params, _inner(state), batch, key)
        return pull_back(grads)[0], inner | {FROZEN: frozen}, metrics

    def predict(theta: PyTree, state: State, batch: Batch) -> tuple[PyTree, State]:
        frozen = state[FROZEN]
        params: Params = parametrization.materialize(theta, frozen["own"])
        outputs, inner = rule.predict(params, _inner(state), batch)
        return outputs, inner | {FROZEN: frozen}

    return Rule(init, signal, predict)


def _inner(state: State) -> State:
    rest = {name: collection for name, collection in state.items() if name != FROZEN}
    inner = state[FROZEN]["inner"]
    return rest | {FROZEN: inner} if inner else rest
