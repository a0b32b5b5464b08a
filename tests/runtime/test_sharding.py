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
hits = {"accuracy": lambda out, batch: jnp.argmax(out, -1) == batch["labels"]}
options = dict(steps=12, evaluate_every=4, monitor="accuracy", save_every=6, progress=False)
judge = lambda mesh: evaluator(rule.predict, hits, [feed(99)], mesh)
"""


def test_fit_on_pairs_of_devices_is_fit_on_one(tmp_path):
    """With masks, moments, a memory and the best state; each device holds half of what is large."""
    said = run_on(
        8,
        FIT
        + f"""
alone = fit(make_step(rule, tx), make(), feed, evaluate=judge(None), **options)
state = make_sharded(make, pairs, smallest=2**10)
run = lambda **more: fit(
    make_step(rule, tx), state, feed, mesh=pairs, evaluate=judge(pairs),
    workdir={str(tmp_path)!r}, **options | more)
both = run()

def halves(tree):
    return sum(2 * x.addressable_shards[0].data.size == x.size for x in jax.tree.leaves(tree))

kernels = halves(make_sharded(lambda: make().params, pairs, smallest=2**10))
assert kernels == halves(both.state.params) == halves(both.best.params) == 3
found = halves(masks(both.state.opt_state)), halves(both.state.opt_state)
assert found == (2, 8), found  # the stack of hidden layers is no matrix, and stays dense
same = lambda a, b: np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-4, atol=1e-5)
jax.tree.map(same, alone.state.params, both.state.params)
equal = np.testing.assert_array_equal
jax.tree.map(equal, masks(alone.state.opt_state), masks(both.state.opt_state))
jax.tree.map(same, alone.state.state["memory"], both.state.state["memory"])
assert [r["step"] for r in both.history] == list(range(1, 13))

# saved by pairs: continued by pairs, by eight copies and by one device alone
more = run(steps=18)
assert halves(more.state.params) == 3
import shutil
for name, mesh in (("eight", data_mesh()), ("one", None)):
    folder = {str(tmp_path)!r} + name
    shutil.copytree({str(tmp_path)!r}, folder)
    shutil.rmtree(folder + "/checkpoints/18")
    again = fit(make_step(rule, tx), make(), feed, mesh=mesh, evaluate=judge(mesh), workdir=folder,
                **options | dict(steps=18))
    assert halves(again.state.params) == 0 and len(again.history) == 18
    jax.tree.map(same, again.state.params, more.state.params)
print("done")
""",
    )
    assert said.split()[-1] == "done"
