"""PERP: rows are what their names say, every pruner meets every subset, claims follow figures."""

import json
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import perp
from experiments.harness import Measured, Run
from experiments.parts import perp_text, perp_vision
from experiments.parts.perp_claims import claims
from jaxlearn.core import trees
from jaxlearn.parametrizations import retrain
from jaxlearn.parametrizations.retrain import SUBSETS
from jaxlearn.procedures.reconstruct import reconstruct
from tests.data.test_llama_folder import folder as llama_folder
from tests.data.test_llama_folder import tensors
from tests.drawn import variables
from tests.models import test_llama_weights as llama_weights

SMOKE = perp.PRESETS["smoke"]
PRUNERS = ("magnitude", "random", "wanda", "wanda_matrix", "sparsegpt")


def by_name(preset):
    return {row.name: row.config for row in perp.rows(perp.PRESETS[preset])}


@pytest.fixture(scope="module")
def network():
    """A decoder that nobody trained, and what enters its blocks."""
    size = perp.size_of(SMOKE)
    blocks = perp_text.blocks_of(size)
    tokens = np.random.default_rng(0).integers(0, 65, (4, 8))
    params, _ = variables(perp_text.whole(size), tokens)
    x, _ = jax.jit(blocks[0].apply)(params["0"], {}, tokens)
    return blocks, params, x


@pytest.mark.parametrize(
    "pruner, pattern",
    [
        pytest.param(pruner, pattern, marks=() if some else pytest.mark.slow)
        for pruner in PRUNERS
        for pattern in ("unstructured", "2:4")
        for some in [(pruner == "magnitude") == (pattern == "unstructured")]
    ],
)
def test_every_pruner_meets_every_subset_and_the_zeros_stay(network, pruner, pattern):
    blocks, params, x = network
    config = replace(SMOKE, pruner=pruner, pattern=pattern)
    within = perp.ROLES.pruned
    made = reconstruct(
        blocks[1:2], [params["1"]], x, perp.pruner_of(config), within, jax.random.key(1)
    )
    cut = params | {"1": made.params[0]}
    zeros = [
        np.asarray(leaf == 0)
        for keys, leaf in jax.tree.leaves_with_path(cut)
        if within(trees.path(keys))
    ]
    # half of all in groups of four, else 0.6 n m of a matrix or of each output
    share = 0.5 if pattern == "2:4" else 0.6
    assert all(abs(mask.mean() - share) < 0.03 for mask in zeros)
    for subset in SUBSETS:
        if subset == "lora":
            continue
        ways = retrain([subset], perp.ROLES, rank=2, alpha=4.0)

        @jax.jit
        def merged(cut, ways=ways):
            theta, frozen = ways.parametrization.init(jax.random.key(2), cut)
            return ways.merge(jax.tree.map(lambda part: part + 0.1, theta), frozen)

        moved = merged(cut)
        after = [
            np.asarray(leaf)
            for keys, leaf in jax.tree.leaves_with_path(moved)
            if within(trees.path(keys))
        ]
        assert not any(np.any(leaf[mask]) for leaf, mask in zip(after, zeros, strict=True)), subset


def test_rows_that_train_alike_share_their_rule():
    rows = by_name("small")
    first, second = rows["text 60 %: mask lora"], rows["text 70 %: mask lora"]
    assert first != second
    assert perp.rule_of(first) is perp.rule_of(second)
    assert perp.rule_of(first) is not perp.rule_of(rows["text 60 %: scale lora"])


def test_the_smoke_rows_have_every_pruner_every_subset_and_both_methods():
    configs = by_name("smoke").values()
    assert {config.pruner for config in configs} == {*PRUNERS}
    assert {name for config in configs for name in config.subsets} == {*SUBSETS}
    assert {config.method for config in configs} == {"dense", "retrain", "reconstruct"}
    assert {config.pattern for config in configs} == {"unstructured", "2:4"}


def test_the_paper_preset_is_opt_2_7b():
    config = perp.PRESETS["paper"]
    sizes = (config.layers, config.width, config.vocabulary, config.context)
    assert sizes == (32, 2560, 50_272, 2048)
    assert (config.rank, config.alpha, config.steps, config.rate) == (16, 32.0, 1000, 5e-4)
    assert {row.sparsity for row in by_name("paper").values()} == {0.5, 0.6, 0.7}


def test_the_rate_rises_for_a_tenth_of_the_steps_and_ends_at_zero():
    rate = perp.rate_of(replace(SMOKE, steps=100, rate=1.0))
    values = [float(rate(jnp.int32(i))) for i in range(100)]
    assert values[0] == pytest.approx(0.1)
    assert int(np.argmax(values)) == 9
    assert max(values) == pytest.approx(1.0)
    assert values[-1] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("depth", [20, 32, 56])
