"""How the methods of a room are found: through the public `examples()` of its modules."""

import importlib
import pkgutil
from types import ModuleType


def modules(room: ModuleType) -> list[ModuleType]:
    """The modules of a package, those of its sub-packages included."""
    names = [m.name for m in pkgutil.walk_packages(room.__path__, room.__name__ + ".")]
    return [importlib.import_module(name) for name in sorted(names)]


def first_examples(room: ModuleType, hook: str = "examples") -> list[str]:
    """The name of one example of every module that has any."""
    found = (list(getattr(module, hook, dict)()) for module in modules(room))
    return [names[0] for names in found if names]


def examples(room: ModuleType, hook: str = "examples", **options: bool) -> dict[str, object]:
    """All examples of a room by name; two methods may not share a name."""
    found: dict[str, object] = {}
    for module in modules(room):
        for name, example in getattr(module, hook, lambda **_: {})(**options).items():
            assert name not in found, f"two examples are called {name}"
            found[name] = example
    return found
