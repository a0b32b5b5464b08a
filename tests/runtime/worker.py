"""One run in a process of its own: `python -m tests.runtime.worker WORKDIR STEPS SAVE_EVERY`.

With the coordinator in the environment it is one process of several. `BROKEN=PROCESS` makes the
first example of that process NaN at step 13. Prints the bits of the final state as hexadecimal, and
the parameters.
"""

import hashlib
import json
import os
import sys

import jax
import numpy as np

from jaxlearn.runtime import CheckpointError, Diverged, WorkdirError, data_mesh, fit, start
from tests.runtime import toy


def main(workdir: str, steps: int, save_every: int) -> None:
    start()
    rows = toy.ROWS // jax.process_count()
    mine = slice(jax.process_index() * rows, (jax.process_index() + 1) * rows)
    broken = os.environ.get("BROKEN") == str(jax.process_index())

    def own(at: int) -> dict[str, np.ndarray]:
        batch = {name: leaf[mine] for name, leaf in toy.batches(at).items()}
        if broken and at == 12:
            batch["labels"][0] = np.nan
        return batch

    try:
        done = fit(
            toy.step,
            toy.state(),
            own,
            steps=steps,
            mesh=data_mesh() if jax.device_count() > 1 else None,
            chunk=5,
            evaluate=toy.evaluate,
            evaluate_every=7,
            monitor="validation/error",
            mode="min",
            workdir=workdir,
            save_every=save_every,
        )
    except (CheckpointError, Diverged, WorkdirError) as error:
        raise SystemExit(f"{error}") from error
    bits = hashlib.sha256(b"".join(toy.bits((done.state, done.best)))).hexdigest()
    weights = np.asarray(done.state.params["w"]).tolist()
    print(json.dumps({"bits": bits, "w": weights, "rows": len(done.history)}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
