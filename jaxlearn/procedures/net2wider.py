"""A trained network becomes a wider one that computes the same function: Net2WiderNet.

Chen, Goodfellow and Shlens, "Net2Net: Accelerating Learning via Knowledge Transfer", ICLR 2016,
arXiv 1511.05641, section 2.3: new units are copies of old ones, and what reads a unit that was
copied divides its weight by the number of copies.
"""

import jax
import jax.numpy as jnp

from jaxlearn.core import Key, Params, PyTree, State, trees


def copies(key: Key, before: int, after: int) -> jax.Array:
    """`g [after]`: unit j of the wider layer is unit `g(j)` of the old one.

    The old units come first, `g(j) = j`; the others are drawn uniformly.

    Raises:
        ValueError: when the layer would get smaller.

    Example:
        >>> copies(jax.random.key(0), 3, 5)[:3].tolist()
        [0, 1, 2]
    """
    if after < before:
        raise ValueError(f"a layer of {before} units cannot be widened to {after}")
    drawn = jax.random.randint(key, (after - before,), 0, before)
    return jnp.concatenate([jnp.arange(before), drawn])


def widened(kernel: jax.Array, into: jax.Array | None, out: jax.Array | None) -> jax.Array:
    """`U[..., i, j] = W[..., g(i), h(j)] / |{k : g(k) = g(i)}|`.

    Args:
        kernel: `W [..., inputs, outputs]`.
        into: `g`, the copies of the inputs; `None` where they stay.
        out: `h`, those of the outputs.

    Example:
        >>> widened(jnp.array([[2.0], [3.0]]), jnp.array([0, 1, 0]), None).tolist()
        [[1.0], [3.0], [1.0]]
    """
    if into is not None:
        counts = jnp.bincount(into, length=kernel.shape[-2]).astype(kernel.dtype)
        kernel = (kernel / counts[:, None])[..., into, :]
    return kernel if out is None else kernel[..., out]


def net2wider(
    params: Params, state: State, shapes: PyTree, key: Key, *, noise: float = 0.0
) -> tuple[Params, State]:
    """Parameters and running statistics of a wider `models.wide_resnet` with the same function.

    Channels that are added up have to be copied alike, so that a block with an identity shortcut
    passes on the copies of its input; one with a shortcut of its own draws new ones. Inner channels
    of a block are copied by themselves. Copies of a unit would learn the same as the unit: `noise`
    times the deviation of the kernel, times N(0, 1), is added to the new units of every kernel,
    after which the function is only nearly the same.

    Args:
        params: of the small network, a stack whose layers have the names of `models.wide_resnet`.
        state: its running statistics.
        shapes: parameters of the wide network or their shapes, as `jax.eval_shape` gives them.
        key: for the copies and the noise.
        noise: as said; 0 keeps the function exactly.

    Raises:
        ValueError: when the networks differ in their layers, or one would get smaller.
    """
    if jax.tree.structure(params) != jax.tree.structure(shapes):
        raise ValueError("net2wider needs two networks of the same layers; only widths may differ")
    wide, statistics, stream = {}, {}, None
    for name in sorted(params, key=int):
        own = jax.random.fold_in(key, int(name))
        maps, stream = _maps(params[name], shapes[name], stream, own)
        wide[name] = {
            layer: _layer(leaves, *maps[layer], jax.random.fold_in(own, 100 + i), noise)
            for i, (layer, leaves) in enumerate(params[name].items())
        }
        seen = trees.part(state, name)
        statistics[name] = {
            kind: {layer: _vectors(leaves, maps[layer][0]) for layer, leaves in found.items()}
            for kind, found in seen.items()
        }
    if jax.tree.map(jnp.shape, wide) != jax.tree.map(jnp.shape, shapes):
        raise ValueError("the wide network has other kernels than the small one, not only more")
    return wide, trees.joined(statistics)


Maps = tuple[jax.Array | None, jax.Array | None]


def _maps(
    block: PyTree, shapes: PyTree, stream: jax.Array | None, key: Key
) -> tuple[dict[str, Maps], jax.Array | None]:
    """Copies of inputs and outputs of every layer of a block, and of what it passes on."""

    def fresh(layer: str, number: int) -> jax.Array:
        before, after = (tree[layer]["kernel"].shape[-1] for tree in (block, shapes))
        return copies(jax.random.fold_in(key, number), before, after)

    if "stem" in block:
        out = fresh("stem", 0)
        return {"stem": (None, out)}, out
    if "classifier" in block:
        return {"norm": (stream, stream), "classifier": (stream, None)}, None
    if not {"norm1", "conv1", "conv2"} <= block.keys():
        raise ValueError(f"net2wider knows no block of the layers {sorted(block)}")
    inner = fresh("conv1", 0)
    out = fresh("shortcut", 1) if "shortcut" in block else stream
    maps = {
        "norm1": (stream, stream),
        "conv1": (stream, inner),
        "norm2": (inner, inner),
        "conv2": (inner, out),
        "shortcut": (stream, out),
    }
    return maps, out


def _layer(
    leaves: PyTree, into: jax.Array | None, out: jax.Array | None, key: Key, noise: float
) -> PyTree:
    if "kernel" not in leaves:
        return _vectors(leaves, into)
    kernel = widened(leaves["kernel"], into, out)
    if out is None or not noise:
        return {"kernel": kernel}
    shake = noise * kernel.std() * jax.random.normal(key, kernel.shape, kernel.dtype)
    new = jnp.arange(kernel.shape[-1]) >= leaves["kernel"].shape[-1]
    return {"kernel": kernel + jnp.where(new, shake, 0)}


def _vectors(leaves: PyTree, channels: jax.Array | None) -> PyTree:
    return jax.tree.map(lambda leaf: leaf if channels is None else leaf[channels], leaves)
