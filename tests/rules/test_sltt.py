"""The identities that define SLTT (Meng et al., ICCV 2023), each against an oracle of its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jaxlearn_kernels.lif import Neuron, step

from jaxlearn.core import Model, from_linen, make_state, make_step, stack
from jaxlearn.models.layers.conv import Conv
from jaxlearn.models.layers.lif import SLTT_NEURON
from jaxlearn.models.spiking_mlp import spiking_mlp_blocks
from jaxlearn.models.spiking_resnet import Readout, ResidualBlock
from jaxlearn.objectives import cross_entropy, cross_entropy_with_mse
from jaxlearn.rules.backprop import bptt
from jaxlearn.rules.sltt import examples, sltt

LEAK = 1 - 1 / 1.1
LOSS = cross_entropy_with_mse(0.05)
KEY = jax.random.key(5)


def mlp(decay=LEAK, widths=(32, 32, 32), **options) -> Model:
    neuron = Neuron(decay=decay, **options)
    return stack(spiking_mlp_blocks(10, widths=widths, neuron=neuron))


def conv_net(dropout=0.3) -> Model:
    blocks = [Conv(4, bias=False), ResidualBlock(6, 2, dropout), Readout(10, dropout)]
    return stack([from_linen(block) for block in blocks])


def frames(T, size=16, features=(20,), seed=0):
    x_key, y_key = jax.random.split(jax.random.key(seed))
    labels = jax.random.randint(y_key, (size,), 0, 10)
    inputs = 1.5 * jax.random.normal(x_key, (size, T, *features))
    return {"inputs": inputs, "labels": labels, "index": jnp.arange(size, dtype=jnp.int32)}


def images(size=8, side=8):
    return {k: v[:, 0] if k == "inputs" else v for k, v in frames(1, size, (side, side, 3)).items()}


def gradient(rule, batch, key=KEY, start=None):
    """The signal from the given start, by default the rule's own."""
    params, state = start or jax.jit(rule.init)(jax.random.key(0), batch)
    return jax.jit(rule.signal)(params, state, batch, key)


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]).astype(np.float64)


def relative(a, b):
    return np.linalg.norm(flat(a) - flat(b)) / np.linalg.norm(flat(b))


def cosine(a, b):
    a, b = flat(a), flat(b)
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


@pytest.mark.parametrize(("decay", "T"), [(0.0, 5), (LEAK, 1)])
def test_identity_1_without_leak_or_with_one_step_it_is_bptt(decay, T):
    batch, net = frames(T), mlp(decay, (16, 16))
    ours = gradient(sltt(net, LOSS, T, time_axis=1), batch)[0]
    full = gradient(bptt(net, LOSS, T, time_axis=1), batch)[0]
    assert relative(ours, full) < 1e-6


def unrolled(net, T, batch, keys):
    """The loss of all steps in one Python loop, membranes cut between the steps."""
    params, state = jax.jit(net.init)(jax.random.key(0), batch["inputs"])
    state = {"batch_stats": state["batch_stats"]}

    def loss_of(params):
        now, total = state, 0.0
        for key in keys:
            out, now = net.apply(params, now, batch["inputs"], train=True, key=key)
            now = now | {"sequence": lax.stop_gradient(now["sequence"])}
            total += LOSS(out, batch)[0] / T
        return total, now["batch_stats"]

    return jax.jit(jax.grad(loss_of, has_aux=True))(params)


def test_identity_2_accumulated_gradient_is_that_of_the_unrolled_net_with_cut_membranes():
    batch, net, T = images(), conv_net(), 2
    grads, state, _ = gradient(sltt(net, LOSS, T), batch)
    key = jax.random.fold_in(KEY, batch["index"][0])
    oracle, stats = unrolled(net, T, batch, [key] * T)
    assert relative(grads, oracle) < 1e-5
    assert relative(state["batch_stats"], stats) < 1e-6
    assert np.abs(flat(oracle)).max() > 0


@pytest.mark.slow
def test_identity_2_a_mask_for_each_step_would_be_another_gradient():
    batch, net, T = images(), conv_net(), 2
    grads = gradient(sltt(net, LOSS, T), batch)[0]
    keys = [jax.random.fold_in(KEY, t) for t in range(T)]
    assert relative(unrolled(net, T, batch, keys)[0], grads) > 0.05


@pytest.mark.parametrize(
    ("surrogate", "alpha", "target"),
    [
        ("triangle", 0.05, "one-hot"),
        pytest.param("triangle", 0.0, 1.0, marks=pytest.mark.slow),
        pytest.param("rectangle", 0.05, 1.0, marks=pytest.mark.slow),
        pytest.param("sigmoid", 0.05, 1.0, marks=pytest.mark.slow),
    ],
)
def test_identity_2_holds_for_every_surrogate_and_loss(surrogate, alpha, target):
    batch, loss = frames(4, size=6), cross_entropy_with_mse(alpha, target)
    widths = (12, 12)
    inside = gradient(sltt(mlp(0.5, widths, surrogate=surrogate), loss, 4, time_axis=1), batch)[0]
    cut = mlp(0.5, widths, surrogate=surrogate, detach_carry=True)
    outside = gradient(bptt(cut, loss, 4, time_axis=1), batch)[0]
    assert relative(inside, outside) < 1e-5


