"""What all PyTorch peers need: our arrays as tensors, and the proof that both compute the same."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any

import jax
import numpy as np

from experiments.harness import Program
from jaxlearn.core import Rule


def torch() -> Any:
    """The package, on the device that ours runs on; it is looked for only when a peer starts.

    Raises:
        ValueError: when ours runs on a GPU that it cannot use.
    """
    package = import_module("torch")
    if jax.default_backend() != "gpu":
        return package
    if not package.cuda.is_available():
        raise ValueError(
            f"PyTorch {package.__version__} cannot use this GPU: install one that can, or compare "
            f"on the processor with JAX_PLATFORMS=cpu"
        )
    package.set_default_device("cuda")
    # products as precise as ours
    precision = getattr(jax.config, "jax_default_matmul_precision", None)
    fast = precision not in ("highest", "float32")
    package.backends.cuda.matmul.allow_tf32 = package.backends.cudnn.allow_tf32 = fast
    return package


def placed(array: Any) -> Any:
    """A tensor of its own, of the same shape."""
    package = torch()
    return package.as_tensor(np.array(array, order="C"), device=package.get_default_device())


def tensor(array: Any) -> Any:
    """The same; kernels of convolutions `[h, w, in, out]` become `[out, in, h, w]`."""
    values = np.asarray(array)
    return placed(values.transpose(3, 2, 0, 1) if values.ndim == 4 else values)


def weights(params: Any) -> Any:
    """Our parameters as leaves to differentiate, in the same tree."""
    return jax.tree.map(lambda leaf: tensor(leaf).requires_grad_(), params)


def leaves(params: Any) -> list[Any]:
    """The tensors of a tree."""
    return jax.tree.leaves(params)


def in_order(tree: Mapping[str, Any]) -> Iterator[Any]:
    """The parts of a stack: those with numbers for names, ascending."""
    return (tree[name] for name in sorted((n for n in tree if n.isdigit()), key=int))


def affine(p: Mapping[str, Any], x: Any) -> Any:
    """A dense layer by its parameters."""
    return torch().nn.functional.linear(x, p["kernel"].T, p["bias"])


Running = dict[int, tuple[Any, Any]]
"""Running mean and variance by the identity of the scale they belong to."""


def running_statistics(params: Any) -> Running:
    """Fresh ones for every vector of a tree; those of biases are never asked for."""
    t = torch()
    vectors = [leaf for leaf in leaves(params) if leaf.ndim == 1]
    return {id(leaf): (t.zeros(len(leaf)), t.ones(len(leaf))) for leaf in vectors}


def batch_norm(x: Any, norm: Mapping[str, Any], running: Running, train: bool) -> Any:
    """`models.layers.batch_norm` on `[batch, C, H, W]`."""
    own, f = norm["BatchNorm_0"], torch().nn.functional
    return f.batch_norm(x, *running[id(own["scale"])], own["scale"], own["bias"], train, 0.1, 1e-5)


def outputs(rule: Rule, program: Program) -> Callable[[], Any]:
    """What our rule predicts for the batch of a program, computed when it is called."""

    def predicted() -> Any:
        state = program.state
        return jax.jit(rule.predict)(state.params, state.state, program.batch)[0]

    return predicted


def loss_of(program: Program) -> Callable[[], Any]:
    """The loss of a program's step, computed when it is called."""
    return lambda: jax.jit(program.step)(program.state, program.batch)[1]["loss"]


def agree(
    ours: Callable[[], Any], theirs: Callable[[], Any], what: str, rtol: float = 1e-3
) -> None:
    """Compare outputs, relative to the largest, both computed with products in full precision.

    On a GPU products of float32 are rounded to 10 bits otherwise, on either side in its own way.

    Raises:
        ValueError: when they differ.
    """
    with jax.default_matmul_precision("highest"), torch().no_grad():
        own, other = np.asarray(ours()), theirs().cpu().numpy()
    torch()  # as precise as ours again
    worst = np.abs(own - other).max() / np.abs(own).max()
    if not worst <= rtol:
        raise ValueError(f"{what}: outputs of the peer differ by {worst:.1e} of the largest")


def stepper(losses: Callable[[], Iterable[Any]], optimizer: Any) -> Callable[[], float]:
    """One step over losses: each is differentiated before the next is computed, then the update.

    Returns:
        a function that does the step and returns the sum of the losses.
    """

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        total: Any = 0.0
        for loss in losses():
            loss.backward()
            total = total + loss.detach()
        optimizer.step()
        return float(total)  # waits for the device, once

    return step
