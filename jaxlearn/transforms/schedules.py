"""Learning rates by epoch, as the papers' training scripts set them."""

import jax.numpy as jnp
import optax


def blended_cosine(
    peak: float,
    epochs: int,
    steps_per_epoch: int,
    *,
    warmup: int = 10,
    start: float = 0.01,
) -> optax.Schedule:
    """A cosine per epoch into which a constant is blended at the beginning.

    `c(e) = peak (1 + cos(pi e / epochs)) / 2` in epoch e = 1 … epochs; for `e <= warmup` it is
    `c(e) (e - 1) / warmup + start (warmup + 1 - e) / warmup`. The last epoch has rate 0. This is
    the schedule of InfoPro (Wang et al., ICLR 2021), AugLocal and MAN.

    Args:
        peak: the rate that the cosine starts from.
        epochs: epochs of the whole training.
        steps_per_epoch: steps for which the rate stays the same.
        warmup: epochs with a blend; 0 for none.
        start: the rate of the first epoch, if there is a blend.

    Raises:
        ValueError: when a length is out of range.

    Example:
        >>> rate = blended_cosine(0.8, 400, 49)
        >>> round(float(rate(0)), 6)
        0.01
    """
    if epochs < 1 or steps_per_epoch < 1 or not 0 <= warmup <= epochs:
        raise ValueError(
            f"expected epochs and steps_per_epoch of at least 1 and warmup in 0..epochs, found "
            f"epochs={epochs}, steps_per_epoch={steps_per_epoch}, warmup={warmup}"
        )

    def rate(step):
        epoch = 1 + jnp.minimum(jnp.asarray(step) // steps_per_epoch, epochs - 1)
        cosine = 0.5 * peak * (1 + jnp.cos(jnp.pi * epoch / epochs))
        share = jnp.clip((epoch - 1) / warmup, 0, 1) if warmup else 1.0
        return share * cosine + (1 - share) * start

    return rate


def by_epoch(rate: optax.Schedule, steps_per_epoch: int) -> optax.Schedule:
    """A schedule over epochs, counted from 0, as one over steps.

    Example:
        >>> int(by_epoch(lambda epoch: 10 * epoch, 3)(7))
        20
    """
    if steps_per_epoch < 1:
        raise ValueError(f"steps_per_epoch={steps_per_epoch}; it has to be 1 or more")
    return lambda step: rate(jnp.asarray(step) // steps_per_epoch)


def cosine_cycles(
    peak: float,
    steps: int,
    *,
    cycles: int = 1,
    floor: float = 1e-6,
    warmup: int = 0,
    start: float = 1e-5,
    decay: float = 0.5,
) -> optax.Schedule:
    """Cosines one after the other, each with a smaller peak, after a straight rise.

    With cycles of `n = steps / cycles` steps, at step t of cycle `i = floor(t / n)` the rate is
    `floor + (peak decay^i - floor) (1 + cos(pi (t - i n) / n)) / 2`, and for `t < warmup` it is
    `start + (peak - start) t / warmup`: the warm-up covers the beginning of the first cosine. From
    `steps` on the rate is `floor`. It is the schedule of SGDR (Loshchilov and Hutter, ICLR 2017) as
    MixtureGrowth (Pham et al., WACV 2024) uses it: one cycle per phase, four in the last one.

    Args:
        peak: highest rate of the first cycle.
        steps: of all cycles together.
        cycles: how many.
        floor: rate at the end of every cycle, the lowest unless the peak of a later cycle has
            fallen below it: such a cycle rises to the floor, as it does in timm and MixtureGrowth.
        warmup: steps of the rise.
        start: where it begins.
        decay: of the peak from a cycle to the next.

    Raises:
        ValueError: when a length is out of range.

    Example:
        >>> rate = cosine_cycles(0.4, 8, cycles=2, floor=0.0)
        >>> [round(float(rate(step)), 3) for step in (0, 2, 4, 6, 8)]
        [0.4, 0.2, 0.2, 0.1, 0.0]
    """
    if not 1 <= cycles <= steps or not 0 <= warmup < steps:
        raise ValueError(
            f"steps={steps}, cycles={cycles}, warmup={warmup}; expected at least one step per "
            "cycle and a warm-up shorter than all steps"
        )
    length = steps / cycles

    def rate(step):
        step = jnp.asarray(step, jnp.float32)
        cycle = jnp.minimum(jnp.floor(step / length), cycles - 1)
        share = jnp.minimum(step / length - cycle, 1.0)
        cosine = 0.5 * (1 + jnp.cos(jnp.pi * share))
        falling = floor + (peak * decay**cycle - floor) * cosine
        rising = start + (peak - start) * step / max(warmup, 1)
        return jnp.where(step < warmup, rising, falling)

    return rate


def one_cycle(
    low: float, peak: float, last: float, total: int, *, rise: float = 0.3
) -> optax.Schedule:
    """Half a cosine from `low` to `peak`, then half a cosine to `last` (Smith, Topin, 2018).

    The peak is at `rise total - 1`, the end at `total - 1`, as in PyTorch's `OneCycleLR` with
    `total` steps; optax's schedule has both a step later, which shows where steps are epochs.

    Raises:
        ValueError: when `total` is not above 1, or `rise` not between 0 and 1.

    Example:
        >>> rate = one_cycle(0.2, 5.0, 0.0, 20)
        >>> [round(float(rate(step)), 2) for step in (0, 5, 19)]
        [0.2, 5.0, 0.0]
    """
    if total < 2 or not 0 < rise < 1:
        raise ValueError(f"total={total}, rise={rise}; expected at least 2, and 0 < rise < 1")
    top, end = rise * total - 1, total - 1
    bend = lambda a, b, share: b + (a - b) * 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(share, 0, 1)))

    def rate(step):
        rising = bend(low, peak, step / top) if top > 0 else low
        return jnp.where(step <= top, rising, bend(peak, last, (step - top) / (end - top)))

    return rate


def shrinking_sigma(length: int, epochs: int, *, narrowest: float = 0.23) -> optax.Schedule:
    """The width of learnable delays by epoch (Hammouamri et al., ICLR 2024).

    It begins at `length // 2`; after each epoch of the first quarter it is multiplied by
    `(narrowest / (length // 2))^(1 / (epochs // 4))`, and it stays at `narrowest` from there on.
    With the 0.27 of `models.layers.delays` bumps end 0.5 steps wide.

    Raises:
        ValueError: when there are fewer than 4 epochs, or the kernel is too short to shrink in.

    Example:
        >>> sigma = shrinking_sigma(25, 16)
        >>> [round(float(sigma(epoch)), 2) for epoch in (0, 2, 4, 15)]
        [12.0, 1.66, 0.23, 0.23]
    """
    widest = length // 2
    if epochs < 4 or widest <= narrowest:
        raise ValueError(
            f"length={length}, epochs={epochs}; expected a length of 3 or more and 4 epochs or more"
        )
    factor = (narrowest / widest) ** (1 / (epochs // 4))
    return lambda epoch: jnp.maximum(narrowest, widest * factor ** jnp.asarray(epoch, jnp.float32))


def examples() -> dict[str, optax.GradientTransformation]:
    """SGD along the schedule, at toy size."""
    return {"sgd-blended-cosine": optax.sgd(blended_cosine(0.03, 4, 50, warmup=1), 0.9)}
