import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.harness import discover, outline
from experiments.harness.cli import command, parse

DUMMY = Path(__file__).parent / "dummy" / "tiny_quadratic.py"
FIELDS = {"learning_rate": "float", "steps": "int", "noise": "str", "batch": "int"}

WRONG = [
    ((), "no command"),
    (("tabel",), "did you mean 'table'?"),
    (("table",), "slug"),
    (("table", "tiny-quadratc"), "did you mean 'tiny-quadratic'?"),
    (("table", "tiny-quadratic", "--preset", "smal"), "did you mean 'small'?"),
    (("table", "tiny-quadratic", "--seeds", "0"), "at least one seed"),
    (("table", "tiny-quadratic", "--seeds", "two"), "found 'two'"),
    (("table", "tiny-quadratic", "--config.steps", "3"), "goes with run"),
    (("table", "tiny-quadratic", "more"), "unexpected argument 'more'"),
    (("run", "tiny-quadratic", "--prset", "small"), "did you mean '--preset'?"),
    (("run", "tiny-quadratic", "--seed", "-1"), "seed"),
    (("run", "tiny-quadratic", "--workdir", "gs://bucket/runs"), "give the mounted folder"),
    (("run", "tiny-quadratic", "--row", "fats"), "did you mean 'fast'?"),
    (("run", "tiny-quadratic", "--config.stps", "3"), "did you mean 'steps'?"),
    (("run", "tiny-quadratic", "--config.steps", "many"), "expected int, found 'many'"),
    (("run", "tiny-quadratic", "--config.steps"), "expected int, found nothing"),
    (("run", "tiny-quadratic", "--config.steps", "1", "2"), "expected int, found '1 2'"),
    (("run", "tiny-quadratic", "--config.steps", "0"), "steps must be positive, found 0"),
    (("run", "tiny-quadratic", "--config.learning_rate", "nan"), "expected float, found 'nan'"),
    (("run", "tiny-quadratic", "--config.noise", "lots"), "--config.noise: expected Literal"),
    (("run", "tiny-quadratic", "--config.steps.more", "1"), "steps is a single value"),
    (("run", "tiny-quadratic", "--config.steps=1", "--config.steps=2"), "given twice"),
    (("compile", "tiny-quadratic", "--topology"), "--topology"),
    (("list", "--jsn"), "did you mean '--json'?"),
]


@pytest.mark.parametrize("words, part", WRONG, ids=lambda value: " ".join(value)[:50])
def test_wrong_use_exits_2_with_one_line(harness, words, part):
    status, out, err = harness(*words)
    assert (status, out) == (2, "")
    assert part in err
    assert len(err.splitlines()) == 1
    assert harness.calls() == []


misspelt = st.text(st.characters(codec="utf-8"), max_size=30).filter(
    lambda name: name.partition("=")[0].replace("-", "_") not in FIELDS
)


@st.composite
def bad_overrides(draw):
    """One override that is wrong for certain: an unknown field, or a word that is no number."""
    if draw(st.booleans()):
        return [f"--config.{draw(misspelt)}", draw(st.text(max_size=20))]
    field = draw(st.sampled_from(["learning_rate", "steps", "batch"]))
    letters = st.text(st.characters(categories=["L", "P", "S"]), min_size=1, max_size=80)
    return [f"--config.{field}={draw(letters.filter(lambda word: not is_number(word)))}"]


def is_number(word):
    try:
        float(word)
    except ValueError:
        return False
    return True


@settings(max_examples=200, deadline=None)
@given(bad_overrides())
def test_generated_bad_overrides_are_refused_without_importing_the_experiment(words):
    with pytest.raises(ValueError) as refusal:
        parse(["run", "tiny-quadratic", *words], DUMMY.parent)
    assert 1 <= len(str(refusal.value).splitlines()) <= 2
    assert len(str(refusal.value)) < 400


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=12), max_size=4))
def test_no_words_at_all_end_in_a_traceback(words):
    if (words and words[0] in ("-h", "--help", "report")) or {"-h", "--help"} & set(words):
        return
    assert command(words, DUMMY.parent) == 2


