"""PS-KD against its equations, and the memory of past predictions on one device and on several."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.harness.tpu import tpu_memory
from jaxlearn.core import make_state, make_step
from jaxlearn.data.batches import batches
from jaxlearn.data.cutmix import cutmix
from jaxlearn.models.tiny import tiny_batch, tiny_blocks, tiny_head, tiny_stack
from jaxlearn.objectives import cross_entropy
from jaxlearn.objectives.soft_targets import PREDICTIONS, remembered, soft_cross_entropy
from jaxlearn.rules import backprop, greedy, over_time, ps_kd
from jaxlearn.rules.ps_kd import from_top, refined, top_of
from jaxlearn.runtime import fit
from tests.devices import run_on

N, SIZE, EPOCHS = 32, 8, 4
LOSS = remembered(soft_cross_entropy)
DATA = {name: np.asarray(leaf) for name, leaf in tiny_batch(N).items()}
STREAM = batches(DATA, SIZE, seed=3)
TX = optax.sgd(0.2, momentum=0.9)


def make(inner=None, **options):
    """The rule on the toy problem."""
    sizes = {"examples": N, "classes": 3, "per_epoch": N, "epochs": EPOCHS} | options
    return ps_kd(backprop(tiny_stack(), LOSS) if inner is None else inner, **sizes)


def started(rule):
    """The state before the first step."""
    return make_state(rule, TX, jax.random.key(0), STREAM(0))


def trained(rule, steps):
    """The state after some steps and the metrics of each."""
    state, step, found = started(rule), jax.jit(make_step(rule, TX)), []
    for at in range(steps):
        state, metrics = step(state, STREAM(at))
        found.append(metrics)
    return state, found


def memory(state):
    """The stored predictions."""
    return np.asarray(state.state["memory"]["own"]["predictions"])


def random_case(seed, classes=5):
    """Logits, an earlier prediction, labels, and alpha."""
    draw = np.random.default_rng(seed)
    logits, earlier = draw.normal(size=(2, 16, classes))
    earlier = np.exp(earlier) / np.exp(earlier).sum(1, keepdims=True)
    return logits, earlier, draw.integers(0, classes, 16), draw.uniform(0.1, 0.9)


@pytest.mark.parametrize("seed", range(3))
def test_targets_are_distributions_with_the_label_on_top_up_to_alpha_one_half(seed):
    _, earlier, labels, alpha = random_case(seed)
    earlier[:3] = 0  # no prediction yet
    target, missing = refined(labels, jnp.asarray(earlier), alpha)
    np.testing.assert_allclose(target.sum(-1), 1, atol=1e-6)
    assert np.asarray(target).min() >= 0
    assert missing.tolist() == [True] * 3 + [False] * 13
    np.testing.assert_array_equal(target[:3], np.eye(5)[labels[:3]])
    half, _ = refined(labels, jnp.asarray(earlier), 0.5)
    np.testing.assert_array_equal(half.argmax(-1), labels)


def test_alpha_0_is_cross_entropy_step_by_step():
    plain = backprop(tiny_stack(), cross_entropy)
    ours, _ = trained(make(alpha=0.0), 12)
    theirs, _ = trained(plain, 12)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6),
        ours.params,
        theirs.params,
    )


@pytest.mark.parametrize("teacher", ["stored", "snapshot"])
@pytest.mark.parametrize("schedule", ["linear", "fixed"])
def test_in_epoch_0_the_loss_is_cross_entropy_for_any_alpha(teacher, schedule):
    steps = N // SIZE
    _, ours = trained(make(alpha=0.9, teacher=teacher, schedule=schedule), steps + 1)
    _, theirs = trained(backprop(tiny_stack(), cross_entropy), steps + 1)
    losses = lambda found: np.array([float(metrics["loss"]) for metrics in found])
    np.testing.assert_allclose(losses(ours)[:steps], losses(theirs)[:steps], rtol=1e-6)
    assert abs(losses(ours)[steps] - losses(theirs)[steps]) > 1e-3  # epoch 1 is another matter


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_is_p_minus_t_and_for_the_true_class_scaled_by_w(seed):
    logits, earlier, labels, alpha = random_case(seed)
    target, _ = refined(labels, jnp.asarray(earlier, jnp.float32), alpha)
    batch = {"target": target, "labels": jnp.asarray(labels)}
    slope = jax.grad(lambda z: soft_cross_entropy(z, batch)[0])(jnp.asarray(logits, jnp.float32))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    t = (1 - alpha) * np.eye(5)[labels] + alpha * earlier
    np.testing.assert_allclose(16 * slope, p - t, atol=1e-6)
    rows = np.arange(16)
    w = 1 - alpha * (1 - earlier[rows, labels]) / (1 - p[rows, labels])
    wanted = (p[rows, labels] - 1) * w
    np.testing.assert_allclose(16 * np.asarray(slope)[rows, labels], wanted, atol=1e-6)
    others = 16 * np.asarray(slope).sum(1) - 16 * np.asarray(slope)[rows, labels]
    np.testing.assert_allclose(others, -wanted, atol=1e-6)


def test_the_memory_holds_the_predictions_of_the_visit_and_leaves_other_rows_alone():
    rule, inner = make(), backprop(tiny_stack(), LOSS)
    state, step = started(rule), jax.jit(make_step(rule, TX))
    seen = jax.jit(lambda params, batch: inner.signal(params, {}, batch, jax.random.key(0))[2])
    for at in range(2 * N // SIZE):
        batch, before = STREAM(at), memory(state)
        visit = seen(state.params, batch | {"target": jnp.zeros((SIZE, 3))})[PREDICTIONS]
        state, _ = step(state, batch)
        index = batch["index"]
        np.testing.assert_allclose(memory(state)[index], visit, rtol=1e-6)
        rest = np.setdiff1d(np.arange(N), index)
        np.testing.assert_array_equal(memory(state)[rest], before[rest])


TWO = """
import jax, numpy as np
from jaxlearn.runtime import data_mesh, place, distribute
from jaxlearn.runtime.parallel import data_parallel
from tests.rules.test_ps_kd import STREAM, TX, make, started, trained, memory
from jaxlearn.core import make_step