@pytest.mark.slow
def test_identity_3_forward_passes_are_the_same_to_the_bit():
    def telling(outputs, batch):
        return LOSS(outputs, batch)[0], {"logits": outputs}

    batch, net, T = images(), conv_net(), 3
    rules = [sltt(net, telling, T), sltt(net, telling, T, K=2), bptt(net, telling, T)]
    runs = [gradient(rule, batch) for rule in rules]
    for _, state, metrics in runs[1:]:
        np.testing.assert_array_equal(metrics["logits"], runs[0][2]["logits"])
        jax.tree.map(np.testing.assert_array_equal, state["batch_stats"], runs[0][1]["batch_stats"])
    params, state = jax.jit(rules[0].init)(jax.random.key(0), batch)
    # steps that do not teach move the statistics all the same
    assert relative(runs[1][1]["batch_stats"], state["batch_stats"]) > 0.1
    ours, theirs = (jax.jit(rules[i].predict)(params, state, batch)[0] for i in (0, 2))
    np.testing.assert_array_equal(ours, theirs)


def test_identity_4_all_steps_chosen_is_sltt():
    batch, net = frames(4), mlp(widths=(16, 16))
    ours = gradient(sltt(net, LOSS, 4, K=4, time_axis=1), batch)[0]
    np.testing.assert_array_equal(
        flat(ours), flat(gradient(sltt(net, LOSS, 4, time_axis=1), batch)[0])
    )


def test_identity_4_the_mean_over_all_choices_is_K_over_T_of_sltt():
    T, K, batch, net = 4, 2, frames(4, size=4), mlp(widths=(12, 12))
    rule = sltt(net, LOSS, T, K=K, time_axis=1)
    params, state = jax.jit(rule.init)(jax.random.key(0), batch)
    signal = jax.jit(rule.signal)
    seen = {}
    for seed in range(120):
        grads = flat(signal(params, state, batch, jax.random.key(seed))[0])
        seen.setdefault(grads.tobytes(), []).append(grads)
    assert len(seen) == 6  # 4 choose 2
    assert min(map(len, seen.values())) > 5
    full = flat(gradient(sltt(net, LOSS, T, time_axis=1), batch)[0])
    mean = np.mean([grads[0] for grads in seen.values()], 0)
    assert np.linalg.norm(mean - K / T * full) / np.linalg.norm(full) < 1e-6


def with_frame_offsets(net, T):
    """`net` with a parameter added to frame t, whose gradient is that of the input at step t."""

    def init(key, x):
        params, state = net.init(key, x["frame"])
        return {"net": params, "offset": jnp.zeros((T, x["frame"].shape[-1]))}, state

    def apply(params, state, x, *, train=False, key=None):
        frame = x["frame"] + x["at"] @ params["offset"]
        y, state = net.apply(params["net"], state, frame, train=train, key=key)
        return (y, x["at"][0]), state

    return Model(init, apply)


@pytest.mark.parametrize("late", [1, 3])
def test_identity_5_the_loss_of_a_step_teaches_nothing_about_earlier_frames(late):
    T, batch = 4, frames(4)
    at = jnp.broadcast_to(jnp.eye(T), (16, T, T))
    batch = batch | {"inputs": {"frame": batch["inputs"], "at": at}}

    def loss_at_one_step(outputs, batch):
        logits, now = outputs
        return cross_entropy(logits, batch)[0] * now[late], {}

    net = with_frame_offsets(mlp(0.5), T)
    ours = gradient(sltt(net, loss_at_one_step, T, time_axis=1), batch)[0]["offset"]
    full = gradient(bptt(net, loss_at_one_step, T, time_axis=1), batch)[0]["offset"]
    others = np.delete(np.arange(T), late)
    assert np.all(np.asarray(ours)[others] == 0)
    assert np.any(np.asarray(ours)[late] != 0)
    assert np.all(np.any(np.asarray(full)[:late] != 0, -1))


def test_identity_6_cosine_with_bptt_falls_with_the_leak_and_is_high_at_the_papers():
    T, batch = 6, frames(6)
    start = jax.jit(sltt(mlp(), LOSS, T, time_axis=1).init)(jax.random.key(0), batch)
    pairs = []
    for decay in (LEAK, 0.3, 0.5):
        rules = (rule(mlp(decay), LOSS, T, time_axis=1) for rule in (bptt, sltt))
        full, ours = (gradient(rule, batch, start=start)[0] for rule in rules)
        pairs.append((cosine(ours, full), relative(ours, full)))
    cosines, differences = zip(*pairs, strict=True)
    assert cosines[0] > 0.99
    assert 0.02 < differences[0] < 0.15
    assert list(cosines) == sorted(cosines, reverse=True)


