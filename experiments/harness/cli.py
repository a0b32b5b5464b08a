"""Command line: words in, exit status out. What the words mean is in `experiments.harness`."""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from experiments.harness import discover, outline, overrides
from experiments.harness.experiment import Experiment

VERBS = ("list", "run", "table", "compile", "bench", "report")
DEFECT = 70
"""Exit status of everything else that ends a command, the `EX_SOFTWARE` of sysexits."""
_OVER_SLUG = ("run", "table", "compile", "bench")


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser whose complaints are one ValueError."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and exiting."""
        raise ValueError(f"{message}; {self.prog} --help shows the options")


def main(experiment: Experiment | None = None, argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit; `experiment` is the one a file of its own stands for."""
    if experiment is None:
        sys.exit(command(argv))
    file = getattr(sys.modules.get(experiment.Config.__module__), "__file__", None)
    folder = Path(file).resolve().parent if file else discover.HERE
    sys.exit(command(argv, folder, experiment))


def command(
    argv: Sequence[str] | None = None,
    folder: Path = discover.HERE,
    experiment: Experiment | None = None,
) -> int:
    """Carry out one command over the experiments of `folder` and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--traceback" in words
    try:
        options = parse([word for word in words if word != "--traceback"], folder, experiment)
        return _act(options, folder, experiment)
    except KeyboardInterrupt:
        return _complain("interrupted; the same command continues", 130, debug)
    except FloatingPointError as error:
        return _complain(str(error), 1, debug)
    except (ValueError, OSError) as error:
        return _complain(str(error), 2, debug)
    except Exception:
        # neither a claim that failed nor bad input: out of memory, a lost connection, a defect
        traceback.print_exc()
        return DEFECT


def _complain(message: str, status: int, debug: bool) -> int:
    """Print one line on stderr, and the traceback before it where it was asked for."""
    if debug:
        traceback.print_exc()
    line = next((line.strip() for line in message.splitlines() if line.strip()), "failed")
    print(f"error: {line if len(line) <= 400 else line[:399] + '…'}", file=sys.stderr)
    return status


def parse(
    words: Sequence[str], folder: Path, experiment: Experiment | None = None
) -> argparse.Namespace:
    """Parse the words; ValueError in one line for anything wrong, without importing an experiment.

    The result has `verb`, `slug`, the verb's options, and `pairs`: the overrides of `run`.
    """
    if not words:
        raise ValueError(f"no command; known: {', '.join(VERBS)}; --help explains them")
    verb = words[0]
    if verb in ("-h", "--help"):
        print(_usage(experiment))
        raise SystemExit(0)
    if verb not in VERBS:
        raise ValueError(discover.unknown("command", verb, VERBS))
    options, rest = _parser(verb, experiment).parse_known_args(words[1:])
    options.verb = verb
    if rest and (verb != "run" or not rest[0].startswith(overrides.PREFIX)):
        raise ValueError(_unexpected(rest[0], verb, options))
    options.pairs = overrides.split(rest)
    if experiment is not None:
        options.slug = experiment.slug
    elif verb in _OVER_SLUG:
        _check_outline(options, folder)
    return options


def _usage(experiment: Experiment | None) -> str:
    if experiment is None:
        from experiments import harness

        return str(harness.__doc__)
    lines = [f"{experiment.slug}: {experiment.title}", ""]
    return "\n".join([*lines, "commands: run, table, compile, bench; each has --help"])


def _unexpected(word: str, verb: str, options: argparse.Namespace) -> str:
    name = word.partition("=")[0]
    if not name.startswith("-"):
        return f"unexpected argument {name[:60]!r}"
    if name.startswith(overrides.PREFIX):
        return f"{verb} takes the configs of a preset as they are; {name} goes with run"
    known = [f"--{key.replace('_', '-')}" for key in vars(options) if key not in ("verb", "slug")]
    return discover.unknown("option", name, known)


def _parser(verb: str, experiment: Experiment | None) -> argparse.ArgumentParser:
    parser = _Parser(prog=f"experiments {verb}", allow_abbrev=False)
    if verb in _OVER_SLUG and experiment is None:
        parser.add_argument("slug", help="name of the paper; `list` shows them")
    if verb in ("run", "table"):
        parser.add_argument("--workdir", type=_folder, default=Path("runs"), help="default: runs")
        parser.add_argument("--preset", default="small", help="smoke, small (default) or paper")
    if verb == "run":
        parser.add_argument("--seed", type=_count, default=0)
        parser.add_argument("--row", help="row of the table to train instead of the preset")
        parser.epilog = "--config.FIELD VALUE replaces a field of the config"
    if verb == "table":
        parser.add_argument("--seeds", type=_some, help="how many seeds; default: the experiment's")
        parser.add_argument("--first-seed", type=_count, default=0, help="pilots begin at 100")
    if verb == "compile":
        parser.add_argument("--preset", default="paper")
        parser.add_argument("--topology", default="v5e:16x16", help="default: v5e:16x16")
    if verb == "bench":
        parser.add_argument("--scaling", action="store_true", help="also on 1 to 8 devices")
    if verb in ("run", "table", "compile"):
        parser.add_argument("--model", type=_count, help="devices that share one copy of the state")
    if verb != "report":
        parser.add_argument("--json", action="store_true", help="print JSON only")
    return parser


def _folder(word: str) -> Path:
    """Read a folder; an address would quietly become a folder of that name on this machine."""
    if "://" in word:
        raise argparse.ArgumentTypeError(
            f"expected a folder, found {word[:60]!r}; mount the storage and give the mounted folder"
        )
    return Path(word)


def _count(word: str) -> int:
    """Read a number."""
    if not word.isascii() or not word.isdigit() or int(word) >= 2**31:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 on, found {word[:60]!r}")
    return int(word)


def _some(word: str) -> int:
    """Read a number of seeds."""
    if _count(word) == 0:
        raise argparse.ArgumentTypeError("expected at least one seed, found 0")
    return int(word)


def _check_outline(options: argparse.Namespace, folder: Path) -> None:
    """Refuse what the experiment's file itself shows to be wrong."""
    seen = outline.read(discover.find(options.slug, folder))
    preset = getattr(options, "preset", None)
    if preset is not None and seen.presets is not None and preset not in seen.presets:
        raise ValueError(discover.unknown("preset", preset, seen.presets))
    if seen.fields is not None:
        overrides.check(options.pairs, seen.fields)


def _act(options: argparse.Namespace, folder: Path, experiment: Experiment | None) -> int:
    """Import what the verb needs, and do it."""
    if options.verb == "list":
        from experiments.harness import catalogue

        return catalogue.show(folder, options.json)
    if options.verb == "report":
        from experiments.harness import report

        print(report.write_all(folder / "results"), file=sys.stderr)
        return 0
    if options.verb == "compile":
        # before anything imports JAX: libtpu reads these when it is loaded
        from experiments.harness import tpu

        os.environ.update({**tpu.ENVIRONMENT, **os.environ})
    else:
        # before anything uses JAX, on a pod: the processes must know of each other
        from jaxlearn.runtime import keep_memory, start
        from jaxlearn.runtime.mesh import MODEL_DEVICES, every_device

        keep_memory()
        start()
        if getattr(options, "model", None) is not None:
            os.environ[MODEL_DEVICES] = str(options.model)
            every_device()
    chosen = discover.load(options.slug, folder) if experiment is None else experiment
    from experiments.harness import verbs

    config = _preset(options, chosen)
    return getattr(verbs, options.verb)(chosen, config, options, folder / "results")


def _preset(options: argparse.Namespace, experiment: Experiment) -> Any:
    """Return the preset's config with the overrides applied, None for a verb without preset."""
    if not hasattr(options, "preset"):
        return None
    if options.preset not in experiment.presets:
        raise ValueError(discover.unknown("preset", options.preset, experiment.presets))
    return experiment.presets[options.preset]