def test_wrong_words_and_list_answer_before_jax_is_imported(tmp_path):
    code = f"""
import sys
from pathlib import Path
from pathlib import Path
from experiments.harness.cli import command
folder = Path({str(DUMMY.parent)!r})
assert command(["run", "tiny-quadratic", "--config.stps", "3"], folder) == 2
assert command(["run", "tiny-quadratic", "--config.steps", "x"], folder) == 2
assert command(["table", "tiny-quadratic", "--preset", "p"], folder) == 2
assert command(["table", "tiny-quadratik"], folder) == 2
assert command(["list"], folder) == 0
heavy = {{"jax", "numpy", "matplotlib", "tyro", "rich"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, timeout=60)


def test_a_file_is_its_own_command_line(tmp_path, harness):
    def run(*words):
        return subprocess.run(
            [sys.executable, str(harness.file), *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )

    wrong = run("run", "--config.stps", "1")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == "error: unknown field 'stps'; did you mean 'steps'?\n"
    done = run("table", "--preset", "smoke")
    assert done.returncode == 1
    assert "✗ below" in done.stdout
    assert (tmp_path / "runs" / "tiny-quadratic" / "tables" / "smoke-seeds-0-0.md").exists()


@pytest.mark.parametrize(
    "error, status", [("ValueError('bad\\nmore')", 2), ("FloatingPointError('loss is nan')", 1)]
)
def test_errors_of_an_experiment_become_one_line(harness, error, status):
    text = harness.file.read_text()
    assert "x = 1 + np" in text
    harness.file.write_text(text.replace("    x = 1 + np", f"    raise {error}\n    x = 1 + np"))
    found, out, err = harness("run", "tiny-quadratic")
    assert (found, out) == (status, "")
    assert err.splitlines()[-1] in ("error: bad", "error: loss is nan")
    assert "Traceback" not in err
    assert "Traceback" in harness("run", "tiny-quadratic", "--traceback")[2]


LOOP = """    from jaxlearn.runtime import fit
    from tests.runtime import toy
    folder = run.folder(seed)
    options = {"save_every": 5, "progress": False, "workdir": folder}
    fit(toy.step, toy.state(), toy.batches, steps=config.steps, **options)
"""


def test_damaged_checkpoints_at_the_command_line(harness):
    """One is passed over with a warning; of all of them one line tells, with status 2."""
    text = harness.file.read_text()
    harness.file.write_text(text.replace("    x = 1 + np", f"{LOOP}    x = 1 + np"))
    assert harness("run", "tiny-quadratic")[0] == 0
    (result,) = harness.home.rglob("result.json")
    folder = result.parent / "checkpoints"
    assert sorted(place.name for place in folder.iterdir()) == ["15", "20"]

    def damage(step):
        result.unlink()
        (folder / str(step) / "notes.json").write_text("{")

    damage(20)
    with pytest.warns(UserWarning, match=r"checkpoint of step 20 .* is damaged"):
        assert harness("run", "tiny-quadratic")[0] == 0
    shutil.rmtree(folder / "20.damaged")
    damage(20)
    damage_rest = folder / "15" / "notes.json"
    damage_rest.write_text("{")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    status, out, err = harness("run", "tiny-quadratic")
    assert (status, out) == (2, "")
    assert "Traceback" not in err
    last = err.splitlines()[-1]
    assert last.startswith("error: all checkpoints in ")
    assert "damaged (step 20: " in last
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_what_is_neither_a_failed_claim_nor_bad_input_has_a_status_of_its_own(harness):
    text = harness.file.read_text()
    error = "raise RuntimeError('RESOURCE_EXHAUSTED: out of memory')"
    harness.file.write_text(text.replace("    x = 1 + np", f"    {error}\n    x = 1 + np"))
    for verb in ("run", "table"):
        found, out, err = harness(verb, "tiny-quadratic")
        assert (found, out) == (70, "")
        assert "Traceback" in err
        assert err.splitlines()[-1] == "RuntimeError: RESOURCE_EXHAUSTED: out of memory"


def test_overrides_reach_training(harness):
    harness("run", "tiny-quadratic", "--config.learning-rate=0.25", "--config.steps", "2")
    assert harness.calls() == ["0.25 0"]


def test_outline_reads_what_is_literal(tmp_path):
    seen = outline.read(DUMMY)
    assert seen.title == "A tiny quadratic"
    assert seen.presets == ("smoke", "small", "paper")
    assert list(seen.fields) == list(FIELDS)

    computed = tmp_path / "computed.py"
    computed.write_text(
        "P = {'smoke': 1, 'small': 2, 'paper': 3}\n"
        "EXPERIMENT = Experiment(title='a' + b, slots=tuple(s), Config=C, presets=P)\n"
    )
    seen = outline.read(computed)
    assert (seen.title, seen.slots, seen.fields) == (None, None, None)
    assert seen.presets == ("smoke", "small", "paper")


def test_file_that_is_no_experiment_is_named(tmp_path):
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "broken.py").write_text("def")
    (tmp_path / "_helper.py").write_text("")
    assert list(discover.files(tmp_path)) == ["broken", "empty"]
    with pytest.raises(ValueError, match=r"empty\.py defines no EXPERIMENT"):
        discover.load("empty", tmp_path)
    with pytest.raises(ValueError, match=r"broken\.py, line 1"):
        outline.read(tmp_path / "broken.py")


def test_file_named_unlike_its_slug_is_refused(harness):
    harness.file.rename(harness.folder / "other.py")
    status, _, err = harness("table", "other")
    assert status == 2
    assert "calls itself 'tiny-quadratic'" in err
