"""NIR graphs against their own equations in numpy, there and back, and what is refused."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from jaxlearn_kernels.lif import Neuron

from jaxlearn.core import from_linen, stack, through_time
from jaxlearn.models.layers.conv import Conv
from jaxlearn.models.layers.current_lif import CurrentLif
from jaxlearn.models.layers.flatten import Flatten
from jaxlearn.models.layers.heaviside import Heaviside
from jaxlearn.models.layers.integrate_and_fire import integrate_and_fire
from jaxlearn.models.layers.leaky_integrator import LeakyIntegrator
from jaxlearn.models.layers.lif import Lif
from jaxlearn.models.layers.parametric_lif import ParametricLif
from jaxlearn.models.nir import from_nir, to_nir
from jaxlearn.models.spiking_mlp import SpikingDense

nir = pytest.importorskip("nir", reason="needs the extra nir")

T, KEY, DT = 12, jax.random.key(0), 1e-3
HARD = Neuron(decay=0.8, reset="hard", strict=True)
WIDE = linen.initializers.variance_scaling(6.0, "fan_in", "normal")


def built(layers, shape):
    net = stack([from_linen(layer) for layer in layers])
    params, _ = jax.jit(net.init)(KEY, jnp.zeros((1, *shape)))
    return {name: params.get(name, {}) for name in map(str, range(len(layers)))}


def run(layers, params, x):
    """Outputs of every step, `[T, batch, ...]`."""
    net = stack([from_linen(layer) for layer in layers])
    return np.asarray(jax.jit(through_time(net, T, time_axis=0).apply)(params, {}, x)[0])


def advance(node, state, x, share):
    """One step of a node's differential equation in float64: `share(tau)` is what a step moves."""
    kind, get = type(node).__name__, lambda name: np.asarray(getattr(node, name), np.float64)
    if kind in ("Linear", "Affine"):
        return x @ get("weight").T + (get("bias") if kind == "Affine" else 0), state
    if kind == "Flatten":
        return x.reshape(len(x), -1), state
    if kind == "Threshold":
        return (x > get("threshold")) * 1.0, state
    if kind == "Conv2d":
        return conv2d(x, get("weight"), get("bias"), node.stride[0], node.padding[0]), state
    v, i = state or (np.zeros_like(x), np.zeros_like(x))
    if kind == "CubaLIF":
        i = i + share(get("tau_syn")) * (-i + get("w_in") * x)
        x = i
    if kind in ("IF", "I"):
        v = v + DT * get("r") * x
    else:
        tau = get("tau_mem" if kind == "CubaLIF" else "tau")
        v = v + share(tau) * (get("v_leak") - v + get("r") * x)
    if kind in ("LI", "I"):
        return v, (v, i)
    z = v > get("v_threshold")
    return z * 1.0, (np.where(z, get("v_reset"), v), i)


