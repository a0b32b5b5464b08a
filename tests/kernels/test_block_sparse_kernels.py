"""Every implementation against float64: values and gradients, at odd sizes and any mask."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxlearn_kernels.block_sparse import block_mask, block_sparse_matmul, pallas_gpu, pallas_tpu
from jaxlearn_kernels.block_sparse.bench import products
from jaxlearn_kernels.block_sparse.shapes import ODD, Shape

from . import block_sparse_cases as cases

TOLERANCE = {jnp.float32: 2e-5, jnp.bfloat16: 4e-2}
LANES = Shape("lanes", 40, 3, 2, (128, 128))


def taken(shape) -> list[str | None]:
    """The implementations that take blocks of this shape."""
    tpu = ["interpret"] if pallas_tpu.rows_of(shape.rows, shape.block, 4) else []
    gpu = ["interpret_gpu"] if pallas_gpu.tile_of(shape.block) else []
    return ["reference", "loop", None, *tpu, *gpu]


def agree(shape, dtype) -> None:
    arguments = cases.drawn(shape, dtype)
    expected = cases.exact(*arguments)
    for implementation in taken(shape):
        error = cases.furthest(cases.run(implementation, *arguments), expected)
        assert error < TOLERANCE[dtype], (implementation, error)


@pytest.mark.parametrize("index", range(len(ODD)), ids=lambda i: ODD[i].name)
def test_odd_sizes(index):
    """Types take turns; ``test_every_odd_size`` has both."""
    agree(ODD[index], list(TOLERANCE)[index % 2])


@pytest.mark.slow
@pytest.mark.parametrize("shape", ODD, ids=lambda s: s.name)
@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_every_odd_size(shape, dtype):
    agree(shape, dtype)


@pytest.mark.parametrize("implementation", ["loop", "interpret", "interpret_gpu"])
def test_masks_of_nothing_one_line_and_everything(implementation):
    x, w, mask, dy = cases.drawn(LANES, jnp.float32)
    column = jnp.zeros_like(mask).at[:, 1].set(True)
    last = jnp.zeros_like(mask).at[-1, -1].set(True)
    compiled = jax.jit(lambda mask: cases.run(implementation, x, w, mask, dy))
    for kept in (jnp.zeros_like(mask), jnp.ones_like(mask), column, ~column, last):
        found = compiled(kept)
        assert cases.furthest(found, cases.exact(x, w, kept, dy)) < 2e-5
        assert not np.any(np.asarray(found[2])[np.kron(~np.asarray(kept), np.ones((128, 128))) > 0])
    assert compiled._cache_size() == 1  # the mask is data


@settings(deadline=None, max_examples=8)
@given(st.data())
def test_any_mask_and_shape_on_cpu(data):
    side = st.integers(1, 4)
    shape = Shape("", *(data.draw(side) for _ in range(3)), (data.draw(side), data.draw(side)))
    x, w, _, dy = cases.drawn(shape, jnp.float32)
    bits = st.lists(st.booleans(), min_size=shape.high, max_size=shape.high)
    mask = jnp.array(data.draw(st.lists(bits, min_size=shape.wide, max_size=shape.wide))).T
    assert cases.furthest(cases.run("loop", x, w, mask, dy), cases.exact(x, w, mask, dy)) < 1e-5


def test_what_empty_blocks_hold_does_not_matter():
    x, w, mask, dy = cases.drawn(LANES, jnp.float32)
    hole = np.kron(~np.asarray(mask), np.ones((128, 128))) > 0
    filled = jnp.where(hole, jnp.nan, w)
    for implementation in taken(LANES):
        found = cases.run(implementation, x, filled, mask, dy)
        assert cases.furthest(found, cases.exact(x, w, mask, dy)) < 2e-5


def test_a_mask_of_entries():
    """Blocks with one entry left count whole; what the mask zeroes in them is zero in w."""
    rng = np.random.default_rng(0)
    entries = jnp.asarray(rng.random((8, 12)) < 0.05)
    w = entries * jnp.asarray(rng.normal(size=(8, 12)), jnp.float32)
    x = jnp.asarray(rng.normal(size=(5, 8)), jnp.float32)
    blocks = block_mask(entries, (2, 3))
    np.testing.assert_allclose(block_sparse_matmul(x, w, blocks), x @ w, atol=1e-6)
    assert int(blocks.sum()) <= int(entries.sum())


def test_leading_axes_are_rows():
    x, w, mask, _ = cases.drawn(LANES, jnp.float32)
    flat = block_sparse_matmul(x, w, mask)
    for lead in ((4, 10), (2, 2, 10)):
        found = block_sparse_matmul(x.reshape(*lead, -1), w, mask)
        np.testing.assert_array_equal(found.reshape(flat.shape), flat)
    np.testing.assert_allclose(block_sparse_matmul(x[0], w, mask), flat[0], atol=1e-6)
    assert block_sparse_matmul(x[:0], w, mask).shape == (0, flat.shape[1])


@pytest.mark.parametrize("implementation", ["interpret", "interpret_gpu", None])
def test_vmap_and_shard_map(implementation):
    x, w, mask, dy = cases.drawn(LANES, jnp.float32)
    x, dy = (a.reshape(2, 20, -1) for a in (x, dy))

    @jax.jit
    def gradient(x, w, dy):
        f = lambda x: block_sparse_matmul(x, w, mask, implementation=implementation)
        return jax.vjp(f, x)[1](dy)[0]

    each = jnp.stack([gradient(x[i], w, dy[i]) for i in range(2)])
    np.testing.assert_allclose(jax.vmap(gradient, (0, None, 0))(x, w, dy), each, atol=1e-5)
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("data")
    split = jax.shard_map(
        lambda x, dy: gradient(x, w, dy), mesh=mesh, in_specs=(spec, spec), out_specs=spec,
        check_vma=False,
    )  # fmt: skip
    np.testing.assert_allclose(jax.jit(split)(x[0], dy[0]), each[0], atol=1e-5)


def test_products_count_what_is_there():
    mask = jnp.array([[True, False], [True, True], [False, False]])
    per_block = 2 * 10 * 4 * 5
    assert products(Shape("", 10, 3, 2, (4, 5)), mask) == 3 * 3 * per_block
