"""SLTT: spatial learning through time, for spiking networks.

Meng, Xiao, Yan, Wang, Lin, Luo: Towards Memory- and Time-Efficient Backpropagation for Training
Spiking Neural Networks, ICCV 2023, arXiv 2302.14311.
"""

from jaxlearn.core import Model, Objective, Rule, over_time
from jaxlearn.rules.backprop import backprop


def sltt(
    model: Model,
    objective: Objective,
    T: int,
    *,
    K: int | None = None,
    time_axis: int | None = None,
) -> Rule:
    """The gradient through the layers of every step, without the routes through time.

    Backpropagation through time sends the signal of membrane `u^l[t]` along two kinds of routes::

        dL/du^l[t] = dL/du^{l+1}[t] W^{l+1} ds/du^l[t]                           spatial
                   + sum_{t'>t} dL/du^l[t'] eps^l[t'-1] ... eps^l[t]             temporal
        eps^l[t]   = du^l[t+1]/du^l[t] = decay (1 - threshold ds/du^l[t])

    With `decay = 1 - 1/tau = 0.09` and a surrogate within [0, 1] every `eps` lies in [0, decay], so
    the temporal part is small. SLTT sets it to zero::

        g = (1/T) sum_{t in S} grad_theta objective(model(theta, v[t-1], x[t]))

    with the membranes `v[t-1]` constant, and leaves the forward pass as it is. The gradient of a
    step is computed within the step, so memory does not grow with `T`. `S` is all steps or, with
    `K` (SLTT-K), K of them drawn once per batch: the others run forward only, and as the sum is
    still divided by `T` the expected signal is `K/T` of SLTT's.

    It is `over_time(backprop(model, objective), T)`; any other instantaneous rule can take
    backprop's place there, as in `over_time(local_learning(blocks), T)`.

    Args:
        model: a spiking network for one step, its membranes in the collection `"sequence"`.
        objective: the loss of one step. The paper takes `cross_entropy_with_mse(0.05)` on static
            images.
        T: steps per sequence.
        K: how many steps teach; all by default.
        time_axis: the axis of the inputs that is time; by default the same image at every step.

    Raises:
        ValueError: when `T` or `K` is out of range.

    Example:
        >>> import jax, optax
        >>> from jaxlearn.core import make_state, make_step, stack
        >>> from jaxlearn.models.spiking_mlp import spiking_mlp_blocks
        >>> from jaxlearn.models.tiny import tiny_batch
        >>> from jaxlearn.objectives import cross_entropy_with_mse
        >>> net = stack(spiking_mlp_blocks(3, widths=(8,)))
        >>> rule, tx = sltt(net, cross_entropy_with_mse(0.05), T=4, K=2), optax.sgd(0.1, 0.9)
        >>> state = make_state(rule, tx, jax.random.key(0), tiny_batch())
        >>> state, metrics = make_step(rule, tx)(state, tiny_batch())
    """
    return over_time(backprop(model, objective), T, update_steps=K, time_axis=time_axis)


def examples() -> dict[str, Rule]:
    """SLTT, SLTT-K, and local learning of the same spiking blocks, at toy size."""
    from jaxlearn.core import stack
    from jaxlearn.models.spiking_mlp import spiking_mlp_blocks
    from jaxlearn.models.tiny import CLASSES, WIDTH, tiny_head
    from jaxlearn.objectives import cross_entropy, cross_entropy_with_mse
    from jaxlearn.rules.local_learning import LocalModule, local_learning

    blocks = spiking_mlp_blocks(CLASSES, widths=(WIDTH, WIDTH))
    loss = cross_entropy_with_mse(0.05)
    *spiking, readout = blocks
    modules = [LocalModule(block, cross_entropy, tiny_head()) for block in spiking]
    modules.append(LocalModule(readout, cross_entropy))
    return {
        "sltt": sltt(stack(blocks), loss, 4),
        "sltt-k": sltt(stack(blocks), loss, 4, K=2),
        "spiking-local": over_time(local_learning(modules), 4),
    }
