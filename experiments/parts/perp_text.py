"""Language models for PERP: where the dense network and its text come from."""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxlearn.core import Batch, Model, Params, TrainState, make_state, make_step, stack, trees
from jaxlearn.data import load
from jaxlearn.data.errors import MissingData
from jaxlearn.data.llama2c import BEGIN, stories260k
from jaxlearn.data.llama_folder import llama_arrays, llama_sizes
from jaxlearn.data.plain_text import token_file
from jaxlearn.data.safetensors import read_safetensors
from jaxlearn.data.text_windows import random_windows, windows
from jaxlearn.data.torch_file import read_torch
from jaxlearn.models.generate import generate_by_rereading
from jaxlearn.models.layers.checkpointed import checkpointed
from jaxlearn.models.llama import from_llama2c, llama_blocks
from jaxlearn.models.llama_weights import llama_params
from jaxlearn.models.opt import opt_blocks, opt_params
from jaxlearn.models.tied import tied, untied
from jaxlearn.objectives.next_token import next_token
from jaxlearn.rules import backprop
from jaxlearn.runtime import fit

PUBLISHED = ("opt", "llama")
"""Tasks whose weights are files of the user."""


class Size(NamedTuple):
    """All that decides the dense network and its text.

    task: "text" trains an OPT on tiny Shakespeare, "stories" takes stories260K, "opt" and "llama"
    the files.
    """

    task: str
    vocabulary: int
    layers: int
    width: int
    heads: int
    context: int
    dense_steps: int
    dense_batch: int
    train: int | None
    test: int
    weights: str
    tokens: str


class Texts(NamedTuple):
    """Tokens in a row to train on, and windows to test on."""

    train: np.ndarray
    validation: Batch
    test: Batch


@cache
def blocks_of(size: Size) -> list[Model]:
    """Embedding, blocks and logits, the head being a matrix of its own."""
    if size.task == "stories":
        read, _ = stories260k()
        sizes = {"heads": read.heads, "key_heads": read.key_heads, "hidden": read.hidden}
        return llama_blocks(read.vocabulary, read.layers, read.width, **sizes)
    if size.task == "llama":
        return llama_blocks(**llama_sizes(Path(size.weights))._asdict())
    sizes = {"longest": size.context, "heads": size.heads}
    return opt_blocks(size.vocabulary, size.layers, size.width, **sizes)


@cache
def texts_of(size: Size) -> Texts:
    """The text of the task in three parts."""
    if size.task == "stories":
        return _written(size)
    text = load("tiny_shakespeare", train=size.train) if size.task == "text" else None
    if text is None:
        text = token_file(size.tokens, train=size.train)
        known = size.vocabulary
        if size.task == "llama":
            known = llama_sizes(Path(size.weights)).vocabulary
        if len(text.vocabulary) > known:
            raise ValueError(
                f"{size.tokens} has a token {len(text.vocabulary) - 1}, but vocabulary={known}"
            )
    held = [windows(part, size.context) for part in (text.validation, text.test)]
    cut = [{name: rows[: size.test] for name, rows in part.items()} for part in held]
    return Texts(text.train, *cut)


def _written(size: Size) -> Texts:
    """Stories that the model writes by itself: its own text is all it is known to have read."""
    read, _ = stories260k()
    model, params = tied(blocks_of(size)), from_llama2c(read.arrays)
    count = 2 * size.test + (size.train or 3 * size.test)
    prompt = jnp.full((count, 1), BEGIN, jnp.int32)
    write = jax.jit(generate_by_rereading, static_argnums=(0, 4))
    found = write(model, params, {}, prompt, size.context, jax.random.key(0))
    whole = np.concatenate([prompt, np.asarray(found)], 1)
    pairs = {"inputs": whole[:, :-1], "labels": whole[:, 1:]}
    part = lambda rows: {name: tokens[rows] for name, tokens in pairs.items()}
    last, first = size.test, 2 * size.test
    return Texts(whole[first:], part(slice(last, first)), part(slice(last)))


def stream(size: Size, batch: int, seed: int) -> Any:
    """Batches to train on, deterministic by (seed, step)."""
    train = texts_of(size).train
    if train.ndim == 1:
        return random_windows(train, size.context, batch, seed=seed)

    def at(step: int) -> Batch:
        rows = np.random.default_rng((seed, step)).choice(len(train), batch, replace=False)
        inputs, labels = train[rows, :-1], train[rows, 1:]
        return {"inputs": inputs, "labels": labels, "index": rows.astype(np.int32)}

    return at


@cache
def dense(size: Size, seed: int) -> Params:
    """The network before pruning, with a head of its own."""
    if size.task == "stories":
        return untied(from_llama2c(stories260k()[0].arrays))
    if size.task in PUBLISHED:
        return _read(size)
    rule = backprop(tied(blocks_of(size)), next_token())
    rate = optax.cosine_decay_schedule(3e-3, size.dense_steps, 0.1)
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))
    batches = stream(size, size.dense_batch, seed)
    start: TrainState = jax.jit(make_state, static_argnums=(0, 1))(
        rule, tx, jax.random.key(seed), batches(0)
    )
    kept = {"steps": size.dense_steps, "progress": False, "chunk": min(50, size.dense_steps)}
    return untied(fit(make_step(rule, tx), start, batches, **kept).state.params)


def _read(size: Size) -> Params:
    """The weights of the files in bfloat16; what is trained of them is single precision."""
    path = Path(size.weights)
    arrays = _llama(path) if size.task == "llama" else _opt(path, size.layers)
    params = untied(jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), arrays))
    tokens = jnp.zeros((1, size.context), jnp.int32)
    made = jax.eval_shape(lambda: stack(blocks_of(size)).init(jax.random.key(0), tokens)[0])
    wanted = jax.tree.leaves_with_path(made)
    for (keys, shape), leaf in zip(wanted, jax.tree.leaves(params), strict=True):
        if shape.shape != leaf.shape:
            raise ValueError(
                f"{path} has {leaf.shape} at {trees.path(keys)}, but the vocabulary, width, heads "
                f"and context of the config make {shape.shape}"
            )
    return params


def _opt(path: Path, layers: int) -> Params:
    if not path.is_file():
        raise MissingData(f"{path} is no file; name one with the weights of an OPT")
    arrays = (read_safetensors if path.suffix == ".safetensors" else read_torch)(path)
    return opt_params(arrays, layers)


def _llama(path: Path) -> Params:
    sizes = llama_sizes(path)
    heads = {"heads": sizes.heads, "key_heads": sizes.key_heads}
    return llama_params(llama_arrays(path), sizes.layers, **heads)


@cache
def whole(size: Size) -> Model:
    """The network of `dense`; of the large ones it keeps the activations of one block at a time."""
    first, *inner, last = blocks_of(size)
    if size.task in PUBLISHED:
        lean = checkpointed(inner[0])
        inner = [lean] * len(inner)
    return stack([first, *inner, last])
