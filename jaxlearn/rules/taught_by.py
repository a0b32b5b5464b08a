"""A frozen network's logits for every batch: distillation, and TF-KD when it is of the same kind.

Yuan, Tay, Li, Wang, Feng, "Revisiting Knowledge Distillation via Label Smoothing Regularization",
CVPR 2020, arXiv 1909.11723 (TF-KD): the teacher is the same network, trained alone before.
"""

import jax

from jaxlearn.core import FROZEN, Batch, Key, Params, PyTree, Rule, State, TrainState, trees
from jaxlearn.objectives.soft_targets import TEACHER


def taught_by(rule: Rule, teacher: Rule) -> Rule:
    """Add the teacher's logits to every batch as `batch["teacher"]`, in evaluation mode.

    Give the rule the objective `distillation(alpha, temperature)`. The teacher is part of the state
    (collection `"frozen"`) and is never changed; `with_teacher` puts a trained one in.

    Args:
        rule: learns from the batch with logits.
        teacher: predicts; initialised at random until it is replaced.

    Example:
        >>> import optax
        >>> from jaxlearn.core import make_state
        >>> from jaxlearn.models.tiny import tiny_batch, tiny_stack
        >>> from jaxlearn.objectives import cross_entropy
        >>> from jaxlearn.objectives.soft_targets import distillation
        >>> from jaxlearn.rules.backprop import backprop
        >>> trained = make_state(
        ...     backprop(tiny_stack(), cross_entropy),
        ...     optax.sgd(0.1),
        ...     jax.random.key(1),
        ...     tiny_batch(),
        ... )
        >>> rule = taught_by(
        ...     backprop(tiny_stack(), distillation(0.5, 4.0)),
        ...     backprop(tiny_stack(), cross_entropy),
        ... )
        >>> state = make_state(rule, optax.sgd(0.1), jax.random.key(0), tiny_batch())
        >>> state = with_teacher(state, trained)
    """

    def init(key: Key, batch: Batch) -> tuple[Params, State]:
        params, state = rule.init(key, batch)
        of_teacher, its_state = teacher.init(jax.random.fold_in(key, 1), batch)
        own = {"params": of_teacher, "state": trees.lasting(its_state)}
        return params, state | {FROZEN: {"teacher": own, "inner": state.get(FROZEN, {})}}

    def signal(params: Params, state: State, batch: Batch, key: Key):
        frozen = state[FROZEN]
        known = {name: part for name, part in batch.items() if name != "labels"}
        logits, _ = teacher.predict(frozen["teacher"]["params"], frozen["teacher"]["state"], known)
        grads, new, metrics = rule.signal(params, _inner(state), batch | {TEACHER: logits}, key)
        return grads, new | {FROZEN: frozen}, metrics

    def predict(params: Params, state: State, batch: Batch) -> tuple[PyTree, State]:
        outputs, new = rule.predict(params, _inner(state), batch)
        return outputs, new | {FROZEN: state[FROZEN]}

    return Rule(init, signal, predict)


def with_teacher(state: TrainState, trained: TrainState) -> TrainState:
    """The state with another teacher: what a training of `teacher` alone has left.

    Raises:
        ValueError: when the trained network is none of the teacher's kind.
    """
    frozen = state.state[FROZEN]
    new = {"params": trained.params, "state": trained.state}
    if jax.tree.map(lambda x: x.shape, new) != jax.tree.map(lambda x: x.shape, frozen["teacher"]):
        raise ValueError("the trained network has other parameters or state than the teacher")
    return state._replace(state=state.state | {FROZEN: frozen | {"teacher": new}})


def _inner(state: State) -> State:
    rest = {name: collection for name, collection in state.items() if name != FROZEN}
    inner = state[FROZEN]["inner"]
    return rest | {FROZEN: inner} if inner else rest


def examples() -> dict[str, Rule]:
    """Distillation from a network at random."""
    from jaxlearn.models.tiny import tiny_stack
    from jaxlearn.objectives import cross_entropy
    from jaxlearn.objectives.soft_targets import distillation
    from jaxlearn.rules.backprop import backprop

    learner = backprop(tiny_stack(), distillation(0.2, 4.0))
    return {"tf-kd": taught_by(learner, backprop(tiny_stack(), cross_entropy))}
