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


def examples() -> dict[str, optax.GradientTransformation]:
    """SGD along the schedule, at toy size."""
    return {"sgd-blended-cosine": optax.sgd(blended_cosine(0.1, 4, 50, warmup=1), 0.9)}
