"""The reference has every public name, as Python sees the packages when it imports them."""

import ast
import importlib
import inspect
import pkgutil
import re
import runpy
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest
from flax import linen

ROOT = Path(__file__).parents[1]
ROOMS = sorted(path.parent.name for path in (ROOT / "jaxlearn").glob("*/__init__.py"))
every_room = pytest.mark.parametrize("room", [*ROOMS, "jaxlearn_kernels"])


@cache
def pages() -> dict[str, str]:
    """The text of every page of the reference."""
    return runpy.run_path(str(ROOT / "docs" / "rooms.py"))["pages"]()


@cache
def modules(room: str) -> list[ModuleType]:
    """A room's package and all modules in it."""
    package = importlib.import_module(room if room == "jaxlearn_kernels" else f"jaxlearn.{room}")
    inside = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return [package, *(importlib.import_module(found.name) for found in inside)]


def public(room: str) -> dict[tuple[str, str], object]:
    """(module, name) → the functions and classes that a room defines under a public name."""
    return {
        (module.__name__, name): thing
        for module in modules(room)
        for name, thing in vars(module).items()
        if not name.startswith("_")
        and getattr(thing, "__name__", None) == name
        and getattr(thing, "__module__", None) == module.__name__
    }


def entries(room: str) -> dict[tuple[str, str], str]:
    """(module, name) → the signature that the page gives."""
    found = re.findall(r"^\.\. auto(?:function|class):: ([\w.]+)::(\w+)(.*)$", pages()[room], re.M)
    return {(module, name): signature for module, name, signature in found}


def test_every_room_has_a_page():
    assert set(pages()) == {"index", *ROOMS, "jaxlearn_kernels"}
    assert all(f"\n   {room}\n" in pages()["index"] for room in ROOMS)


@every_room
def test_every_function_and_class_of_a_room_is_on_its_page(room):
    expected = public(room)
    assert len(expected) >= 5
    assert expected.keys() == entries(room).keys()


@every_room
def test_signatures_name_the_arguments_that_python_sees(room):
    defined = public(room)
    compared = 0
    for key, written in entries(room).items():
        if written:
            arguments = ast.parse(f"def f{written}: ...").body[0].args
            every = [*arguments.posonlyargs, *arguments.args, arguments.vararg]
            every += [*arguments.kwonlyargs, arguments.kwarg]
            seen = list(inspect.signature(defined[key]).parameters)
            if inspect.isclass(defined[key]) and issubclass(defined[key], linen.Module):
                seen = [name for name in seen if name not in ("parent", "name")]  # of all of them
            assert [argument.arg for argument in every if argument] == seen, key
            compared += 1
    assert compared >= 5


@every_room
def test_what_a_package_offers_leads_to_a_definition(room):
    defined = "\n".join(pages().values())
    for module in modules(room):
        for name in getattr(module, "__all__", ()):
            target = re.search(rf":py:\w+:`{name} <([\w.]+)>`", pages()[room])
            assert target, (module.__name__, name)
            home, _, short = target[1].rpartition(".")
            automatic = f":: {home}::{short}" in defined or f":: {target[1]}\n" in defined
            assert automatic or f".. py:data:: {short}\n" in defined, target[1]


class Page(HTMLParser):
    """The anchors of a page and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors, self.loaded = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.anchors.add(given.get("id"))
        if tag in ("script", "link", "img", "iframe"):
            self.loaded += [given[name] for name in ("src", "href") if given.get(name)]


@pytest.mark.slow
def test_the_pages_build_without_a_warning_and_load_nothing_from_a_network(tmp_path):
    pytest.importorskip("sphinx", reason="make docs installs it")
    words = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    done = subprocess.run(
        [*words, str(ROOT / "docs"), str(tmp_path)], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for room in [*ROOMS, "jaxlearn_kernels"]:
        page = Page((tmp_path / "reference" / f"{room}.html").read_text())
        assert {".".join(key) for key in public(room)} <= page.anchors
    for path in tmp_path.rglob("*.html"):
        for address in Page(path.read_text()).loaded:
            assert not re.match(r"(\w+:)?//", address), (path.name, address)