def temp_bytes(rule, batch):
    params, state = jax.eval_shape(rule.init, jax.random.key(0), batch)
    lowered = jax.jit(rule.signal).lower(params, state, batch, jax.random.key(0))
    return lowered.compile().memory_analysis().temp_size_in_bytes


def test_identity_7_memory_does_not_grow_with_time():
    batch, net = images(128), mlp(widths=(128, 128))
    short, long = (temp_bytes(sltt(net, LOSS, T), batch) for T in (4, 32))
    assert abs(long - short) < 0.05 * short
    short, long = (temp_bytes(sltt(net, LOSS, T, K=1), batch) for T in (4, 32))
    assert abs(long - short) < 0.05 * short
    short, long = (temp_bytes(bptt(net, LOSS, T), batch) for T in (4, 32))
    assert long > 4 * short


def test_identity_8_one_hop_through_time_passes_between_0_and_the_leak():
    def next_charge(u, x):
        _, v, _ = step(jnp.zeros(()), u, SLTT_NEURON)  # from rest the charge is the input
        return step(v, x, SLTT_NEURON)[2]

    u = jnp.linspace(-3, 4, 1001)
    hops = np.asarray(jax.vmap(jax.grad(next_charge), (0, None))(u, jnp.float32(0.3)))
    assert hops.min() >= 0
    assert hops.max() <= LEAK + 1e-7
    np.testing.assert_allclose(hops, LEAK * (1 - np.maximum(0, 1 - np.abs(u - 1))), atol=1e-6)


def numpy_oracle(params, x, labels):
    """SLTT of a two-layer net written out by hand in float64 (the neuron of the official code)."""
    weights = [
        np.asarray(leaf, np.float64)
        for leaf in (
            params["0"]["Dense_0"]["kernel"],
            params["1"]["Dense_0"]["kernel"],
            params["2"]["kernel"],
        )
    ]
    T, size = x.shape[1], x.shape[0]
    v, grads, loss, spike_count = [0.0, 0.0], [np.zeros_like(w) for w in weights], 0.0, 0.0
    onehot = np.eye(10)[labels]
    for t in range(T):
        inputs, slopes = [np.asarray(x[:, t], np.float64)], []
        for layer in range(2):
            u = LEAK * v[layer] + inputs[-1] @ weights[layer]
            spikes = (u >= 1.0).astype(np.float64)
            v[layer] = u - spikes
            slopes.append(np.maximum(0, 1 - np.abs(u - 1)))
            inputs.append(spikes)
            spike_count += spikes.sum()
        logits = inputs[-1] @ weights[2]
        shifted = np.exp(logits - logits.max(-1, keepdims=True))
        softmax = shifted / shifted.sum(-1, keepdims=True)
        squared = np.mean((logits - 1) ** 2)
        loss += (0.95 * -np.mean(np.log((softmax * onehot).sum(-1))) + 0.05 * squared) / T
        delta = 0.95 * (softmax - onehot) / size + 0.05 * 2 * (logits - 1) / logits.size
        for layer in (2, 1, 0):
            grads[layer] += inputs[layer].T @ delta / T
            if layer:
                delta = (delta @ weights[layer].T) * slopes[layer - 1]
    return grads, loss, spike_count


def test_matches_the_official_neuron_written_out_in_numpy():
    batch, net = frames(6, features=(20,)), mlp(widths=(24, 24))
    rule = sltt(net, LOSS, 6, time_axis=1)
    params, state = jax.jit(rule.init)(jax.random.key(0), batch)
    grads, _, metrics = jax.jit(rule.signal)(params, state, batch, KEY)
    wanted, loss, spike_count = numpy_oracle(params, np.asarray(batch["inputs"]), batch["labels"])
    assert spike_count > 100
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    found = [grads["0"]["Dense_0"]["kernel"], grads["1"]["Dense_0"]["kernel"], grads["2"]["kernel"]]
    for ours, theirs in zip(found, wanted, strict=True):
        assert np.linalg.norm(ours - theirs) < 1e-4 * np.linalg.norm(theirs)


@pytest.mark.parametrize("name", sorted(examples()))
def test_examples_learn_the_toy_problem(name):
    import optax

    from jaxlearn.models.tiny import tiny_batch

    rule, tx = examples()[name], optax.adam(0.02)
    state = jax.jit(lambda: make_state(rule, tx, jax.random.key(0), tiny_batch()))()
    train = jax.jit(make_step(rule, tx))
    for seed in range(40):
        state, _ = train(state, tiny_batch(seed=seed))
    fresh = tiny_batch(seed=1000)
    outputs, _ = jax.jit(rule.predict)(state.params, state.state, fresh)
    assert np.mean(np.argmax(outputs, -1) == fresh["labels"]) > 0.9


@pytest.mark.parametrize(
    ("T", "K", "text"), [(0, None, "T must be"), (4, 5, "1..4"), (4, 0, "1..4")]
)
def test_refuses_impossible_numbers_of_steps(T, K, text):
    with pytest.raises(ValueError, match=text):
        sltt(mlp(), LOSS, T, K=K)
