import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlearn.transforms.sparsity.surgery import mask_slots

PARAMS = {"a": {"bias": jnp.ones(3), "kernel": jnp.ones((2, 3))}, "b": jnp.ones((3, 2))}
KEEP = {
    "a": {"bias": None, "kernel": jnp.array([[True, False, True], [False, True, False]])},
    "b": jnp.array([[True, False], [False, True], [True, True]]),
}
LABELS = {"a": "first", "b": "second"}
OPTIMIZERS = {
    "momentum": optax.sgd(0.1, 0.9),
    "adam": optax.adam(0.1),
    "chain": optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.1)),
    "inject": optax.inject_hyperparams(optax.adam)(learning_rate=0.1),
    "partition": optax.partition({"first": optax.adam(0.1), "second": optax.sgd(0.1, 0.9)}, LABELS),
    "masked": optax.chain(
        optax.masked(optax.scale_by_adam(), {"a": {"bias": False, "kernel": True}, "b": True}),
        optax.scale(-0.1),
    ),
    "finite": optax.apply_if_finite(optax.chain(optax.sgd(0.1, 0.9), optax.ema(0.9)), 3),
    "steps": optax.MultiSteps(optax.adam(0.1), 1).gradient_transformation(),
}


def trained(optimizer):
    state = optimizer.init(PARAMS)
    grads = jax.tree.map(lambda p: jnp.full_like(p, 0.5), PARAMS)
    return optimizer.update(grads, state, PARAMS)[1]


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_slot_is_zero_off_the_masks_and_unchanged_on_them(name):
    state = trained(OPTIMIZERS[name])
    cleaned = mask_slots(state, PARAMS, KEEP)
    assert jax.tree.structure(cleaned) == jax.tree.structure(state)
    by_shape = {(2, 3): KEEP["a"]["kernel"], (3, 2): KEEP["b"]}
    zeroed = 0
    for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(cleaned), strict=True):
        keep = by_shape.get(jnp.shape(old))
        wanted = old if keep is None else np.where(keep, old, 0)
        np.testing.assert_array_equal(new, wanted)
        zeroed += keep is not None and bool((np.asarray(old) != wanted).any())
    assert zeroed >= 2


def test_slots_of_another_shape_pass_unchanged():
    optimizer = optax.scale_by_factored_rms(min_dim_size_to_factor=1)
    state = trained(optimizer)
    before, after = state.v_row["b"], mask_slots(state, PARAMS, KEEP).v_row["b"]
    np.testing.assert_array_equal(before, after)


def test_parameters_may_be_absent():
    params = {"w": jnp.ones((1, 2)), "gone": None}
    keep = {"w": jnp.array([[True, False]]), "gone": None}
    state = optax.trace(0.9).update(params, optax.trace(0.9).init(params))[1]
    np.testing.assert_array_equal(mask_slots(state, params, keep).trace["w"], [[1.0, 0.0]])
