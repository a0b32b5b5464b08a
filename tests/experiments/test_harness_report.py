import base64
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from experiments.harness import peer_table, present, readme, report


class Page(HTMLParser):
    """The cells, pictures, scripts and addresses of a page."""

    def __init__(self, text):
        super().__init__()
        self.cells, self.sources, self.tags, self._open = [], [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        self._open = tag in ("td", "th")
        if self._open:
            self.cells.append("")

    def handle_data(self, data):
        if self._open:
            self.cells[-1] += data

    def handle_endtag(self, tag):
        self._open = False


def test_report_holds_every_table_claim_and_figure_and_needs_no_network(harness):
    harness("table", "tiny-quadratic")
    first = harness.results / "tiny-quadratic"
    shutil.copytree(first, harness.results / "another")
    table = json.loads((first / "small.json").read_text())
    table |= {"slug": "another", "title": "<b>Another</b> & co"}
    table["rows"][0]["name"] = "renamed <row>"
    (harness.results / "another" / "small.json").write_text(json.dumps(table))

    assert harness("report")[0] == 0
    text = (harness.results / "index.html").read_text()
    page = Page(text)
    for folder in (first, harness.results / "another"):
        made = json.loads((folder / "small.json").read_text())
        for line in present.grid(made):
            assert set(line) <= set(page.cells)
        for claim in made["claims"]:
            assert f"✓ {claim['id']}: {claim['text']}" in text
    assert "<b>Another" not in text
    assert "<b>loss</b>: <code>x^2 / 2</code> at the end; " in text
    pictures = [source for source in page.sources if source.startswith("data:image/png")]
    assert len(pictures) == 2
    assert base64.b64decode(pictures[0].partition(",")[2]) == (first / "small.png").read_bytes()
    assert all(re.match("#|data:", source) for source in page.sources)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert "width=device-width" in text


def test_report_shows_bench_and_compile(harness):
    folder = harness.results / "tiny-quadratic"
    folder.mkdir(parents=True)
    compiled = {
        "slug": "tiny-quadratic",
        "preset": "paper",
        "topology": "v5e:16x16",
        "devices": 256,
        "temp_bytes": 1_234_000_000,
        "argument_bytes": 99_000_000,
        "flops": 1e15,
        "bytes": 5e9,
        "collectives": {"all-reduce": 7},
        "collective_bytes": {"all-reduce": 250_000_000},
        "kernels": 42,
    }
    larger = compiled | {"topology": "v5p:4x8x8", "model": 4, "temp_bytes": 5_600_000}
    row = {"name": "ours", "step_ms": 5.5, "temp_bytes": 1, "flops": 2.0, "ratio_to_backprop": 0.75}
    bench = {"tiny-quadratic": {"rows": [row], "environment": {}}}
    (folder / "compile.json").write_text(json.dumps(compiled))
    (folder / "compile-v5p-4x8x8-model-4.json").write_text(json.dumps(larger))
    (harness.results / "bench.json").write_text(json.dumps(bench))
    faster = {
        "rows": [row | {"step_ms": 0.25}],
        "environment": {"platform": "gpu", "devices": "1 × G"},
    }
    (harness.results / "bench-gpu.json").write_text(json.dumps({"tiny-quadratic": faster}))
    assert harness("report")[0] == 0
    assert "step time and memory on 1 × G" in (harness.results / "index.html").read_text()
    cells = Page((harness.results / "index.html").read_text()).cells
    figures = ("0.25", "1,234.0", "5.6", "99.0", "5,000.0", "1e+06", "7", "250.00", "42")
    for figure in (*figures, "ours", "5.5", "0.75"):
        assert figure in cells
    # half a gigabyte over 200 GB/s beside 1e15 operations at 197e12 a second
    talk, work = 2 * 0.25 / 200, 1000 / 197
    assert f"{talk / (talk + work):.1%}" in cells
    assert cells.count("v5p:4x8x8, 4 to a copy of the state") == 2


def test_peers_stand_in_one_table_with_their_geometric_mean(harness):
    """Fastest peers alone are in the mean: of 0.5 and 2 it is 1, on the other device 0.25."""
    harness("table", "tiny-quadratic")

    def row(name, *ratios, **more):
        peers = [{"peer": f"p{r} 1.0", "step_ms": 1 / r, "ratio": r} | more for r in ratios]
        step = {"step_ms": 1.0, "temp_bytes": 1, "flops": 1.0, "ratio_to_backprop": 1.0}
        return {"name": name, "peers": peers} | step

    rows = [
        row("first", 0.5, 0.125),
        row("second", 2.0, ratio_quartiles=[1.5, 2.5], memory_ratio=3),
    ]
    here = {"slug": "tiny-quadratic", "rows": [*rows, row("alone")]}
    there = {"slug": "tiny-quadratic", "rows": [row("third", 0.25)]}
    device = {"platform": "gpu", "devices": "1 × G"}
    for name, made, where in (("bench", here, {}), ("bench-gpu", there, device)):
        kept = {"tiny-quadratic": made | {"environment": where}}
        (harness.results / f"{name}.json").write_text(json.dumps(kept))
    beside = peer_table.compared([{"a": here | {"environment": {}}}])
    assert [(one.step, one.fastest) for one in beside] == [
        ("first", True),
        ("first", False),
        ("second", True),
    ]
    assert peer_table.means(beside) == [
        "CPU: geometric mean 1.00 over 2 steps, 1 above 1, the largest 2.00",
        "CPU, memory: geometric mean 3.00 over 1 steps, 1 above 1, the largest 3.00",
    ]
    text = "\n".join(" | ".join(line) for line in peer_table.grid(beside))
    assert "tiny-quadratic | second | CPU | p2.0 1.0 | 2.00 | 1.50 to 2.50 | 3.00 | 1 | 0.5" in text
    assert harness("report")[0] == 0
    for file in ("index.html", "RESULTS.md"):
        written = (harness.results / file).read_text()
        assert "CPU: geometric mean 1.00 over 2 steps" in written
        assert "GPU: geometric mean 0.25 over 1 steps, 0 above 1, the largest 0.25" in written
    assert "| tiny-quadratic | third | G | p0.25 1.0 | 0.25 |  |  | 1 | 4 |" in written


def test_a_reader_of_the_repository_finds_every_table_and_claim(harness):
    harness("table", "tiny-quadratic")
    folder = harness.results / "tiny-quadratic"
    made = json.loads((folder / "small.json").read_text())
    made |= {"preset": "variants"}
    made["claims"][0] |= {"holds": False}
    (folder / "variants.json").write_text(json.dumps(made))
    (folder / "memory.json").write_text(json.dumps({"unit": "MB"}))
    assert harness("report")[0] == 0
    text = (harness.results / "RESULTS.md").read_text()
    claims = len(made["claims"])
    assert f"{2 * claims - 1} claims hold, 1 failed" in text
    assert "### tiny-quadratic, small" in text
    assert "### tiny-quadratic, variants" in text
    for line in present.claim_lines(made):
        assert f"- {line}" in text
    for row in present.grid(made):
        assert "| " + " | ".join(row) + " |" in text
    for target in re.findall(r"\]\(([^#)]+)\)", text):
        assert target == "tiny-quadratic/variants.md" or (harness.results / target).exists()


def test_report_writes_the_claims_between_the_marks_of_a_readme_and_nothing_else(harness):
    file = harness.folder.parent / "README.md"
    file.write_text(f"before\n\n{readme.BEGIN}\nold\n{readme.END}\n\nafter\n")
    assert harness("report")[0] == 0
    assert "\n| tiny-quadratic | Nobody, 2026 | not measured |\n" in file.read_text()
    harness("table", "tiny-quadratic")
    kept = harness.results / "tiny-quadratic" / "small.json"
    made = json.loads(kept.read_text())
    made["claims"].append(made["claims"][0] | {"holds": False})
    kept.write_text(json.dumps(made))
    for _ in range(2):
        assert "written: the claims in" in harness("report")[2]
        before, line, after = re.split(r"\n\| \[tiny.*\]\((.*) \|\n", file.read_text())
        assert line == "experiments/results/tiny-quadratic/small.md) | Nobody, 2026 | 1/2"
        assert before.startswith(f"before\n\n{readme.BEGIN}\n\n| experiment | paper |")
        assert after == f"\n{readme.END}\n\nafter\n"


def test_a_table_that_is_kept_is_in_the_report_at_once(harness):
    file = harness.folder.parent / "README.md"
    file.write_text(f"{readme.BEGIN}\n{readme.END}\n")
    harness("table", "tiny-quadratic", "--preset", "smoke")
    assert not harness.results.exists(), "smoke tables are not results"
    assert "written: the claims in" in harness("table", "tiny-quadratic")[2]
    made = [harness.results / name for name in ("RESULTS.md", "index.html")]
    before = [path.read_text() for path in [file, *made]]
    assert "small.md) | Nobody, 2026 | 1/1" in before[0]
    assert "### tiny-quadratic, small" in before[1]
    harness("report")
    assert [path.read_text() for path in [file, *made]] == before


def test_a_readme_without_marks_is_left_alone_and_one_with_half_of_them_is_named(harness):
    file = harness.folder.parent / "README.md"
    file.write_text("nothing to fill\n")
    assert harness("report")[0] == 0
    assert file.read_text() == "nothing to fill\n"
    file.write_text(f"{readme.END}\n{readme.BEGIN}\n")
    status, _, err = harness("report")
    assert status == 2
    assert "README.md needs" in err
    assert file.read_text() == f"{readme.END}\n{readme.BEGIN}\n"


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
KEPT = Path(__file__).parents[2] / "experiments" / "results"


def test_the_kept_results_md_is_what_the_kept_tables_make(tmp_path):
    for path in KEPT.iterdir():
        if path.is_dir() or path.name.startswith("bench"):
            (tmp_path / path.name).symlink_to(path)
    report.write(tmp_path)
    kept = (KEPT / "RESULTS.md").read_text()
    mend = "RESULTS.md and results differ: run `python -m experiments report` and commit it"
    assert (tmp_path / "RESULTS.md").read_text() == kept, mend


PHONE = """<!doctype html><title>none</title><body style="margin:0">
<iframe src="{address}" style="border:0;width:390px;height:844px"
 onload="document.title=contentWindow.innerWidth+' '+contentDocument.documentElement.scrollWidth">
</iframe>"""
"""A page in a frame as wide as a phone; its title says how wide that is and how wide the page."""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_shows_every_kept_table_and_has_nothing_to_complain_about(tmp_path):
    """The page of the kept results from disk, without network, as wide as a phone."""
    shutil.copytree(KEPT, tmp_path / "results")
    report.write(tmp_path / "results")
    own = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'user'}"]
    asked = ["--window-size=390,844", "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom"]
    told = ["--enable-logging=stderr", "--v=0"]
    page_address = (tmp_path / "results" / "index.html").as_uri()
    # no window of Chromium's is narrower than 500 pixels, a frame in it is
    (tmp_path / "phone.html").write_text(PHONE.format(address=page_address))
    asked.insert(0, "--allow-file-access-from-files")
    command = [str(CHROMIUM), *own, *asked, *told, (tmp_path / "phone.html").as_uri()]
    framed = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r"<title>(\d+) (\d+)</title>", framed.stdout)
    assert found, framed.stdout[:500]
    assert found[1] == "390"
    assert int(found[2]) <= 390
    command[-1] = page_address
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in shown.stderr
    page = Page(shown.stdout)
    for file in (tmp_path / "results").glob("*/*.json"):
        table = json.loads(file.read_text())
        if "claims" in table:
            for line in present.grid(table):
                assert set(line) <= set(page.cells), file
            assert all(claim["id"] in shown.stdout for claim in table["claims"])
    assert page.sources.count("") == 0


def test_report_of_nothing_is_a_page(harness):
    assert harness("report")[0] == 0
    assert "over 0 experiments" in (harness.results / "index.html").read_text()


def test_paper_only_metric_gets_a_column():
    row = {"name": "a", "metrics": {}, "paper": {"accuracy": 93.1}}
    assert present.grid({"rows": [row]}) == [["row", "accuracy", "paper"], ["a", "", "93.1"]]


def test_markdown_escapes_the_bar_of_a_cell():
    metrics = {"loss": {"mean": 1.0, "std": 0.0, "n": 1}}
    table = {
        "title": "t",
        "citation": "c",
        "preset": "small",
        "slug": "s",
        "seeds": [0],
        "rows": [{"name": "p(x|y)", "metrics": metrics, "paper": {}}],
        "claims": [],
        "unjudged": [],
        "metrics": {},
        "deviations": [],
        "notes": [],
        "environment": {},
    }
    assert "| p(x\\|y) | 1 |" in present.markdown(table)
