"""PS-KD's loss in PyTorch: labels mixed with what was predicted for the same examples before."""

from collections.abc import Callable
from typing import Any

from experiments.harness import Program
from experiments.peers.torch import tensor, torch


def mixed_with_past(examples: int, alpha: float) -> Callable[[Program], Callable[[Any, Any], Any]]:
    """Cross-entropy with `(1 - alpha) onehot(y) + alpha Q`, Q what the last visit predicted.

    Before an example was seen its Q is its label, as the memory of the published code begins.

    Args:
        examples: rows of the memory.
        alpha: weight of the predictions.
    """

    def of(program: Program) -> Callable[[Any, Any], Any]:
        t, f = torch(), torch().nn.functional
        index = tensor(program.batch["index"]).long()
        labels = tensor(program.batch["labels"]).long()
        classes = int(labels.max()) + 1
        memory = t.zeros(examples, classes)
        memory[index] = f.one_hot(labels, classes).float()

        def loss(logits: Any, labels: Any) -> Any:
            target = (1 - alpha) * f.one_hot(labels, classes) + alpha * memory[index]
            memory[index] = f.softmax(logits.detach(), -1)
            return f.cross_entropy(logits, target)

        return loss

    return of
