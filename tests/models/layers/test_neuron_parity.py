"""Our neurons against those of other libraries, where the extra `peers` is installed.

One test per convention: a linear layer and neurons on the same weights and inputs give the same
spikes, and a random linear function of the spikes the same gradient of the weights within 1e-4.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from jaxlearn_kernels.lif import Neuron

from jaxlearn.core import from_linen, stack, through_time
from jaxlearn.models.layers.delayed_reset_lif import DelayedResetLif
from jaxlearn.models.layers.leaky_integrator import LeakyIntegrator
from jaxlearn.models.layers.lif import SLTT_NEURON, Lif
from jaxlearn.models.layers.parametric_lif import ParametricLif
from jaxlearn.models.layers.synapse_filter import SynapseFilter
from jaxlearn.models.layers.traced import traced

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

T, BATCH, FEATURES, WIDTH = 12, 6, 8, 10
RNG = np.random.default_rng(0)
X = RNG.normal(size=(T, BATCH, FEATURES)).astype(np.float32)
W = (0.7 * RNG.normal(size=(FEATURES, WIDTH))).astype(np.float32)
SECOND = (0.9 * RNG.normal(size=(WIDTH, WIDTH))).astype(np.float32)
SEEN = RNG.normal(size=(T, BATCH, WIDTH)).astype(np.float32)
DENSE = from_linen(linen.Dense(WIDTH, use_bias=False))


def package(name):
    return pytest.importorskip(name, reason=f"{name} comes with the extra peers")


def ours(*blocks, params=None, latency=0):
    """Spikes and the gradient of all parameters."""
    net = through_time(stack([DENSE, *blocks]), T, time_axis=0)
    whole = {"0": {"kernel": jnp.asarray(W)}} | {str(i + 1): {} for i in range(len(blocks))}

    @jax.jit
    def both(params):
        def seen(params):
            spikes, _ = net.apply(params, {}, X)
            late = jnp.pad(spikes, ((latency, 0), (0, 0), (0, 0)))[:T]
            return jnp.sum(SEEN * late), late

        return jax.grad(seen, has_aux=True)(params)

    grads, spikes = both(whole | (params or {}))
    return spikes, grads


def theirs(step, *extra):
    """The same for a function of one step in PyTorch, with the gradients of `extra` leaves."""
    torch = package("torch")
    weight = torch.from_numpy(W.copy()).requires_grad_()
    spikes = torch.stack([step(torch.from_numpy(x) @ weight) for x in X])
    (torch.from_numpy(SEEN) * spikes).sum().backward()
    return spikes.detach().numpy(), [leaf.grad.numpy() for leaf in (weight, *extra)]


def agree(found, wanted):
    (spikes, grads), (their_spikes, their_grads) = found, wanted
    np.testing.assert_array_equal(spikes, their_spikes)
    assert 0.02 < np.mean(their_spikes) < 0.9
    for ours, other in zip(jax.tree.leaves(grads), their_grads, strict=True):
        assert np.linalg.norm(ours - other) < 1e-4 * np.linalg.norm(other)
        assert np.linalg.norm(other) > 0


SURROGATES = {"atan": ("ATan", 2.0), "triangle": ("PiecewiseQuadratic", 1.0)}


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("detach_reset", [False, True])
@pytest.mark.parametrize("v_reset", [None, 0.0, -0.2])
@pytest.mark.parametrize("decay_input", [False, True])
def test_spikingjelly_lif(decay_input, v_reset, detach_reset, surrogate):
    library = package("spikingjelly.activation_based.neuron")
    name, alpha = SURROGATES[surrogate]
    kind = getattr(package("spikingjelly.activation_based.surrogate"), name)
    options = dict(tau=1.6, decay_input=decay_input, v_threshold=0.8, v_reset=v_reset)
    node = library.LIFNode(**options, surrogate_function=kind(alpha), detach_reset=detach_reset)
    neuron = Neuron(
        decay=1 - 1 / 1.6,
        threshold=0.8,
        reset="soft" if v_reset is None else "hard",
        v_reset=v_reset or 0.0,
        input_decay=decay_input,
        detach_reset=detach_reset,
        surrogate=surrogate,
        alpha=alpha,
    )
    agree(ours(from_linen(Lif(neuron))), theirs(node))


def test_spikingjelly_sltt():
    library = package("spikingjelly.activation_based.neuron")
    kind = package("spikingjelly.activation_based.surrogate").PiecewiseQuadratic
    node = library.SLTTLIFNode(
        tau=1.1, decay_input=False, v_reset=None, surrogate_function=kind(1.0)
    )
    cut = Lif(Neuron(**{**vars(SLTT_NEURON), "detach_carry": True}))
    agree(ours(from_linen(cut)), theirs(node))


def test_spikingjelly_parametric_lif():
    library = package("spikingjelly.activation_based.neuron")
    kind = package("spikingjelly.activation_based.surrogate").ATan
    node = library.ParametricLIFNode(init_tau=1.7, decay_input=True, surrogate_function=kind(2.0))
    neuron = Neuron(decay=1 - 1 / 1.7, reset="hard", input_decay=True, surrogate="atan")
    params = {"1": {"w": jnp.float32(-np.log(0.7))}}
    agree(ours(from_linen(ParametricLif(neuron)), params=params), theirs(node, node.w))


def test_spikingjelly_ottt():
    """Two layers, the second one taught by the trace of the first one's spikes."""
    torch, library = package("torch"), package("spikingjelly.activation_based.neuron")
    layer = package("spikingjelly.activation_based.layer")
    nodes = [library.OTTTLIFNode(tau=1.6) for _ in range(2)]
    linear = torch.nn.Linear(WIDTH, WIDTH, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(SECOND.T.copy()))
    chain = layer.OTTTSequential(nodes[0], linear, nodes[1])
    spikes, (first, second) = theirs(lambda current: chain(current)[0], linear.weight)
    neuron = Neuron(decay=1 - 1 / 1.6, surrogate="sigmoid", alpha=4.0, detach_carry=True)
    blocks = from_linen(Lif(neuron)), traced(DENSE, neuron.decay), from_linen(Lif(neuron))
    found = ours(*blocks, params={"2": {"kernel": jnp.asarray(SECOND)}})
    agree(found, (spikes, [first, second.T]))


