import shutil
from pathlib import Path

import jax
import pytest

from experiments.harness.cli import command

DUMMY = Path(__file__).parent / "dummy" / "tiny_quadratic.py"


class Harness:
    """The command line over a folder of its own that holds the dummy experiment."""

    def __init__(self, home: Path, capsys):
        self.folder = home / "experiments"
        self.workdir = home / "runs"
        self.home = self.workdir / "tiny-quadratic"
        self.results = self.folder / "results"
        self.file = self.folder / DUMMY.name
        self._capsys = capsys
        self.folder.mkdir()
        self.home.mkdir(parents=True)
        shutil.copy(DUMMY, self.file)

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """Return exit status, stdout and stderr of one command."""
        self._capsys.readouterr()
        if words and words[0] in ("run", "table"):
            words = (*words[:2], "--workdir", str(self.workdir), *words[2:])
        status = command(list(words), self.folder)
        out, err = self._capsys.readouterr()
        return status, out, err

    def calls(self) -> list[str]:
        """Return what was trained since the last look, as 'learning_rate seed'."""
        file = self.home / "calls.txt"
        lines = file.read_text().splitlines() if file.exists() else []
        file.write_text("")
        return lines


@pytest.fixture
def harness(tmp_path, capsys):
    place = jax.config.jax_compilation_cache_dir
    yield Harness(tmp_path, capsys)
    # the command line points JAX's compilation cache into the workdir
    jax.config.update("jax_compilation_cache_dir", place)
