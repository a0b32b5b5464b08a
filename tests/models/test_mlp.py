"""The deep perceptron: what it computes, what its initialisations draw, dropout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.models.mlp import INITIALISATIONS, mlp

KEY = jax.random.key(3)


def test_equals_the_layers_written_out_in_double_precision():
    model = mlp(3, layers=4, width=6)
    x = jax.random.normal(KEY, (5, 2, 2, 1))
    params, state = jax.jit(model.init)(KEY, x)
    y, _ = model.apply(params, state, x)
    h = np.asarray(x, np.float64).reshape(5, 4)
    kernels = [params["first"]["kernel"], *params["hidden"]["kernel"]]
    for kernel in kernels:
        h = np.maximum(h @ np.asarray(kernel, np.float64), 0)
    np.testing.assert_allclose(y, h @ np.asarray(params["last"]["kernel"], np.float64), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "std"),
    [
        ("zeros", 0.0),
        ("simple", 0.1),
        ("he", np.sqrt(2 / 50)),
        ("sussillo_abbott", np.sqrt(2 / 50) * np.exp(1.2 / 47.6)),
    ],
)
def test_initialisations_have_their_spread(name, std):
    drawn = INITIALISATIONS[name](KEY, (19, 50, 50), 50)
    assert float(drawn.std()) == pytest.approx(std, rel=0.02)
    assert abs(float(drawn.mean())) <= 0.01 * std


def test_sussillo_abbott_keeps_the_log_norm_of_gradients_where_he_lets_it_fall():
    """Through many narrow layers He's matrices shrink signals on average."""

    def drift(name):
        h = np.ones((300, 1, 10))
        for kernels in np.asarray(INITIALISATIONS[name](KEY, (60, 300, 10, 10), 10)):
            h = np.maximum(h @ kernels, 0) + 1e-30
        return float(np.median(np.log(np.linalg.norm(h, axis=-1))))

    assert drift("he") < drift("sussillo_abbott") - 3
    assert abs(drift("sussillo_abbott")) < 3


def test_dropout_acts_in_training_only_and_keeps_the_mean():
    model = mlp(1, layers=1, width=4000, dropout=0.5)
    x = jnp.ones((1, 8))
    params, state = model.init(jax.random.key(4), x)
    params["last"]["kernel"] = jnp.ones_like(params["last"]["kernel"])
    plain, _ = model.apply(params, state, x, key=KEY)
    np.testing.assert_array_equal(plain, model.apply(params, state, x)[0])
    dropped, _ = model.apply(params, state, x, train=True, key=KEY)
    assert dropped != plain
    np.testing.assert_allclose(dropped, plain, rtol=0.1)


@pytest.mark.parametrize("bad", [{"layers": 0}, {"dropout": 1.0}, {"initial": "xavier"}])
def test_impossible_networks_are_refused(bad):
    with pytest.raises(ValueError, match=r"unknown initialisation|need classes"):
        mlp(3, **bad)