def conv2d(x, weight, bias, stride, pad):
    wide = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    n = weight.shape[-1]
    rows, columns = ((s + 2 * pad - n) // stride + 1 for s in x.shape[2:])
    y = np.empty((len(x), len(weight), rows, columns))
    for r, c in np.ndindex(rows, columns):
        part = wide[:, :, r * stride : r * stride + n, c * stride : c * stride + n]
        y[:, :, r, c] = np.einsum("bcij,ocij->bo", part, weight) + bias
    return y


def simulated(graph, x, method="euler"):
    """The graph by itself, channels first, `[T, batch, ...]`."""
    share = {"euler": lambda tau: DT / tau, "exact": lambda tau: 1 - np.exp(-DT / tau)}[method]
    order, states, outputs = ["input"], {}, []
    while order[-1] in dict(graph.edges):
        order.append(dict(graph.edges)[order[-1]])
    for now in np.asarray(x, np.float64):
        for name in order[1:-1]:
            now, states[name] = advance(graph.nodes[name], states.get(name), now, share)
        outputs.append(now)
    return np.stack(outputs)


def dense(width, **options):
    return linen.Dense(width, kernel_init=WIDE, **options)


CHAINS = {
    "lif": [dense(9), Lif(HARD), dense(5, use_bias=False), Lif(replace(HARD, input_decay=True))],
    "if": [dense(9), Lif(integrate_and_fire(reset="hard", strict=True))],
    "current-lif": [dense(9), CurrentLif(HARD, 0.6), dense(4), LeakyIntegrator(0.9)],
    "levels": [dense(9), Lif(replace(HARD, threshold=0.6, v_reset=0.0)), LeakyIntegrator(1.0)],
    "heaviside": [dense(9), Heaviside(Neuron(threshold=0.4, strict=True)), dense(3)],
}


@pytest.mark.parametrize("method", ["euler", "exact"])
@pytest.mark.parametrize("name", CHAINS)
def test_the_graph_s_equations_in_numpy_give_the_same_spikes(name, method):
    layers, params = CHAINS[name], built(CHAINS[name], (7,))
    graph = to_nir(layers, params, (7,), dt=DT, method=method)
    x = jax.random.normal(KEY, (T, 6, 7))
    ours, theirs = run(layers, params, x), simulated(graph, x, method)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert np.ptp(ours) > 0


def test_images_are_reordered_on_the_way():
    layers = [Conv(3, stride=2), Lif(HARD), Conv(2, bias=False), Lif(HARD), Flatten(), dense(4)]
    params, x = built(layers, (6, 4, 2)), 2 * jax.random.normal(KEY, (T, 3, 6, 4, 2))
    graph = to_nir(layers, params, (6, 4, 2), dt=DT)
    theirs = simulated(graph, np.moveaxis(x, -1, 2))
    np.testing.assert_allclose(run(layers, params, x), theirs, rtol=1e-4, atol=1e-4)
    assert np.ptp(theirs, 0).max() > 0


def everything():
    noted = Neuron(
        decay=1 / 11, reset="hard", strict=True, surrogate="atan", alpha=5.0, detach_reset=True
    )
    layers = [Conv(3, stride=2, bias=False), Lif(noted), Flatten(), linen.Dense(9)]
    layers += [CurrentLif(noted, 0.3), linen.Dense(4, use_bias=False), LeakyIntegrator(0.1)]
    return layers, built(layers, (6, 4, 2))


@pytest.mark.parametrize("method", ["euler", "exact"])
def test_there_and_back_is_the_same_network_to_the_bit(method, tmp_path):
    layers, params = everything()
    graph = to_nir(layers, params, (6, 4, 2), dt=DT, method=method)
    nir.write(tmp_path / "net.nir", graph)
    for read in (graph, nir.read(tmp_path / "net.nir")):
        back, weights = from_nir(read, dt=DT, method=method)
        assert back == layers
        assert jax.tree.structure(weights) == jax.tree.structure(params)
        jax.tree.map(np.testing.assert_array_equal, weights, params)


def test_a_node_that_was_changed_is_read_by_its_own_numbers():
    layers, params = everything()
    graph = to_nir(layers, params, (6, 4, 2), dt=DT)
    (lif,) = (node for node in graph.nodes.values() if type(node).__name__ == "LIF")
    lif.tau[:] = 4 * DT
    lif.r[:] = 4.0
    assert from_nir(graph, dt=DT)[0][1].neuron.decay == pytest.approx(0.75)


def test_a_graph_from_elsewhere_runs_as_its_equations():
    rng = np.random.default_rng(0)
    fill = lambda value: np.full(5, value)
    lif = nir.LIF(tau=fill(0.01), r=fill(1.0), v_leak=fill(0.0), v_threshold=fill(0.1))
    graph = nir.NIRGraph.from_list(nir.Affine(rng.normal(size=(5, 7)), rng.normal(size=5)), lif)
    x = rng.normal(size=(T, 6, 7))
    layers, params = from_nir(graph, dt=DT)
    np.testing.assert_array_equal(run(layers, params, jnp.float32(x)), simulated(graph, x))


def from_elsewhere(*names):
    """Nodes of five neurons with the levels of another library, whose input is scaled."""
    fill = lambda value: np.full(5, value)
    levels = {"v_threshold": fill(0.1), "v_reset": fill(0.0)}
    made = {
        "if": nir.IF(r=fill(40.0), **levels),
        "cuba": nir.CubaLIF(
            tau_syn=fill(0.004), tau_mem=fill(0.01), r=fill(1.5), v_leak=fill(0.0), **levels
        ),
        "lif": nir.LIF(tau=fill(0.01), r=fill(3.0), v_leak=fill(0.0), **levels),
        "li": nir.LI(tau=fill(0.01), r=fill(1.0), v_leak=fill(0.0)),
        "i": nir.I(r=fill(2.0)),
    }
    return [made[name] for name in names]


WITH_TIME_CONSTANT = [(name, way) for name in ("cuba", "lif", "li") for way in ("euler", "exact")]


@pytest.mark.parametrize(("name", "method"), [*WITH_TIME_CONSTANT, ("if", "euler"), ("i", "euler")])
def test_what_scales_the_input_goes_into_the_weights_before(name, method):
    rng = np.random.default_rng(0)
    first = nir.Affine(rng.normal(size=(5, 7)), rng.normal(size=5))
    second = nir.Linear(rng.normal(size=(5, 5)))
    graph = nir.NIRGraph.from_list(first, *from_elsewhere(name), second, *from_elsewhere("li"))
    x = rng.normal(size=(T, 6, 7))
    ours = run(*from_nir(graph, dt=DT, method=method), jnp.float32(x))
    np.testing.assert_allclose(ours, simulated(graph, x, method), rtol=1e-4, atol=1e-6)
    assert np.ptp(ours) > 0


def test_a_gain_behind_a_flattened_convolution_goes_into_its_weights():
    rng = np.random.default_rng(0)
    pads = {"stride": 1, "padding": 1, "dilation": 1, "groups": 1}
    conv = nir.Conv2d((4, 4), rng.normal(size=(3, 2, 3, 3)), bias=rng.normal(size=3), **pads)
    flat = nir.Flatten({"input": np.array([3, 4, 4])}, start_dim=0, end_dim=-1)
    fill = lambda value: np.full(48, value)
    graph = nir.NIRGraph.from_list(conv, flat, nir.IF(r=fill(50.0), v_threshold=fill(0.1)))
    x = rng.normal(size=(T, 3, 2, 4, 4))
    layers, params = from_nir(graph, dt=DT)
    ours = run(layers, params, jnp.float32(np.moveaxis(x, 2, -1)))
    theirs = simulated(graph, x).reshape(T, 3, 3, 4, 4)
    np.testing.assert_array_equal(ours.reshape(T, 3, 4, 4, 3), np.moveaxis(theirs, 2, -1))
    assert 0 < ours.mean() < 1


def test_a_gain_between_neurons_and_a_second_input_are_refused():
    first = nir.Linear(np.eye(5))
    graph = nir.NIRGraph.from_list(first, *from_elsewhere("lif", "li"))
    with pytest.raises(ValueError, match=r"'li': scales the input by 0\.1, and no linear node"):
        from_nir(graph, dt=DT)
    graph = with_lif()
    graph.nodes["other"] = nir.Input({"input": np.array([3])})
    graph.edges += [("other", "lif")]
    with pytest.raises(ValueError, match="a chain has one input, found 2"):
        from_nir(graph, dt=DT)


def test_blocks_and_learned_leaks_are_taken_apart():
    layers = [SpikingDense(9, replace(HARD, decay=0.3), layer=ParametricLif)]
    params = built(layers, (7,))
    params["0"]["ParametricLif_0"]["w"] = jnp.float32(0.4)
    graph = to_nir(layers, params, (7,), dt=DT)
    x = jax.random.normal(KEY, (T, 6, 7))
    np.testing.assert_array_equal(run(layers, params, x), simulated(graph, x))
    assert type(graph.nodes["lif"]).__name__ == "LIF"


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (Lif(Neuron(strict=True)), 'reset="soft" has no NIR form'),
        (Lif(replace(HARD, strict=False)), "fires above the threshold"),
        (CurrentLif(HARD, 1.0), "CurrentLif without a leak"),
        (linen.Dropout(0.5), "Dropout has no NIR form"),
    ],
)
def test_what_has_no_nir_form_is_refused(layer, text):
    with pytest.raises(ValueError, match=text):
        to_nir([layer], {}, (3,))


