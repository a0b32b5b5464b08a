"""Every kept table, its claims and its figure: one page without network, and one of Markdown."""

import base64
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup, escape

from experiments.harness import peer_table, pod_table, present, readme, store

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>jaxlearn: results</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 0 auto; padding: 1rem; }
p, li, summary { max-width: 60rem; }
h2 { margin-top: 3rem; border-top: 1px solid #8886; padding-top: 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #8884; text-align: right; }
th { vertical-align: bottom; }
td { white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 8rem; }
th.words, td.words { text-align: left; }
code { font-size: .9em; }
ul.claims { list-style: none; padding-left: 0; }
ul.claims li { margin: .4rem 0; padding-left: 1.2rem; text-indent: -1.2rem; }
.held::first-letter { color: #2a8a3e; }
.failed { font-weight: 600; }
.failed::first-letter { color: #c62828; }
.small { font-size: .85rem; opacity: .75; }
img { max-width: 100%; background: white; }
@media (max-width: 48rem) { .wide img { max-width: none; } }
nav { display: flex; flex-wrap: wrap; gap: .25rem .75rem; }
</style>
</head>
<body>
<h1>Results</h1>
<p>{{ held }} claims hold, {{ failed }} failed, over {{ pages | length }} experiments.
Figures are ours as mean ± sample standard deviation over the seeds, beside the paper's.</p>
<nav>{% for page in pages %}<a href="#{{ page.slug }}">{{ page.slug }}</a>{% endfor %}
{% for part in parts %}<a href="#{{ part.name | lower }}">{{ part.name | lower }}</a>
{% endfor %}</nav>
{% macro grid(lines) %}
<div class="wide"><table>
{% for line in lines %}{% set cell = "th" if loop.first else "td" %}
<tr>{% for text, words in zip(line, of_words(lines)) %}
<{{ cell }}{% if words %} class="words"{% endif %}>{{ text }}</{{ cell }}>{% endfor %}</tr>
{% endfor %}</table></div>
{% endmacro %}
{% for page in pages %}
<section id="{{ page.slug }}">
<h2>{{ page.title }}</h2>
<p class="small">{{ page.citation }}</p>
{% for table in page.tables %}
<h3>{{ table.preset }}</h3>
<p class="small">Seeds {{ table.seeds | join(", ") }}.</p>
{{ grid(table.grid) }}
{% if table.legend %}<p class="small">
{% for name, text in table.legend.items() %}<b>{{ name }}</b>: {{ text | code }}
{%- if not loop.last %}; {% endif %}{% endfor %}.</p>{% endif %}
<ul class="claims">{% for line in table.claims %}
<li class="{{ {"✓": "held", "✗": "failed"}.get(line[0], "small") }}">
{{ line | code }}</li>{% endfor %}
</ul>
{% if table.figure %}
<div class="wide">
<img alt="figure of {{ page.slug }}" src="data:image/png;base64,{{ table.figure }}">
</div>
{% endif %}
{% if table.deviations %}<details><summary>Deviations from the paper</summary>
<ol>{% for text in table.deviations %}<li>{{ text | code }}</li>{% endfor %}</ol></details>
{% endif %}
{% for text in table.notes %}<p>{{ text | code }}</p>{% endfor %}
<p class="small">{{ table.environment }}</p>
{% endfor %}
{% for title, lines in page.extra %}
<h3>{{ title }}</h3>
{{ grid(lines) }}
{% endfor %}
</section>
{% endfor %}
{% for part in parts %}
<section id="{{ part.name | lower }}">
<h2>{{ part.name }}</h2>
<p>{{ part.about | code }}</p>
{{ grid(part.grid) }}
</section>
{% endfor %}
</body>
</html>
"""

_PODS = (
    "The paper's step, compiled by the TPU compiler for a whole slice; figures are per chip. "
    "Communication is the share of the step that its collectives would take at the chip's "
    "published rates, if everything else ran at its peak and nothing overlapped."
)
_PEERS = (
    "Training steps of ours beside the same step in another library, on the same device, taking "
    "turns. A ratio is our time by the other's, `memory` our temporaries by the most that the "
    "other allocates in a step; means are over the fastest peer of each step."
)


def write(results: Path) -> str:
    """Write `index.html` and `RESULTS.md` into the results folder; return a line about them."""
    folders = _folders(results)
    pages = [page for folder in folders if (page := _page(folder, results))]
    parts = _parts(folders, results)
    marks = [mark for page in pages for mark in _marks(page)]
    counts = {"held": marks.count("✓"), "failed": marks.count("✗")}
    store.write(results / "index.html", _html(pages=pages, parts=parts, **counts))
    store.write(results / "RESULTS.md", _markdown(pages, parts, **counts))
    return f"written: {results / 'index.html'} and RESULTS.md ({len(pages)} experiments)"


def write_all(results: Path) -> str:
    """Write the page, its Markdown and the claims of the README; return what was written."""
    return "\n".join(filter(None, [write(results), readme.write(results.parent)]))


def _html(**values: Any) -> str:
    environment = Environment(autoescape=True, trim_blocks=True)
    environment.filters["code"] = _code
    return environment.from_string(_PAGE).render(zip=zip, of_words=present.of_words, **values)


def _code(text: str) -> Markup:
    """The text with what stands between backticks as code.

    >>> _code("`a < b` & c")
    Markup('<code>a &lt; b</code> &amp; c')
    """
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _parts(folders: list[Path], results: Path) -> list[dict[str, Any]]:
    """What is about all experiments: names, a paragraph and a table each, where there is any."""
    beside = peer_table.compared(_benches(results))
    about = " ".join([_PEERS, *(f"{line}." for line in peer_table.means(beside))])
    parts = [
        {"name": "Peers", "about": about, "grid": peer_table.grid(beside)},
        {"name": "Pods", "about": _PODS, "grid": pod_table.grid(folders)},
    ]
    return [part for part in parts if len(part["grid"]) > 1]


def _marks(page: dict[str, Any]) -> list[str]:
    return [line[0] for table in page["tables"] for line in table["claims"]]


def _markdown(
    pages: list[dict[str, Any]], ends: list[dict[str, Any]], held: int, failed: int
) -> str:
    """The same for readers of a repository: which claims hold, then every table."""
    overview = [["experiment", "paper", "claims held", "failed"]]
    parts = []
    for page in pages:
        marks, slug = _marks(page), page["slug"]
        counts = [str(marks.count(mark)) for mark in "✓✗"] if marks else ["", ""]
        overview.append([f"[{slug}](#{slug})", page["citation"], *counts])
        parts.append(f"## {slug}\n\n{page['title']}")
        for table in page["tables"]:
            parts.append(f"### {slug}, {table['preset']}\n\n{present.markdown_grid(table['grid'])}")
            parts.append("\n".join(f"- {line}" for line in table["claims"]))
            parts.append(f"[page, with deviations and notes]({slug}/{table['preset']}.md)")
        for title, lines in page["extra"]:
            parts.append(f"### {slug}, {title}\n\n{present.markdown_grid(lines)}")
    head = (
        "# Results\n\nWritten by `python -m experiments report` from the JSON beside it: "
        f"{held} claims hold, {failed} failed. Figures are ours as mean ± sample standard "
        "deviation over the seeds."
    )
    for end in ends:
        parts.append(f"## {end['name']}\n\n{end['about']}\n\n{present.markdown_grid(end['grid'])}")
    return "\n\n".join([head, present.markdown_grid(overview), *filter(None, parts)]) + "\n"


def _folders(results: Path) -> list[Path]:
    benched = {slug for made in _benches(results) for slug in made}
    names = {path.name for path in results.glob("*") if path.is_dir()} | benched
    return [results / name for name in sorted(names) if not name.startswith(".")]


def _benches(results: Path) -> list[dict[str, Any]]:
    """What was timed, by slug: on processors, then in a file of its own on other devices."""
    return [store.read(file) for file in sorted(results.glob("bench*.json"), reverse=True)]


def _page(folder: Path, results: Path) -> dict[str, Any] | None:
    """Collect what is kept of one experiment, None when there is nothing."""
    files = sorted(folder.glob("*.json"), key=lambda file: (file.stem != "small", file.stem))
    read = [(store.read(file), file.with_suffix(".png")) for file in files]
    made = [(table, picture) for table, picture in read if "claims" in table]
    extra = _compiled(folder) + _benched(folder.name, results)
    if not made and not extra:
        return None
    first = made[0][0] if made else {"title": folder.name, "citation": ""}
    return {
        "slug": folder.name,
        "title": first["title"],
        "citation": first["citation"],
        "tables": [_table(table, picture) for table, picture in made],
        "extra": extra,
    }


def _table(table: dict[str, Any], picture: Path) -> dict[str, Any]:
    return {
        "preset": table["preset"],
        "seeds": table["seeds"],
        "grid": present.grid(table),
        "legend": table["metrics"],
        "claims": present.claim_lines(table),
        "deviations": table["deviations"],
        "notes": table["notes"],
        "environment": present.environment_line(table["environment"]),
        "figure": base64.b64encode(picture.read_bytes()).decode() if picture.exists() else "",
    }


def _compiled(folder: Path) -> list[tuple[str, list[list[str]]]]:
    found = pod_table.compiled(folder)
    return [("compiled for a pod, per device", present.compile_grid(found))] if found else []


def _benched(slug: str, results: Path) -> list[tuple[str, list[list[str]]]]:
    made = []
    for found in (kept[slug] for kept in _benches(results) if slug in kept):
        device = found["environment"].get("devices", "")
        where = "" if found["environment"].get("platform", "cpu") == "cpu" else f" on {device}"
        made.append((f"step time and memory{where}", present.bench_grid(found)))
        if "scaling" in found:
            made.append(("one step shared by virtual devices", present.scaling_grid(found)))
    return made