mesh, rule = data_mesh(), make()
assert mesh.size == 2
step, state = data_parallel(make_step(rule, TX), mesh), distribute(started(rule), mesh)
for at in range(10):
    state, _ = step(state, place(STREAM(at), mesh))
alone, _ = trained(rule, 10)
kept = state.state["memory"]["own"]["predictions"]
copies = [np.asarray(shard.data) for shard in kept.addressable_shards]
print(np.abs(memory(state) - memory(alone)).max(), np.abs(copies[0] - copies[1]).max())
print(int(state.state["memory"]["own"]["seen"]), int(alone.state["memory"]["own"]["seen"]))
"""


def test_the_memory_evolves_alike_on_one_device_and_on_two():
    apart, copies, *seen = map(float, run_on(2, TWO).split())
    assert apart < 1e-6
    assert copies == 0
    assert seen == [80, 80]


SHARDED = """
import jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
from jaxlearn.core import make_step
from jaxlearn.runtime import data_mesh, place, distribute
from jaxlearn.runtime.parallel import data_parallel
from tests.rules.test_ps_kd import N, STREAM, TX, make, started, trained, memory

mesh, rule = data_mesh(model=2), make()
state = started(rule)
own = state.state["memory"]["own"]
rows = jax.device_put(own["predictions"], NamedSharding(mesh, P("model", None)))
state = state._replace(
    state=state.state | {"memory": {"own": own | {"predictions": rows}, "inner": {}}}
)
step, state = data_parallel(make_step(rule, TX), mesh), distribute(state, mesh)
for at in range(8):
    state, _ = step(state, place(STREAM(at), mesh))
