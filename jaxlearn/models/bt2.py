"""Heads of retrieval networks: unit embeddings, and BT2's that hold an old embedding within.

Zhou, Li, Shrivastava, Zhao, Torralba, Tian, Lim, "BT^2: Backward-compatible Training with Basis
Transformation", ICCV 2023, arXiv 2211.03989.
"""

import jax
import jax.numpy as jnp
from flax import linen

from jaxlearn.core import Model, from_linen
from jaxlearn.models.layers.linear import linear
from jaxlearn.models.layers.orthonormal import BasisChange, Chart

EMBEDDING, LOGITS, REFERENCE, COMPATIBLE = "embedding", "logits", "reference", "compatible"
"""Keys of what a head gives out; the last two are BT2's u and q."""


def normalized(x: jax.Array) -> jax.Array:
    """`x / |x|` along the last axis; a vector of zeros stays one, with a gradient of 0."""
    squares = jnp.sum(x * x, -1, keepdims=True)
    live = squares > 0
    return jnp.where(live, x / jnp.sqrt(jnp.where(live, squares, 1.0)), 0.0)


class EmbeddingHead(linen.Module):
    """A unit embedding and its classifier: `phi = normalize(relu(x W + b))`, `logits = W_c phi`.

    Attributes:
        width: d, of the embedding.
        classes: of the classifier, which has no bias.
        relu: as the last block of a residual network ends with one. A reference model needs what
            BT2's head has: a rectified u matches no embedding with negative entries.
    """

    width: int
    classes: int
    relu: bool = True

    @linen.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """Map `[batch, features]` to `"embedding"` [batch, d] and `"logits"`."""
        f = linear(x.shape[-1], self.width, name="embed")(x)
        phi = normalized(linen.relu(f) if self.relu else f)
        return {EMBEDDING: phi, LOGITS: linear(self.width, self.classes, bias=False)(phi)}


class BT2Head(linen.Module):
    """The new embedding `[q ; e]` of `d_new + extra` dimensions.

    With features f = x W + b of d_new + d_old dimensions::

        u = normalize(f[:d_new])                  is to match the reference model
        v = normalize(W3 relu(f) + b3)            d_old dimensions
        a = normalize(v[:extra])
        z = [a ; B1 (scale u)]                    extra + d_new dimensions
        q = B2 z[:d_old],  e = z[d_old:]          q is to match the old model
        logits = W_c u

    B1 and B2 are orthonormal, so for all inputs
    `<phi(x), phi(y)> = <a_x, a_y> + scale^2 <u_x, u_y>` and `|phi|^2 = 1 + scale^2`: what the
    reference knows is kept whole, whatever the bases. An old gallery is compared with q alone, the
    first d_old dimensions. `extra = 0` leaves a out.

    Attributes:
        old: d_old, at most `extra + new`.
        new: d_new, of the reference.
        classes: of the classifier, which has no bias.
        extra: r, at most d_old.
        scale: C.
        relu: f passes a rectifier, as the last block of a residual network has one; without, W3
            sees f as it is (transformers).
        chart: see `orthonormal`.
        identity: both bases start at the identity.
    """

    old: int
    new: int
    classes: int
    extra: int = 32
    scale: float = 2.0
    relu: bool = True
    chart: Chart = "exponential"
    identity: bool = False

    @linen.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """Map `[batch, features]` to embedding, logits, reference (u) and compatible (q)."""
        if not 0 <= self.extra <= self.old or self.old > self.extra + self.new:
            raise ValueError(
                f"BT2 needs 0 <= extra <= old <= extra + new: found extra={self.extra}, "
                f"old={self.old}, new={self.new}"
            )
        f = linear(x.shape[-1], self.new + self.old, name="features")(x)
        f = linen.relu(f) if self.relu else f
        u = normalized(f[..., : self.new])
        v = normalized(linear(self.new + self.old, self.old, name="other")(f))
        a = normalized(v[..., : self.extra])
        change = lambda name: BasisChange(self.chart, self.identity, name=name)
        z = jnp.concatenate([a, change("first_basis")(self.scale * u)], -1)
        q = change("second_basis")(z[..., : self.old])
        return {
            EMBEDDING: jnp.concatenate([q, z[..., self.old :]], -1),
            LOGITS: linear(self.new, self.classes, bias=False, name="classifier")(u),
            REFERENCE: u,
            COMPATIBLE: q,
        }


def examples() -> dict[str, tuple[Model, jax.Array]]:
    """A head of unequal dimensions whose embedding is given out, for the battery of models."""

    class Embedded(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            found = BT2Head(old=5, new=4, classes=3, extra=2)(x)
            return jnp.concatenate([found[EMBEDDING], found[LOGITS]], -1)

    return {"bt2": (from_linen(Embedded()), jax.random.normal(jax.random.key(0), (8, 6)))}
