import jax
import jax.numpy as jnp
import pytest

from jaxlearn.models.heads.branches import branches
from jaxlearn.models.heads.infopro import infopro_head
from jaxlearn.models.heads.infopro_imagenet import imagenet_infopro_head
from jaxlearn.models.tiny import tiny_head

KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("side", "width", "wide", "convolutions"), [(32, 16, 32, 2), (16, 32, 64, 2), (8, 64, 64, 1)]
)
def test_heads_have_the_published_layers(side, width, wide, convolutions):
    head = infopro_head(32, 10, convolutions=convolutions)
    x = jax.ShapeDtypeStruct((2, side, side, width), jnp.float32)
    (params, state), out = jax.eval_shape(
        lambda key, x: (head.init(key, x), head.apply(*head.init(key, x), x)[0]), KEY, x
    )
    size = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
    convs = 9 * width * wide + (convolutions - 1) * 9 * wide * wide + convolutions * 2 * wide
    assert size(params["features"]) == convs + wide * 128 + 128 + 1290
    assert size(params["image"]) == 9 * width * 12 + 12 + 24 + 9 * 12 * 3 + 3
    assert size(state) == 2 * (convolutions * wide + 12)
    assert out["image"].shape == (2, 32, 32, 3)
    assert out["features"].shape == (2, 10)


def test_branches_have_weights_of_their_own():
    head = branches({"a": tiny_head(), "b": tiny_head()})
    x = jax.random.normal(KEY, (4, 12))
    params, state = head.init(KEY, x)
    out, after = head.apply(params, state, x, train=True, key=KEY)
    assert not jnp.allclose(out["a"], out["b"])
    alone, _ = tiny_head().apply(params["b"], {}, x)
    assert (alone == out["b"]).all()
    assert after == state == {}


def test_imagenet_heads_decode_maps_of_14_to_images_of_224():
    head = imagenet_infopro_head()
    x = jax.ShapeDtypeStruct((2, 14, 14, 1024), jnp.float32)
    (params, _), out = jax.eval_shape(
        lambda key, x: (head.init(key, x), head.apply(*head.init(key, x), x)[0]), KEY, x
    )
    size = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
    convs = [(1024, 256, 1), (256, 256, 9), (256, 512, 9), (512, 2048, 1)]
    expected = sum(k * a * b + 2 * b for a, b, k in convs) + 2049 * 1000
    assert size(params["features"]) == expected
    convs = [(1024, 192, 1), (192, 64, 1), (64, 32, 9), (32, 12, 9)]
    assert size(params["image"]) == sum(k * a * b + 3 * b for a, b, k in convs) + 9 * 12 * 3 + 3
    assert out["image"].shape == (2, 224, 224, 3)
    assert out["features"].shape == (2, 1000)
