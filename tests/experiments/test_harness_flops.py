import jax
import jax.numpy as jnp
import optax
import pytest

from experiments.harness.flops import count
from jaxlearn.core import from_linen, make_state, make_step, prepared
from jaxlearn.models.layers.conv import Conv
from jaxlearn.models.tiny import tiny_batch, tiny_stack
from jaxlearn.objectives import cross_entropy
from jaxlearn.rules.backprop import backprop

X = jax.ShapeDtypeStruct((4, 8), "float32")
W = jax.ShapeDtypeStruct((8, 16), "float32")


def test_products_cost_two_per_multiply_and_add():
    assert count(lambda x, w: x @ w, X, W) == 2 * 4 * 8 * 16
    batched = lambda x, w: jnp.einsum("bij,bjk->bik", x, w)
    shapes = [jax.ShapeDtypeStruct(shape, "float32") for shape in ((3, 4, 8), (3, 8, 16))]
    assert count(batched, *shapes) == 3 * 2 * 4 * 8 * 16


def test_gradient_of_a_linear_layer_costs_two_products_more():
    loss = lambda w, x: (x @ w).sum()
    forward = 2 * 4 * 8 * 16 + 4 * 16
    both = count(lambda w, x: jax.value_and_grad(loss, (0, 1))(w, x), W, X)
    assert both == forward + 2 * (2 * 4 * 8 * 16)


@pytest.mark.parametrize("groups", [1, 2])
def test_convolution_costs_two_per_tap_and_output(groups):
    x, kernel = jnp.zeros((2, 6, 6, 4)), jnp.zeros((3, 3, 4 // groups, 8))
    options = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "feature_group_count": groups}
    run = lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), "VALID", **options)
    assert count(run, x, kernel) == 2 * (2 * 4 * 4 * 8) * 3 * 3 * 4 / groups


def test_zeros_around_and_between_pixels_are_free():
    """Every pixel meets the taps that stay on the map, in both directions and in the gradients."""
    x, kernel = jnp.zeros((2, 4, 4, 3)), jnp.zeros((3, 3, 3, 5))
    options = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    for stride, pairs in ((1, (4 * 3 - 2) ** 2), (2, (2 * 3 - 1) ** 2)):
        run = lambda x, k, s=stride: jax.lax.conv_general_dilated(x, k, (s, s), "SAME", **options)
        forward = 2 * 2 * 5 * 3 * pairs
        assert count(run, x, kernel) == forward
        y = run(x, kernel)
        back = count(lambda x, k, y, run=run: jax.vjp(run, x, k)[1](y), x, kernel, y)
        assert back == pytest.approx(3 * forward, rel=1e-9)


def test_a_loop_costs_what_its_turns_cost():
    body = lambda x, _: (jnp.tanh(x), None)
    for length in (1, 7):
        assert count(lambda x, n=length: jax.lax.scan(body, x, length=n), X) == length * 32
    assert count(lambda x: jax.lax.map(jnp.tanh, x), X) == 32


def test_what_is_computed_twice_counts_twice():
    layer = lambda w, x: jnp.tanh(x @ w)
    plain = lambda w, x: jax.grad(lambda w: layer(w, x).sum())(w)
    again = lambda w, x: jax.grad(lambda w: jax.checkpoint(layer)(w, x).sum())(w)
    assert count(again, W, X) >= count(plain, W, X) + 2 * 4 * 8 * 16


def test_of_branches_the_dearest_counts():
    branches = [lambda x: x, jnp.tanh, lambda x: jnp.tanh(x) * x]
    assert count(lambda i, x: jax.lax.switch(i, branches, x), jnp.int32(0), X) == 64


def test_moving_data_and_integers_are_free():
    moved = lambda x: (x.T.reshape(-1)[::2], jnp.arange(8) + 1, x.astype("bfloat16"), x > 0)
    assert count(moved, X) == 0
    assert count(lambda key: jax.random.bits(key, (100,)), jax.random.key(0)) == 0


def test_a_convolution_written_as_products_costs_about_what_one_does():
    """On CPU the layer is a loop of products of shifted images, whose border is zeros."""
    layer = from_linen(Conv(8))
    x = jnp.zeros((4, 16, 16, 4))
    params, state = layer.init(jax.random.key(0), x)
    taps = 2 * x.size * 8 * 9
    assert count(lambda x: layer.apply(params, state, x)[0], x) == pytest.approx(taps, rel=0.15)


def test_a_whole_step_counts_whatever_is_around_the_rule():
    rule, tx, batch = backprop(tiny_stack(), cross_entropy), optax.sgd(0.1), tiny_batch()
    made = make_state(rule, tx, jax.random.key(0), batch)
    plain = count(make_step(rule, tx), made, batch)
    fed = prepared(rule, lambda batch: batch | {"inputs": 2 * batch["inputs"]})
    assert count(make_step(fed, tx), made, batch) == plain + batch["inputs"].size > 1000
