"""Large arrays of a state are shared out over the axis "model"; nothing else changes."""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxlearn.runtime import data_mesh, every_device
from jaxlearn.runtime.sharding import places, split
from tests.devices import run_on


@pytest.mark.parametrize(
    "shape, devices, expected",
    [
        ((1024, 1024), 4, P(None, "model")),
        ((1024, 512), 4, P("model", None)),
        ((2047, 1000), 8, P(None, "model")),
        ((3, 3, 256, 512), 8, P(None, None, None, "model")),
        ((1001, 1001), 4, P()),
        ((512, 256), 4, P()),
        ((1024, 1024), 1, P()),
        ((), 4, P()),
        ((0, 4), 4, P()),
    ],
)
def test_an_array_is_cut_along_its_longest_axis_that_divides(shape, devices, expected):
    assert split(shape, devices) == expected


def test_arrays_of_one_shape_are_cut_alike_whatever_they_hold():
    mesh = data_mesh(jax.devices()[:1], model=1)
    tree = {
        "w": np.zeros((2048, 1024), np.float32),
        "mask": np.zeros((2048, 1024), bool),
        "key": jax.random.key(0),
    }
    found = places(tree, mesh)
    assert found["w"] == found["mask"]
    assert found["key"].spec == P()


def test_the_environment_says_how_many_devices_share_a_copy():
    assert dict(every_device({"JAXLEARN_MODEL_DEVICES": "1"}).shape) == {"data": 1, "model": 1}
    assert every_device({}) is None
    with pytest.raises(ValueError, match=r"JAXLEARN_MODEL_DEVICES='two' is not a number"):
        every_device({"JAXLEARN_MODEL_DEVICES": "two"})
    with pytest.raises(ValueError, match=r"model=3 does not divide 1 devices"):
        every_device({"JAXLEARN_MODEL_DEVICES": "3"})


FIT = """
import jax, jax.numpy as jnp, numpy as np, optax
from jaxlearn.core import make_state, make_step
from jaxlearn.data.batches import batches
from jaxlearn.models.mlp import mlp
from jaxlearn.objectives import remembered, soft_cross_entropy
from jaxlearn.rules import backprop, ps_kd
from jaxlearn.runtime import data_mesh, evaluator, fit, make_sharded
from jaxlearn.transforms import granet
from jaxlearn.transforms.sparsity import masks

rng = np.random.default_rng(0)
draw = lambda step: np.random.default_rng(step).integers(0, 64, 16)
x, y = rng.normal(size=(64, 24)).astype(np.float32), rng.integers(0, 4, 64)
feed = lambda s: {"inputs": x[draw(s)], "labels": y[draw(s)], "index": draw(s).astype(np.int32)}
model = mlp(4, layers=2, width=512)
taught = backprop(model, remembered(soft_cross_entropy))
rule = ps_kd(taught, examples=64, classes=4, per_epoch=4, epochs=3)
schedule = dict(initial_density=0.5, final_density=0.2, total_steps=12, interval=4)
tx = granet(optax.adam(1e-3), key=jax.random.key(7), **schedule)
make = jax.jit(lambda: make_state(rule, tx, jax.random.key(0), feed(0)))
pairs = data_mesh(model=2)
hits = {"test/accuracy": lambda out, batch: jnp.argmax(out, -1) == batch["labels"]}
options = dict(steps=12, evaluate_every=4, monitor="test/accuracy", save_every=6, progress=False)
judge = lambda mesh: evaluator(rule.predict, hits, [feed(99)], mesh)
"""


def test_steps_on_pairs_of_devices_are_those_on_one():
    run_on(
        4,
        """
import jax, numpy as np, optax
from jaxlearn.core import TrainState, axis
from jaxlearn.runtime import data_mesh, fit, make_sharded

tx = optax.sgd(0.1, momentum=0.9)

def step(state, batch):
    def loss(w):
        return jax.numpy.mean((batch["inputs"] @ w) ** 2)
    value, grads = jax.value_and_grad(loss)(state.params)
    grads = axis.mean(grads)
    updates, memory = tx.update(grads, state.opt_state)
    params = optax.apply_updates(state.params, updates)
    return TrainState(state.step + 1, params, {}, memory, state.key), {"loss": value}

def make():
    w = jax.random.normal(jax.random.key(0), (8, 6))
    return TrainState(jax.numpy.int32(0), w, {}, tx.init(w), jax.random.key(1))

x = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)
pairs, options = data_mesh(model=2), dict(steps=5, chunk=2, progress=False)
alone = fit(step, make(), lambda at: {"inputs": x}, **options).state
shared = make_sharded(make, pairs, 1)
both = fit(step, shared, lambda at: {"inputs": x}, mesh=pairs, **options).state
same = lambda a, b: np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5, atol=1e-7)
jax.tree.map(same, alone[:4], both[:4])
assert both.params.addressable_shards[0].data.shape == (4, 6)
assert both.opt_state[0].trace.sharding == both.params.sharding
""",
    )


@pytest.mark.slow
def test_a_run_begun_on_pairs_and_ended_on_one_device_is_one_on_one(tmp_path):
    """With masks, moments, a memory and the best state; each device holds half of what is large."""
    said = run_on(
        8,
        FIT
        + f"""
step, workdir = make_step(rule, tx), {str(tmp_path)!r}

def halves(tree):
    return sum(2 * x.addressable_shards[0].data.size == x.size for x in jax.tree.leaves(tree))

state = make_sharded(make, pairs, smallest=2**10)
assert halves(state.params) == 3
found = fit(step, state, feed, mesh=pairs, evaluate=judge(pairs), workdir=workdir, **options)
assert halves(found.state.params) == halves(found.best.params) == 3
# masks and two moments, those of the stack of hidden layers too
assert (halves(masks(found.state.opt_state)), halves(found.state.opt_state)) == (3, 9)

options["steps"] = 18
ended = fit(step, make(), feed, evaluate=judge(None), workdir=workdir, **options)
alone = fit(step, make(), feed, evaluate=judge(None), **options)
assert halves(ended.state) == 0
same = lambda a, b: np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-4, atol=1e-5)
jax.tree.map(same, ended.state.params, alone.state.params)
jax.tree.map(same, ended.state.state["memory"], alone.state.state["memory"])
equal = lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
jax.tree.map(equal, masks(ended.state.opt_state), masks(alone.state.opt_state))
assert [row["step"] for row in ended.history] == list(range(1, 19))
print("done")
""",
    )
    assert said.split()[-1] == "done"
