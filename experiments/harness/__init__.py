"""The command line over all experiments, written once.

```
python -m experiments list [--json]
python -m experiments run SLUG [--preset P] [--seed N] [--row NAME] [--workdir DIR]
                               [--model N] [--config.FIELD V …] [--json]
python -m experiments table SLUG [--preset P] [--seeds N] [--first-seed N] [--workdir DIR]
                                 [--model N] [--json]
python -m experiments compile SLUG [--preset P] [--topology v5e:16x16] [--model N] [--json]
python -m experiments bench SLUG [--scaling] [--json]
python -m experiments report
```
`python experiments/<file>.py table …` is the same without SLUG.

Exit status: 0 done and every judged claim holds; 1 a claim failed (`table`), or training stopped on
a number that is not finite; 2 wrong use or bad input, with one clear line on stderr; 143 after
SIGTERM; 70, with a traceback, anything else, such as too little memory or a lost connection.

Runs live in `<workdir>/<slug>/<hash of the full config>/seed-N/` (workdir is `runs` by default);
`config.json` lies beside the seeds and `result.json` in a seed's folder marks it as done. A command
given again continues, or returns at once. Deleting a folder is how a run is done afresh.
`<workdir>/<slug>/data.json` has the SHA-256 of every data file that was read; with another one of
that name nothing more is trained there.

With `--json`, stdout carries one JSON value and nothing else. These shapes are a public interface;
keys may be added, none removed. A number that is not finite is written as null.

`table --json`, also `results/<slug>/<preset>.json`; `values` has one for each seed:

    {"slug", "preset", "seeds": [0, 1, 2],
     "rows": [{"name", "metrics": {M: {"mean", "std", "n", "values"}}, "paper": {M: value}}],
     "claims": [{"id", "text", "holds", "measured", "explanation"}],
     "unjudged": [{"id", "text"}],           claims that this preset cannot show
     "metrics": {M or a pattern: what it is, with its unit},
     "title", "citation", "deviations": [..], "notes": [..],
     "environment": {"date", "revision", "python", "jax", "jaxlib", "platform", "devices",
                     "machine", "cpus"}}

`compile --json`, also `results/<slug>/compile.json` (bytes and FLOPs are per device; another
topology than v5e:16x16 is kept as `compile-v5p-4x8x8.json`). `"bytes"` are those that the step
reads and writes, `"collective_bytes"` those that the collectives leave, `"kernels"` the calls of
Pallas kernels in the program; `"model"` is there when so many devices share one copy of the state:

    {"slug", "preset", "topology", "devices", "temp_bytes", "argument_bytes", "flops", "bytes",
     "collectives": {"all-reduce": 1, "all-gather": 0, …}, "collective_bytes": {…}, "kernels"}

`bench --json`, also under its slug in `results/bench.json` (on a GPU `bench-gpu.json`, so that
neither replaces the other); the last three keys of a row are there where a peer is installed, and
ratios are ours / theirs; `peer` is the fastest of `peers`. A row "NAME, SETTING" has its ratio to
"backprop, SETTING" if there is such a row. `flops` is what the traced step asks for, loops as often
as they run and what is recomputed again. The row "backprop in fit" is the same step inside the
training loop, input included: what its ratio exceeds 1 by is the loop's overhead. `peak_bytes` is
the most that a step of a peer allocates above what it began with, `memory_ratio` our `temp_bytes`
by that; neither is there where it cannot be known.

    {"slug", "rows": [{"name", "step_ms", "quartiles_ms": [q1, q3], "temp_bytes", "flops",
                       "ratio_to_backprop", "peer", "ratio_to_peer",
                       "peers": [{"peer", "step_ms", "ratio",
                                  "ratio_quartiles": [q1, q3],
                                  "peak_bytes", "memory_ratio"}]}],
     "scaling": [{"name", "devices", "step_ms", "quartiles_ms", "ratio_to_one"}],  with --scaling
     "environment": {…}}

`list --json`:

    [{"slug", "title", "paper", "slots": [..], "presets": [..],
      "claims": {"held", "failed"}}]
"""

from experiments.harness.cli import main
from experiments.harness.dots import dots
from experiments.harness.experiment import (
    Bench,
    Claim,
    Experiment,
    Measured,
    Peer,
    Program,
    Row,
    Run,
    each_seed,
)

__all__ = [
    "Bench",
    "Claim",
    "Experiment",
    "Measured",
    "Peer",
    "Program",
    "Row",
    "Run",
    "dots",
    "each_seed",
    "main",
]