def test_convolutions_of_the_blocks_are_pruned_and_nothing_else(depth):
    shapes = jax.eval_shape(
        perp_vision.network(depth).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3))
    )[0]
    paths = [trees.path(keys) for keys, _ in jax.tree.leaves_with_path(shapes)]
    roles = perp_vision.ROLES
    cut = [path for path in paths if roles.pruned(path)]
    assert len(cut) == depth - 2
    assert not [path for path in cut if path.startswith("0/") or roles.norm(path)]
    assert len([path for path in paths if roles.norm(path)]) == 2 * (depth - 1)
    last = f"{depth // 2}/Dense_0"
    assert [path for path in paths if roles.head(path)] == [f"{last}/bias", f"{last}/kernel"]


@pytest.mark.slow
def test_one_row_of_each_method_trains(tmp_path):
    for name in ("sparsegpt, by blocks: mask lora", "wanda: norms"):
        config = by_name("smoke").get(name) or replace(SMOKE, pruner="wanda", subsets=("norms",))
        found = perp.train_one(config, 0, Run(tmp_path / name.split(":")[0]))
        assert np.isfinite(found["perplexity"])
        assert found["sparsity"] == pytest.approx(60, abs=1.5)


def tiny_opt():
    """A model with the names of published arrays."""
    draw = lambda *shape: np.random.default_rng(0).standard_normal(shape, np.float32)
    width, made = 8, {"embed_tokens.weight": draw(11, 8), "embed_positions.weight": draw(6, 8)}
    for norm in ("final_layer_norm", "layers.0.self_attn_layer_norm", "layers.0.final_layer_norm"):
        made |= {f"{norm}.weight": np.ones(8, np.float32), f"{norm}.bias": draw(8)}
    shapes = {f"self_attn.{n}_proj": (width, width) for n in ("q", "k", "v", "out")}
    for name, shape in (shapes | {"fc1": (32, width), "fc2": (width, 32)}).items():
        made[f"layers.0.{name}.weight"] = draw(*shape)
        made[f"layers.0.{name}.bias"] = draw(shape[0])
    return {f"model.decoder.{name}": array for name, array in made.items()}


def opt_files(folder):
    """A safetensors file, written by its format, and token numbers; the config that names them."""
    header, body = {}, b""
    for name, array in tiny_opt().items():
        place = [len(body), len(body) + array.nbytes]
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": place}
        body += array.tobytes()
    text = json.dumps(header).encode()
    weights, tokens = folder / "opt.safetensors", folder / "tokens.npy"
    weights.write_bytes(len(text).to_bytes(8, "little") + text + body)
    np.save(tokens, np.random.default_rng(0).integers(0, 11, 400))
    return replace(
        SMOKE,
        task="opt",
        pruner="sparsegpt",
        subsets=("norms", "mask_lora"),
        vocabulary=11,
        layers=1,
        width=8,
        context=4,
        train=None,
        weights=str(weights),
        tokens=str(tokens),
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"width": 16}, "has (6, 8) at 0/place, but the vocabulary, width"),
        ({"vocabulary": 12}, "make (12, 8)"),
        ({"weights": "nowhere.safetensors"}, "nowhere.safetensors is no file"),
        ({"weights": "nowhere.bin"}, "nowhere.bin is no file"),
    ],
)
def test_files_that_do_not_fit_the_config_are_named(tmp_path, options, said):
    size = perp.size_of(replace(opt_files(tmp_path), **options))
    with pytest.raises(ValueError, match=re.escape(said)):
        perp_text.dense(size, 0)


def test_tokens_beyond_the_vocabulary_are_refused(tmp_path):
    size = perp.size_of(replace(opt_files(tmp_path), vocabulary=7))
    with pytest.raises(ValueError, match="has a token 10, but vocabulary=7"):
        perp_text.texts_of(size)


def test_weights_of_a_file_are_halves_and_what_is_trained_of_them_is_not(tmp_path):
    config = opt_files(tmp_path)
    params = perp_text.dense(perp.size_of(config), 0)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.bfloat16)}
    theta, _ = perp.ways_of(config).parametrization.init(jax.random.key(0), params)
    assert {leaf.dtype for leaf in jax.tree.leaves(theta)} == {jnp.dtype(jnp.float32)}


def llama_files(folder):
    """A folder of a Llama and token numbers; the config that names them."""
    arrays = llama_weights.published()
    tensors(folder / "model.safetensors", **arrays)
    told = {"hidden_size": llama_weights.WIDTH, "rms_norm_eps": llama_weights.EPSILON}
    told |= {"rope_theta": llama_weights.BASE, "vocab_size": llama_weights.VOCABULARY}
    config = opt_files(folder)
    return replace(config, task="llama", weights=str(llama_folder(folder, **told)))


