"""Learning rates of a config that no training can use."""

import dataclasses
import math
from typing import Any


def check_rates(config: Any) -> None:
    """Refuse a field of a dataclass named `rate` or `..._rate` that is negative or not finite.

    Raises:
        ValueError: naming the first such field.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name.rpartition("_")[2] == "rate" and not 0 <= value < math.inf:
            raise ValueError(f"{field.name}={value}; a rate is at least 0 and finite")
