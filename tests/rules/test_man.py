"""The identities of MAN on dense layers with batch normalisation, and on a small ResNet."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

from jaxlearn.core import axis, from_linen, make_state, make_step, stack, trees
from jaxlearn.models.cifar_resnet import cifar_resnet
from jaxlearn.models.cifar_resnet import classifier as pooled_classifier
from jaxlearn.models.heads.momentum import momentum_head
from jaxlearn.models.layers.batch_norm import BatchNorm
from jaxlearn.models.tiny import tiny_batch, tiny_blocks, tiny_head
from jaxlearn.objectives import cross_entropy
from jaxlearn.rules.backprop import backprop
from jaxlearn.rules.local_learning import Auxiliary, partition
from jaxlearn.rules.man import UPCOMING, man

CLASSES, K, M = 3, 3, 0.995
KEY = jax.random.key(3)


class Layer(linen.Module):
    """`relu(BN(x W))`."""

    width: int

    @linen.compact
    def __call__(self, x, train: bool = False):
        return linen.relu(BatchNorm()(linen.Dense(self.width)(x), train))


NARROW, WIDE = from_linen(Layer(6)), from_linen(Layer(8))
LAYERS = [NARROW, NARROW, WIDE, WIDE]
END = from_linen(linen.Dense(CLASSES))
HOST = Auxiliary(END, cross_entropy)


def rule_of(**options):
    """Modules of 1, 1 and 2 layers; the second step to a wider layer is the "stage change"."""
    return man(partition(LAYERS, [0, 1, 3]), END, lambda i: HOST, momentum=M, **options)


@pytest.fixture(scope="module")
def batch():
    inputs = jax.random.normal(jax.random.key(0), (16, 5))
    labels = jax.random.randint(jax.random.key(1), (16,), 0, CLASSES)
    return {"inputs": inputs, "labels": labels, "index": jnp.arange(16, dtype=jnp.int32)}


@pytest.fixture(scope="module")
def started(batch):
    return jax.jit(rule_of().init)(jax.random.key(1), batch)


@pytest.fixture(scope="module")
def signal(batch):
    return jax.jit(lambda params, state, key: rule_of().signal(params, state, batch, key))


def sources(params):
    return {str(i): params[str(i + 1)]["0"] for i in range(K - 1)}


def used(state):
    """The copies that the last signal was computed with."""
    return {i: head["copy"] for i, head in state["momentum"]["heads"].items()}


def upcoming(state):
    """The copies that the next step will be computed with."""
    return state["momentum"][UPCOMING]["copies"]


def with_copies(state, copies):
    """The state with other copies for the next step."""
    own = state["momentum"]
    return state | {"momentum": own | {UPCOMING: own[UPCOMING] | {"copies": copies}}}


def close(a, b, atol):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=atol), a, b)


def mixed(m, e, theta):
    return jax.tree.map(lambda a, b: m * np.float64(a) + (1 - m) * np.float64(b), e, theta)


def test_identity_1_copies_move_towards_the_weights_from_before_the_step(started, signal):
    params, state = started
    start = upcoming(state)
    _, after, _ = signal(params, state, KEY)
    close(used(after), start, 0)
    close(upcoming(after), mixed(M, start, sources(params)), 1e-7)
    leaves = {trees.path(keys) for keys, _ in jax.tree.leaves_with_path(start["0"])}
    assert leaves == {
        "Dense_0/kernel", "Dense_0/bias",
        "BatchNorm_0/BatchNorm_0/scale", "BatchNorm_0/BatchNorm_0/bias",
    }  # fmt: skip


def test_identity_1_with_frozen_weights_the_copies_approach_them_geometrically(started, signal):
    params, state = started
    start, n = upcoming(state), 20
    for step in range(n):
        _, state, _ = signal(params, state, jax.random.fold_in(KEY, step))
    expected = mixed(M**n, start, sources(params))
    close(upcoming(state), expected, 1e-6)


def test_identity_2_momentum_one_keeps_the_copies_and_zero_takes_the_last_weights(started, batch):
    params, state = started
    kept = man(partition(LAYERS, [0, 1, 3]), END, lambda i: HOST, momentum=1.0)
    for rule, expected in ((kept, upcoming(state)), (rule_of(ema="copy"), None)):
        _, after, _ = jax.jit(rule.signal)(params, state, batch, KEY)
        close(upcoming(after), expected or sources(params), 0)


def test_identity_3_gradients_stay_in_their_module_and_pass_through_the_copy(started, batch):
    params, state = started
    rule = rule_of()

    def losses(params, copies):
        metrics = rule.signal(params, with_copies(state, copies), batch, KEY)[2]
        return jnp.stack([metrics[f"loss/{i}"] for i in range(K)])

    copies = upcoming(state)
    slopes = jax.jit(jax.jacrev(losses, (0, 1)))(params, copies)
    by_params, by_copies = jax.tree.map(np.asarray, slopes)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(by_copies))
    for j in range(K):
        own = by_params[str(j)], by_params["heads"].get(str(j), {})
        for i in range(K):
            zero = not any(np.any(leaf[i]) for leaf in jax.tree.leaves(own))
            assert zero == (i != j), (i, j)
    other = jax.tree.map(lambda leaf: 1.5 * leaf + 0.1, copies)
    signal = jax.jit(lambda c: rule.signal(params, with_copies(state, c), batch, KEY)[0])
    first, second = signal(copies), signal(other)
    for i in range(K - 1):
        a, b = (np.asarray(grads[str(i)]["0"]["Dense_0"]["kernel"]) for grads in (first, second))
        assert np.abs(a - b).max() > 1e-4
    close(first[str(K - 1)], second[str(K - 1)], 0)


def test_identity_4_equal_copy_and_bias_give_twice_the_block():
    block, same = from_linen(Layer(6)), from_linen(Identity())
    h = jax.random.normal(KEY, (8, 6))
    head = momentum_head(block, same)
    params, state = head.init(KEY, h)
    state = state | {"momentum": {"copy": params["bias"]}}
    u, _ = head.apply(params, state, h, train=True)
    expected, _ = block.apply(params["bias"], trees.part(state, "bias"), h, train=True)
    np.testing.assert_allclose(u, 2 * expected, atol=1e-5)


class Identity(linen.Module):
    """`u`, to look at what reaches the head."""

    def __call__(self, x):
        return x


def test_identity_5_predictions_are_those_of_the_plain_network():
    layers, end = cifar_resnet((1, 1), (4, 8)), pooled_classifier(CLASSES)
    host = Auxiliary(end, cross_entropy)
    rule = man(partition(layers, [1, 2]), end, lambda i: host)
    x = jax.random.normal(KEY, (2, 4, 4, 3))
    params, state = jax.jit(rule.init)(KEY, {"inputs": x, "labels": jnp.array([0, 1])})
    plain = params["0"] | {"2": params["1"]["0"], "3": params["1"]["1"]}
    stats = state["batch_stats"]
    stats = stats["0"] | {"2": stats["1"]["0"]}
    expected, _ = jax.jit(stack([*layers, end]).apply)(plain, {"batch_stats": stats}, x)
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, params["heads"])
    logits, after = jax.jit(rule.predict)(params | {"heads": broken}, state, {"inputs": x})
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert jax.tree.structure(after) == jax.tree.structure(state)


@pytest.mark.parametrize("bias", ["block", "vector", "none"])
def test_identity_6_the_head_sees_the_next_blocks_shape(bias):
    stage_change = cifar_resnet((1, 1), (16, 32))[2]
    head = momentum_head(stage_change, from_linen(Identity()), bias=bias)
    h = jax.ShapeDtypeStruct((2, 32, 32, 16), jnp.float32)
    u, _ = jax.eval_shape(lambda key, h: head.apply(*head.init(key, h), h, train=True), KEY, h)
    assert u.shape == (2, 16, 16, 32)


def test_identity_8_one_module_is_backprop(batch):
    rule = man([LAYERS], END, lambda i: HOST)
    plain = backprop(stack([*LAYERS, END]), cross_entropy)
    params, state = jax.jit(plain.init)(KEY, batch)
    wrapped = {name: {"0": stats} for name, stats in state.items()}
    found = jax.jit(rule.signal)({"0": params}, wrapped, batch, KEY)[0]["0"]
    close(found, jax.jit(plain.signal)(params, state, batch, KEY)[0], 1e-6)


def test_copies_are_not_exchanged_between_devices():
    """What a step averages is as large as parameters, statistics and metrics together."""
    rule, tx = rule_of(), optax.sgd(0.1)
    mesh = jax.sharding.AbstractMesh((2,), (axis.DATA,))
    whole, split = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec(axis.DATA)
    batch = {
        "inputs": jax.ShapeDtypeStruct((16, 5), jnp.float32),
        "labels": jax.ShapeDtypeStruct((16,), jnp.int32),
        "index": jax.ShapeDtypeStruct((16,), jnp.int32),
    }
    state = jax.eval_shape(lambda batch: make_state(rule, tx, KEY, batch), batch)
    step = make_step(rule, tx)
    metrics = jax.eval_shape(step, state, batch)[1]
    options = {"mesh": mesh, "in_specs": (whole, split), "out_specs": whole, "check_vma": False}
    traced = jax.make_jaxpr(jax.shard_map(step, **options))(state, batch)
    (inside,) = (equation.params["jaxpr"] for equation in traced.eqns)
    sums = [equation for equation in inside.eqns if equation.primitive.name == "psum"]
    size = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
    sent = sum(operand.aval.size for equation in sums for operand in equation.invars)
    assert sent == size((state.params, state.state["batch_stats"], metrics))


def test_all_parts_of_a_step_see_the_same_copies(started, signal):
    params, state = started
    _, first, _ = signal(params, state, KEY)
    _, second, _ = signal(params, first, KEY)
    close(used(second), used(first), 0)
    close(upcoming(second), upcoming(first), 0)
    _, third, _ = signal(params, second, jax.random.fold_in(KEY, 1))
    close(used(third), upcoming(first), 0)


def variables(bias, ema):
    rule = man([[b] for b in tiny_blocks()], tiny_head(),
               lambda i: Auxiliary(tiny_head(), cross_entropy), ema=ema, bias=bias)  # fmt: skip
    return rule, *rule.init(KEY, tiny_batch())


def products(bias, ema):
    rule, params, state = variables(bias, ema)
    jaxpr = jax.make_jaxpr(rule.signal)(params, state, tiny_batch(), KEY)
    return str(jaxpr).count("dot_general")


def test_variants_have_what_they_name():
    for bias in ("block", "vector", "none"):
        for ema in ("on", "copy", "off"):
            _, params, state = variables(bias, ema)
            assert ("momentum" in state) == (ema != "off")
            assert UPCOMING in state.get("momentum", {UPCOMING})
            head = params["heads"]["0"]
            assert ("bias" in head) == (bias != "none")
            if bias == "vector":
                assert head["bias"].shape == (12,)
                assert not np.any(head["bias"])


def test_no_weight_gradient_is_computed_for_copies():
    none, copy, block = products("none", "off"), products("none", "on"), products("block", "off")
    assert copy - none == 2  # forward, and backward to the module's output
    assert block - none == 3


@pytest.mark.slow
def test_copies_work_in_compiled_loops_over_equal_modules(batch):
    narrow = batch | {"inputs": jnp.tile(batch["inputs"][:, :3], 2)}
    groups = partition([NARROW] * 4, [0, 1, 2, 3])
    plain, looped = (man(groups, END, lambda i: HOST, loop=loop) for loop in (False, True))
    params, state = jax.jit(plain.init)(KEY, narrow)
    expected, found = (jax.jit(r.signal)(params, state, narrow, KEY) for r in (plain, looped))
    close(found[:2], expected[:2], 1e-5)
    assert str(jax.make_jaxpr(looped.signal)(params, state, narrow, KEY)).count("scan[") == 1


def test_wrong_settings_are_refused():
    modules, end = [[block] for block in tiny_blocks()], tiny_head()
    host = lambda i: Auxiliary(tiny_head(), cross_entropy)
    for options, message in (
        ({"momentum": 1.5}, r"momentum must lie in 0\.\.1, found 1\.5"),
        ({"ema": "slow"}, "ema must be 'on', 'copy' or 'off', found 'slow'"),
        ({"bias": "scalar"}, "bias must be 'block', 'vector' or 'none', found 'scalar'"),
    ):
        with pytest.raises(ValueError, match=message):
            man(modules, end, host, **options)
    with pytest.raises(ValueError, match=r"every module needs a layer, found \[1, 0\] layers"):
        man([modules[0], []], end, host)
    for ends in ([], [0], [1, 0, 3], [0, 4], [0, 0, 3], [-1, 3]):
        with pytest.raises(ValueError, match="ends must ascend from at least 0 to the last layer"):
            partition(LAYERS, ends)
