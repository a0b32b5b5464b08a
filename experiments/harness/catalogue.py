"""`list`: every experiment at a glance, without importing any that describes itself in literals."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.harness import discover, outline, store


def entries(folder: Path) -> list[dict[str, Any]]:
    """Return the JSON of `list` (see `experiments.harness`)."""
    return [_entry(slug, path, folder) for slug, path in discover.files(folder).items()]


def _entry(slug: str, path: Path, folder: Path) -> dict[str, Any]:
    seen = outline.read(path)
    title, paper, slots, presets = seen.title, seen.paper, seen.slots, seen.presets
    if title is None or paper is None or slots is None or presets is None:
        loaded = discover.load(slug, folder)
        title, paper = loaded.title, loaded.paper
        slots, presets = loaded.slots, tuple(loaded.presets)
    return {
        "slug": slug,
        "title": title,
        "paper": paper,
        "slots": list(slots),
        "presets": list(presets),
        "claims": last_claims(folder / "results" / slug),
    }


def last_claims(results: Path) -> dict[str, int]:
    """Count the claims of the fullest committed table: `paper` if there is one, else `small`."""
    for preset in ("paper", "small"):
        file = results / f"{preset}.json"
        if file.exists():
            claims = store.read(file)["claims"]
            held = sum(bool(claim["holds"]) for claim in claims)
            return {"held": held, "failed": len(claims) - held}
    return {"held": 0, "failed": 0}


def show(folder: Path, as_json: bool) -> int:
    """Print the catalogue and return exit status 0."""
    found = entries(folder)
    if as_json:
        print(store.dump(found), end="")
    else:
        print("\n".join(_lines(found)))
    return 0


def _lines(found: list[dict[str, Any]]) -> list[str]:
    width = max([len(entry["slug"]) for entry in found], default=0)
    return [
        f"{e['slug']:<{width}}  {_claims(e['claims'])}  {e['title']} ({', '.join(e['slots'])})"
        for e in found
    ] or ["no experiments here"]


def _claims(count: Mapping[str, int]) -> str:
    return f"{count['held']:>2} ✓ {count['failed']:>2} ✗"