shapes = {s.data.shape for s in state.state["memory"]["own"]["predictions"].addressable_shards}
assert shapes == {(N // 2, 3)}, shapes
print(np.abs(memory(state) - memory(trained(rule, 8)[0])).max())
"""


@pytest.mark.slow
def test_a_second_mesh_axis_shards_the_memory_by_example():
    assert float(run_on(4, SHARDED)) < 1e-6


def test_alpha_grows_by_alpha_t_over_e_and_ends_at_alpha_t():
    _, found = trained(make(alpha=0.8), (EPOCHS + 1) * N // SIZE)
    alphas = np.array([float(metrics["alpha"]) for metrics in found]).reshape(EPOCHS + 1, -1)
    assert (alphas == alphas[:, :1]).all()  # constant within an epoch
    np.testing.assert_allclose(np.diff(alphas[:EPOCHS, 0]), 0.8 / EPOCHS, rtol=1e-5)
    np.testing.assert_allclose(alphas[EPOCHS - 1 :, 0], 0.8, rtol=1e-6)


def test_resuming_from_a_checkpoint_reproduces_the_run(tmp_path):
    rule = make()
    run = lambda steps, folder: (
        fit(
            make_step(rule, TX), started(rule), STREAM, steps=steps, workdir=folder, progress=False
        ).state
    )
    straight, _ = trained(rule, 10)
    run(6, tmp_path / "run")  # in the middle of the second epoch
    resumed = run(10, tmp_path / "run")
    np.testing.assert_array_equal(memory(resumed), memory(run(10, tmp_path / "straight")))
    np.testing.assert_allclose(memory(resumed), memory(straight), atol=1e-6)


def large(rows=500_000):
    """A step over a memory that dwarfs everything else, its state, and the memory's bytes."""
    rule = make(examples=rows, per_epoch=rows)
    state = jax.eval_shape(lambda: started(rule))
    return make_step(rule, TX), state, rows * 3 * 4


def test_no_second_copy_of_the_memory_is_made():
    step, state, size = large()
    memory = jax.jit(step, donate_argnums=0).lower(state, STREAM(0)).compile().memory_analysis()
    assert memory.alias_size_in_bytes >= size
    assert memory.temp_size_in_bytes < size / 10


@pytest.mark.slow
def test_no_second_copy_of_the_memory_is_made_on_a_tpu():
    step, state, size = large()
    batch = {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in STREAM(0).items()}
    assert tpu_memory(step, state, batch) < size / 10


@pytest.mark.parametrize("examples", [N, N - 2, N - 7])
def test_a_snapshot_teaches_what_the_end_of_the_last_epoch_says_of_this_view(examples):
    """Also where an epoch ends within a batch: the next one begins with the batch after it."""
    rule = make(teacher="snapshot", alpha=0.8, per_epoch=examples)
    per_epoch = -(-examples // SIZE)
    state, _ = trained(rule, per_epoch)
    batch = STREAM(per_epoch)
    logits = tiny_stack().apply(state.params, {}, batch["inputs"])[0]
    target, _ = refined(batch["labels"], jax.nn.softmax(logits), 0.8 * 2 / EPOCHS)
    wanted, _ = soft_cross_entropy(logits, batch | {"target": target})
    step = jax.jit(make_step(rule, TX))
    after, metrics = step(state, batch)
    assert float(metrics["loss"]) == pytest.approx(float(wanted), rel=1e-5)
    # the snapshot is the epoch's first weights until the next one begins
    later, _ = step(after, STREAM(per_epoch + 1))
    kept = later.state["memory"]["own"]["params"]
    jax.tree.map(np.testing.assert_array_equal, kept, state.params)


def test_mixed_pictures_are_taught_both_targets_and_are_not_stored():
    rule = make(alpha=0.8, schedule="fixed")
    state, _ = trained(rule, N // SIZE)
    batch, stored = STREAM(N // SIZE), memory(state)
    order = np.roll(np.arange(SIZE), 1)
    other = {name: batch[name][order] for name in ("labels", "index")}
    mix = np.full(SIZE, 0.25, np.float32)
    after, metrics = make_step(rule, TX)(state, batch | {"mix": mix, "partner": other})
    np.testing.assert_array_equal(memory(after), stored)
    one, _ = refined(batch["labels"], stored[batch["index"]], 0.8)
    two, _ = refined(other["labels"], stored[other["index"]], 0.8)
    logits = tiny_stack().apply(state.params, {}, batch["inputs"])[0]
    wanted, _ = soft_cross_entropy(logits, batch | {"target": 0.25 * one + 0.75 * two})
    assert float(metrics["loss"]) == pytest.approx(float(wanted), rel=1e-5)


def test_padding_is_not_stored():
    rule, batch = make(), STREAM(0)
    weight = np.array([2.0, 2, 2, 2, 0, 0, 0, 0], np.float32)
    state, _ = make_step(rule, TX)(started(rule), batch | {"weight": weight})
    written = memory(state).any(1)
    assert written[batch["index"][:4]].all()
    assert written.sum() == 4


def test_unseen_rows_are_logged_and_taught_their_labels():
    rule = make(per_epoch=24)  # drop_last leaves a quarter of each epoch out
    _, found = trained(rule, 5)
    assert [float(metrics["unseen"]) for metrics in found[:4]] == [1.0] * 4
    assert float(found[4]["unseen"]) < 1


def test_every_head_of_a_local_rule_is_taught_the_same_target():
    rule = make(greedy(tiny_blocks(), tiny_head(), objective=LOSS), alpha=0.8)
    state, found = trained(rule, 3 * N // SIZE)
    assert float(found[-1]["loss"]) < float(found[0]["loss"])
    assert not [name for name in found[-1] if name.startswith(PREDICTIONS)]
    batch = STREAM(0)
    logits, _ = rule.predict(state.params, state.state, batch)
    after, _ = jax.jit(make_step(rule, TX))(state, batch)
    np.testing.assert_allclose(memory(after)[batch["index"]], jax.nn.softmax(logits), rtol=1e-5)


def test_over_time_the_mean_prediction_is_stored():
    rule = make(over_time(backprop(tiny_stack(), LOSS), 3))
    state = started(rule)
    logits, _ = rule.predict(state.params, state.state, STREAM(0))
    after, _ = jax.jit(make_step(rule, TX))(state, STREAM(0))
    wanted = jax.nn.softmax(logits)
    np.testing.assert_allclose(memory(after)[STREAM(0)["index"]], wanted, rtol=1e-5)


def test_tokens_have_a_prediction_each():
    from flax import linen

    from jaxlearn.core import from_linen

    draw = np.random.default_rng(0)
    batch = {
        "inputs": draw.normal(size=(4, 6, 5)).astype(np.float32),
        "labels": draw.integers(0, 3, (4, 6)).astype(np.int32),
        "index": np.arange(4, dtype=np.int32),
    }
    model = from_linen(linen.Dense(3))
    rule = ps_kd(backprop(model, LOSS), examples=4, classes=3, per_epoch=4, epochs=2)
    state = make_state(rule, TX, jax.random.key(0), batch)
    after, _ = jax.jit(make_step(rule, TX))(state, batch)
    logits = model.apply(state.params, {}, batch["inputs"])[0]
    np.testing.assert_allclose(memory(after), jax.nn.softmax(logits), rtol=1e-5)


def test_cutmix_draws_a_partner_from_the_batch_for_every_picture():
    draw = np.random.default_rng(1)
    batch = {
        "inputs": draw.uniform(size=(6, 9, 7, 2)).astype(np.float32),
        "labels": np.arange(6, dtype=np.int32),
        "index": 10 + np.arange(6, dtype=np.int32),
    }
    shares = []
    for seed in range(20):
        mixed = cutmix(batch, jax.random.key(seed), probability=1.0)
        order = np.asarray(mixed["partner"]["index"]) - 10
        np.testing.assert_array_equal(mixed["partner"]["labels"], order)
        own = (np.asarray(mixed["inputs"]) == batch["inputs"]).all((0, 3))
        theirs = (np.asarray(mixed["inputs"]) == batch["inputs"][order]).all((0, 3))
        assert (own | theirs).all()
        shares.append(float(mixed["mix"][0]))
        assert shares[-1] == pytest.approx(own.mean(), abs=1e-6)
    assert 0.2 < np.mean(shares) < 0.9
    assert len(set(shares)) > 10


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"epochs": 0}, "epochs"),
        ({"alpha": 1.5}, "alpha"),
        ({"teacher": "ema"}, "teacher"),
        ({"schedule": "step"}, "schedule"),
    ],
)
def test_wrong_settings_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        make(**options)


def test_a_batch_without_positions_and_a_rule_without_predictions_are_refused():
    batch = {name: leaf for name, leaf in STREAM(0).items() if name != "index"}
    with pytest.raises(ValueError, match="index"):
        jax.eval_shape(make_step(make(), TX), started(make()), batch)
    silent = make(backprop(tiny_stack(), soft_cross_entropy))
    with pytest.raises(ValueError, match="remembered"):
        jax.eval_shape(make_step(silent, TX), started(silent), STREAM(0))


def test_all_but_one_probability_stored_is_the_whole_prediction():
    whole, losses = trained(make(), 10)
    ours, found = trained(make(top=2), 10)
    kept = ours.state["memory"]["own"]["predictions"]
    assert kept["values"].shape == kept["classes"].shape == (N, 2)
    np.testing.assert_allclose(from_top(kept, 3), memory(whole), atol=1e-6)
    for a, b in zip(found, losses, strict=True):
        np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-5)


def test_the_largest_probabilities_stay_and_the_rest_is_shared_out():
    draw = np.random.default_rng(0)
    p = draw.dirichlet(np.ones(9), size=(4, 5)).astype(np.float32)  # tokens of texts
    made = np.asarray(from_top(top_of(jnp.asarray(p), 3), 9))
    np.testing.assert_allclose(made.sum(-1), 1, atol=1e-6)
    order = np.argsort(-p, -1)
    own = np.take_along_axis(p, order[..., :3], -1)
    np.testing.assert_allclose(np.take_along_axis(made, order[..., :3], -1), own, rtol=1e-6)
    rest = np.take_along_axis(made, order[..., 3:], -1)
    wanted = (1 - own.sum(-1, keepdims=True)) / 6
    np.testing.assert_allclose(rest, np.broadcast_to(wanted, rest.shape), atol=1e-6)
    nothing = top_of(jnp.zeros((2, 9)), 3)
    np.testing.assert_array_equal(from_top(nothing, 9), 0)


def test_top_is_a_number_below_the_classes_and_of_stored_predictions():
    for options in ({"top": 3}, {"top": 0}, {"top": 2, "teacher": "snapshot"}):
        with pytest.raises(ValueError, match="has to be at least 1 and below the 3 classes"):
            make(**options)