def test_a_folder_of_a_llama_gives_its_network(tmp_path):
    """In half precision, so that logits agree to a hundredth."""
    size = perp.size_of(llama_files(tmp_path))
    tokens = np.array([1, 5, 2, 7])
    params = perp_text.dense(size, 0)
    found, _ = jax.jit(perp_text.whole(size).apply)(
        jax.tree.map(jnp.float32, params), {}, tokens[None]
    )
    wanted = llama_weights.in_numpy(llama_weights.published(), tokens)
    np.testing.assert_allclose(found[0], wanted, atol=2e-2 * np.abs(wanted).max())


@pytest.mark.slow
def test_a_llama_is_pruned_and_trained(tmp_path):
    config = llama_files(tmp_path)
    found = perp.train_one(config, 0, Run(tmp_path / "run"))
    assert found["sparsity"] == pytest.approx(60, abs=2)
    assert np.isfinite(found["perplexity"])


@pytest.mark.slow
def test_files_of_an_opt_model_and_of_tokens_are_pruned_and_trained(tmp_path):
    config = opt_files(tmp_path)
    found = perp.train_one(config, 0, Run(tmp_path / "run"))
    dense = perp.train_one(replace(config, method="dense"), 0, Run(tmp_path / "dense"))
    assert found["sparsity"] == pytest.approx(60, abs=1)
    assert np.isfinite(found["perplexity"])
    assert found["perplexity"] != dense["perplexity"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sparsity": 1.0}, "sparsity must be in"),
        ({"rank": 0}, "must be at least 1"),
        ({"task": "vision", "pruner": "wanda"}, "pruned by magnitude or at random"),
        ({"method": "reconstruct"}, "needs subsets"),
    ],
)
def test_wrong_configs_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        replace(SMOKE, **options)


def measured(**changed):
    """Figures at which every claim holds, some of them changed."""
    ppl = {"none": 12, "biases": 11, "norms": 10.5, "mask lora": 10}
    rows = {f"text 60 %: {name}": {"perplexity": [value]} for name, value in ppl.items()}
    rows |= {"stories: dense": {"perplexity": [9]}}
    rows |= {f"stories 50 %: {name}": {"perplexity": [value]} for name, value in ppl.items()}
    rows["text 70 %: mask lora"] = {"perplexity": [11]}
    rows["text 70 %: lora prune"] = {"perplexity": [13]}
    rows["text 60 %, wanda: none"] = {"perplexity": [11.5]}
    rows["text 60 %, magnitude, by blocks: mask lora"] = {
        "perplexity": [11],
        "error_pruned": [2],
        "error_after": [1],
    }
    rows["ResNet-20: dense"] = {"accuracy": [81], "sparsity": [0]}
    for name, value in {"none": 30, "norms": 70, "mask lora": 75, "full": 76}.items():
        rows[f"ResNet-20 80 %: {name}"] = {"accuracy": [value], "sparsity": [79.99]}
    for name in ("ResNet-32", "ResNet-56"):
        rows[f"{name}: dense"] = {"accuracy": [82]}
        rows |= {f"{name} 80 %: {k}": {"accuracy": [v]} for k, v in (("none", 32), ("norms", 68))}
    for name, found in changed.items():
        rows[name] = {**rows[name], **found}
    return {claim.id: claim.holds for claim in claims(Measured(rows))}


@pytest.mark.parametrize(
    ("row", "found", "claim"),
    [
        ("text 60 %: mask lora", {"perplexity": [10.6]}, "order-of-subsets"),
        ("text 60 %: biases", {"perplexity": [12.1]}, "order-of-subsets"),
        ("text 70 %: lora prune", {"perplexity": [10.9]}, "mask-while-training"),
        ("text 60 %, wanda: none", {"perplexity": [12.5]}, "wanda-before-retraining"),
        ("stories 50 %: norms", {"perplexity": [9.9]}, "stories"),
        ("text 60 %, magnitude, by blocks: mask lora", {"error_after": [2.1]}, "reconstruction"),
        ("ResNet-20 80 %: none", {"accuracy": [62]}, "pruning-hurts"),
        ("ResNet-20 80 %: norms", {"accuracy": [60]}, "norms-recover"),
        ("ResNet-32 80 %: norms", {"accuracy": [66]}, "norms-recover-deeper"),
        ("ResNet-56 80 %: none", {"accuracy": [40]}, "norms-recover-deeper"),
        ("ResNet-20 80 %: full", {"accuracy": [72]}, "images-in-order"),
        ("ResNet-20 80 %: full", {"sparsity": [70.0]}, "zeros-kept"),
    ],
)
def test_claims_follow_the_figures(row, found, claim):
    assert all(measured().values())
    changed = measured(**{row: found})
    assert not changed[claim]
