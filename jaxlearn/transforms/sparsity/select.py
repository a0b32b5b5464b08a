"""The k largest scores, exactly k of them, without a sort."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax


def largest(
    scores: Sequence[jax.Array],
    k: jax.Array | int,
    allowed: Sequence[jax.Array],
    *,
    strict: bool = False,
) -> list[jax.Array]:
    """Mark the `k` largest scores over all leaves together; equal scores go by index.

    Exactly `min(k, number allowed)` entries are true. Among equal scores the earlier leaf and then
    the lower flat index wins, and what is not allowed is never chosen, whatever its score. A score
    that is not a number counts as the smallest.

    The k-th largest value is found bit by bit: a float has the order of its bit pattern, counted
    down where it is negative, so 32 counts over the leaves give the value, and the same search over
    positions shares out the last places. This costs a few dozen reads of the scores and no memory
    but their integer view, where a sort moves everything several times; and counts add up over
    sharded leaves.

    Args:
        scores: floats, any shapes; the two zeros are equal.
        k: how many, a number or a traced int32 scalar.
        allowed: bool masks of the same shapes.
        strict: mark only what is larger than the k-th largest score, `k - 1` entries or, under
            ties, fewer: the off-by-one rule of codes that compare with a threshold.

    Example:
        >>> score = jnp.array([3.0, 1.0, 3.0, 3.0])
        >>> largest([score], 2, [jnp.ones(4, bool)])[0]
        Array([ True, False,  True, False], dtype=bool)
    """
    return _select([scores], [k], [allowed], strict)[0]


def largest_each(
    scores: Sequence[jax.Array],
    ks: Sequence[jax.Array | int],
    allowed: Sequence[jax.Array],
    *,
    strict: bool = False,
) -> list[jax.Array]:
    """`largest` in every leaf by itself, leaf i getting `ks[i]` entries.

    All leaves share the passes of one search, so that a deep network compiles as fast as a shallow
    one.

    Example:
        >>> scores = [jnp.array([1.0, 2.0]), jnp.array([5.0, 4.0, 3.0])]
        >>> largest_each(scores, [1, 2], [jnp.ones(2, bool), jnp.ones(3, bool)])[1]
        Array([ True,  True, False], dtype=bool)
    """
    alone = _select([[score] for score in scores], ks, [[mask] for mask in allowed], strict)
    return [group[0] for group in alone]


Groups = Sequence[Sequence[jax.Array]]


@partial(jax.jit, static_argnums=3)  # called eagerly it compiles once per set of shapes
def _select(scores: Groups, ks: Sequence[jax.Array | int], allowed: Groups, strict: bool) -> Groups:
    k = jnp.stack([jnp.asarray(each, jnp.int32) for each in ks])
    keys = _settled(_each(lambda score, ok: jnp.where(ok, _ordered(score) + 1, 0), scores, allowed))
    last = _kth_largest(keys, k, max(jnp.iinfo(key.dtype).bits for group in keys for key in group))
    above = [[key > last[i].astype(key.dtype) for key in group] for i, group in enumerate(keys)]
    if strict:
        return _each(lambda a, ok: a & ok, above, allowed)
    ties = [[key == last[i].astype(key.dtype) for key in group] for i, group in enumerate(keys)]
    left = k - _counts(above)
    places = [_places(group) for group in ties]
    longest = max(sum(tie.size for tie in group) for group in ties)
    bound = _kth_largest(places, left, longest.bit_length())
    tied = [
        [(place >= bound[i]) & (place > 0) & (left[i] > 0) for place in group]
        for i, group in enumerate(places)
    ]
    return _each(lambda a, t, ok: (a | t) & ok, above, tied, allowed)


def _settled(keys: Groups) -> Groups:
    """The keys, computed once for all that reads them.

    A compiler may compute scores anew in every fusion that looks at them, with other last bits in
    each, and then the counts do not agree. Between scores and keys stands a loop of one pass whose
    length it cannot know: no key is the largest unsigned number.
    """
    first = next((key.ravel()[0] for group in keys for key in group if key.size), jnp.uint32(0))
    passes = jnp.where(first == ~jnp.zeros((), first.dtype), 2, 1)

    def body(carry: tuple[jax.Array, Groups]) -> tuple[jax.Array, Groups]:
        i, kept = carry
        return i + 1, jax.tree.map(lambda key: jnp.where(i > 1, 0, key).astype(key.dtype), kept)

    return lax.while_loop(lambda carry: carry[0] < passes, body, (jnp.int32(0), keys))[1]


def _each(function, *groups: Groups) -> Groups:
    return [
        [function(*leaf) for leaf in zip(*group, strict=True)]
        for group in zip(*groups, strict=True)
    ]


def _counts(masks: Groups) -> jax.Array:
    count = lambda group: sum(jnp.sum(mask, dtype=jnp.int32) for mask in group)
    return jnp.stack([count(group) for group in masks])


def _ordered(score: jax.Array) -> jax.Array:
    """An unsigned view with the order of the scores, 0 where there is no number.

    In whole numbers, because the compiler may take numbers below the normal range for zeros.
    """
    wide = score.astype(jnp.promote_types(score.dtype, jnp.float32))
    kind = jnp.uint64 if wide.dtype.itemsize == 8 else jnp.uint32
    top = jnp.asarray(1 << (jnp.iinfo(kind).bits - 1), kind)
    bits = lax.bitcast_convert_type(wide, kind)
    infinity = lax.bitcast_convert_type(jnp.asarray(jnp.inf, wide.dtype), kind)
    size = bits & (top - 1)
    ordered = jnp.where(bits >= top, top - size, top + size)
    return jnp.where(size > infinity, 0, ordered)


def _places(ties: Sequence[jax.Array]) -> list[jax.Array]:
    """Where a tie is, counted from the end and from 1, so that earlier is larger; 0 elsewhere."""
    ends = [sum(tie.size for tie in ties[i:]) for i in range(len(ties))]
    back = [
        end - jnp.arange(tie.size, dtype=jnp.int32).reshape(tie.shape)
        for tie, end in zip(ties, ends, strict=True)
    ]
    return [jnp.where(tie, b, 0).astype(jnp.uint32) for tie, b in zip(ties, back, strict=True)]


def _kth_largest(keys: Groups, k: jax.Array, bits: int) -> jax.Array:
    """Of each group the largest `t` with at least `k` keys `>= t`, from the highest bit down."""
    dtype = jnp.result_type(*(key for group in keys for key in group))

    def body(i, found):
        bit = lax.shift_left(jnp.ones((), dtype), (bits - 1 - i).astype(dtype))
        higher = found | bit
        reach = [[key >= higher[j] for key in group] for j, group in enumerate(keys)]
        return jnp.where(_counts(reach) >= k, higher, found)

    return lax.fori_loop(0, bits, body, jnp.zeros(len(keys), dtype))
