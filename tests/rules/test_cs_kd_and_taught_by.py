"""Class-wise and teacher-taught distillation against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax

from jaxlearn.core import FROZEN, make_state, make_step
from jaxlearn.data.batches import batches
from jaxlearn.data.class_pairs import with_partners
from jaxlearn.models.tiny import tiny_batch, tiny_stack
from jaxlearn.objectives import cross_entropy, distillation, label_smoothing, softened_kl
from jaxlearn.rules import backprop, cs_kd, taught_by, with_teacher
from tests.compiled import compiled

TX, KEY = optax.sgd(0.1), jax.random.key(0)


def kl(teacher, logits, temperature):
    """In float64, per example."""
    a, b = (log_softmax(np.asarray(x, np.float64) / temperature, 1) for x in (teacher, logits))
    return (np.exp(a) * (a - b)).sum(1)


def test_the_loss_of_cs_kd_and_no_gradient_through_the_partner():
    batch, model = tiny_batch(8), tiny_stack()
    pair = batch | {"partner_inputs": batch["inputs"][::-1]}
    rule, read = compiled(cs_kd(model, temperature=4.0, weight=2.0)), jax.jit(model.apply)
    params, state = rule.init(KEY, pair)
    grads, _, metrics = rule.signal(params, state, pair, KEY)
    logits, other = (
        np.asarray(read(params, {}, x)[0]) for x in (batch["inputs"], pair["partner_inputs"])
    )
    hard = -log_softmax(np.asarray(logits, np.float64), 1)[np.arange(8), batch["labels"]].mean()
    wanted = hard + 2 * 16 * kl(other, logits, 4).mean()
    assert float(metrics["loss"]) == pytest.approx(wanted, rel=1e-5)

    def loss(params):  # the partner's logits are numbers here
        mine = model.apply(params, {}, batch["inputs"])[0]
        return cross_entropy(mine, batch)[0] + 2 * softened_kl(other, mine, 4.0).mean()

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        grads,
        jax.jit(jax.grad(loss))(params),
    )
    with pytest.raises(ValueError, match="class_pairs"):
        rule.signal(params, state, batch, KEY)


def test_partners_are_other_examples_of_the_class_and_all_of_them_in_time():
    labels = np.array([0] * 5 + [1] * 3 + [2])
    data = {"inputs": np.arange(9), "labels": labels}
    paired = with_partners(batches(data, 9, seed=0), data, seed=7)
    seen = set()
    for step in range(60):
        batch = paired(step)
        mates = batch["partner_inputs"]
        np.testing.assert_array_equal(labels[mates], batch["labels"])
        assert ((mates != batch["inputs"]) | (batch["labels"] == 2)).all()
        seen |= set(zip(batch["inputs"].tolist(), mates.tolist(), strict=True))
    assert len(seen) == 5 * 4 + 3 * 2 + 1
    np.testing.assert_array_equal(paired(3)["partner_inputs"], paired(3)["partner_inputs"])


def test_the_loss_of_a_teacher():
    batch, model = tiny_batch(8), tiny_stack()
    plain = backprop(model, cross_entropy)
    rule = taught_by(backprop(model, distillation(0.3, 5.0)), plain)
    teacher = make_state(plain, TX, jax.random.key(5), batch)
    state = with_teacher(make_state(rule, TX, KEY, batch), teacher)
    frozen = jax.tree.map(np.asarray, state.state[FROZEN])
    after, metrics = make_step(rule, TX)(state, batch)
    own, its = (model.apply(s.params, {}, batch["inputs"])[0] for s in (state, teacher))
    hard = -log_softmax(np.asarray(own, np.float64), 1)[np.arange(8), batch["labels"]].mean()
    wanted = 0.7 * hard + 0.3 * 25 * kl(its, own, 5).mean()
    assert float(metrics["loss"]) == pytest.approx(wanted, rel=1e-5)
    jax.tree.map(np.testing.assert_array_equal, after.state[FROZEN], frozen)


def test_a_teacher_of_another_kind_is_refused():
    batch = tiny_batch(8)
    rule = taught_by(
        backprop(tiny_stack(), distillation(0.3, 5.0)), backprop(tiny_stack(), cross_entropy)
    )
    state = make_state(rule, TX, KEY, batch)
    with pytest.raises(ValueError, match="other parameters"):
        with_teacher(state, state._replace(params={"x": jnp.zeros(3)}))


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0])
def test_label_smoothing_mixes_with_the_uniform_distribution(epsilon):
    logits = np.random.default_rng(0).normal(size=(6, 4))
    labels = np.arange(6) % 4
    target = (1 - epsilon) * np.eye(4)[labels] + epsilon / 4
    wanted = -(target * log_softmax(logits, 1)).sum(1).mean()
    loss, _ = label_smoothing(epsilon)(jnp.asarray(logits, jnp.float32), {"labels": labels})
    assert float(loss) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: label_smoothing(1.2), "epsilon"),
        (lambda: distillation(2.0, 1.0), "alpha"),
        (lambda: distillation(0.5, 0.0), "temperature"),
        (lambda: cs_kd(tiny_stack(), temperature=0.0), "temperature"),
    ],
)
def test_wrong_settings_are_refused(call, text):
    with pytest.raises(ValueError, match=text):
        call()