def with_lif(**changes):
    fill = lambda value: np.full(3, value)
    options = dict(tau=0.01, r=1.0, v_leak=0.0, v_threshold=1.0, v_reset=0.0) | changes
    lif = nir.LIF(**{k: fill(v) if np.ndim(v) == 0 else np.array(v) for k, v in options.items()})
    return nir.NIRGraph.from_list(lif)


@pytest.mark.parametrize(
    ("graph", "text"),
    [
        (lambda: with_lif(tau=[0.01, 0.02, 0.03]), "'lif': tau differs between neurons"),
        (lambda: with_lif(r=0.3), "'lif': scales the input by 0.03, and no linear node"),
        (lambda: with_lif(v_leak=0.5), "v_leak=0.5 is not v_reset=0"),
        (lambda: with_lif(tau=DT / 2), "no time constant for steps of dt=0.001"),
        (lambda: nir.NIRGraph.from_list(nir.Scale(np.ones(3))), "'scale': Scale has no counter"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(graph, text):
    with pytest.raises(ValueError, match=text):
        from_nir(graph(), dt=DT)


def test_loops_are_refused():
    graph = with_lif()
    graph.nodes["back"] = nir.Linear(np.eye(3))
    graph.edges += [("lif", "back"), ("back", "lif")]
    with pytest.raises(ValueError, match="only chains can be read"):
        from_nir(graph, dt=DT)


@pytest.mark.parametrize("options", [dict(dt=0.0), dict(method="other")])
def test_wrong_clocks_are_refused(options):
    with pytest.raises(ValueError, match="expected dt > 0 and 'euler' or 'exact'"):
        to_nir([Lif(HARD)], {}, (3,), **options)