@pytest.mark.parametrize("learnable", [False, True])
def test_spikingjelly_synapse_filter(learnable):
    layer = package("spikingjelly.activation_based.layer").SynapseFilter(2.5, learnable)
    kind = package("spikingjelly.activation_based.surrogate").ATan
    node = package("spikingjelly.activation_based.neuron").LIFNode(surrogate_function=kind(2.0))
    extra = (layer.w,) if learnable else ()
    currents, grads = theirs(lambda current: layer(node(current)), *extra)
    neuron = Neuron(decay=0.5, reset="hard", input_decay=True, surrogate="atan")
    filtered = from_linen(SynapseFilter(1 - 1 / 2.5, learnable))
    params = {"2": {"w": jnp.float32(-np.log(1.5))}} if learnable else None
    found, own = ours(from_linen(Lif(neuron)), filtered, params=params)
    np.testing.assert_allclose(found, currents, rtol=1e-5, atol=1e-6)
    for ours_, other in zip(jax.tree.leaves(own), grads, strict=True):
        assert np.linalg.norm(ours_ - other) < 1e-4 * np.linalg.norm(other)


@pytest.mark.parametrize("mechanism", ["subtract", "zero", "none"])
def test_snntorch_leaky(mechanism):
    snntorch = package("snntorch")
    node = snntorch.Leaky(beta=0.8, init_hidden=True, reset_mechanism=mechanism)
    neuron = Neuron(
        decay=0.8,
        reset={"subtract": "soft", "zero": "hard", "none": "none"}[mechanism],
        strict=True,
        detach_reset=True,
        surrogate="atan",
    )
    agree(ours(from_linen(DelayedResetLif(neuron))), theirs(node))


def test_snntorch_synaptic():
    snntorch = package("snntorch")
    slope = package("snntorch.surrogate").fast_sigmoid(slope=5)
    node = snntorch.Synaptic(alpha=0.4, beta=0.7, init_hidden=True, spike_grad=slope)
    neuron = Neuron(decay=0.7, strict=True, detach_reset=True, surrogate="fast_sigmoid", alpha=5.0)
    agree(ours(from_linen(LeakyIntegrator(0.4)), from_linen(DelayedResetLif(neuron))), theirs(node))


def test_spyx_lif_fires_one_step_later_than_the_delayed_reset():
    spyx, nnx = package("spyx"), package("flax.nnx")
    node = spyx.nn.LIF((WIDTH,), 0.8, activation=spyx.axn.superspike(5), rngs=nnx.Rngs(0))
    graph, variables = nnx.split(node)

    @jax.jit
    def both(weight):
        def seen(weight):
            def body(v, x):
                spikes, v = nnx.merge(graph, variables)(x @ weight, v)
                return v, spikes

            _, spikes = jax.lax.scan(body, node.initial_state(BATCH), X)
            return jnp.sum(SEEN * spikes), spikes

        return jax.grad(seen, has_aux=True)(weight)

    grads, spikes = both(jnp.asarray(W))
    neuron = Neuron(decay=0.8, strict=True, surrogate="fast_sigmoid", alpha=5.0)
    agree(ours(from_linen(DelayedResetLif(neuron)), latency=1), (spikes, [grads]))
