"""One run in a process of its own: `python -m tests.runtime.worker WORKDIR STEPS SAVE_EVERY`.

With the coordinator in the environment it is one process of several. `BROKEN=PROCESS` makes the
first example of that process NaN at step 13, `SLOW=PROCESS` lets that one wait for `SECONDS` before
it, `ALONE` leaves out the mesh. Prints the bits of the final state as hexadecimal, and the
parameters.
"""

import hashlib
import json
import os
import sys
import time

import jax
import numpy as np

from jaxlearn.runtime import data_mesh, fit, start
from tests.runtime import toy


def main(workdir: str, steps: int, save_every: int) -> None:
    start()
    rows = toy.ROWS // jax.process_count()
    mine = slice(jax.process_index() * rows, (jax.process_index() + 1) * rows)
    slow = os.environ.get("SLOW") == str(jax.process_index())
    alone = "ALONE" in os.environ
    broken = os.environ.get("BROKEN") == str(jax.process_index())

    def own(at: int) -> dict[str, np.ndarray]:
        batch = {name: leaf[mine] for name, leaf in toy.batches(at).items()}
        if broken and at == 12:
            batch["labels"][0] = np.nan
        if slow and at == 12:
            time.sleep(float(os.environ["SECONDS"]))
        return batch

    try:
        done = fit(
            toy.step,
            toy.state(),
            own,
            steps=steps,
            mesh=data_mesh() if jax.device_count() > 1 and not alone else None,
            chunk=5,
            evaluate=toy.evaluate,
            evaluate_every=7,
            monitor="validation/error",
            mode="min",
            workdir=workdir,
            save_every=save_every,
        )
    except ValueError as error:  # `Diverged`, `CheckpointError` and `WorkdirError` are
        raise SystemExit(f"{error}") from error
    bits = hashlib.sha256(b"".join(toy.bits((done.state, done.best)))).hexdigest()
    weights = np.asarray(done.state.params["w"]).tolist()
    print(json.dumps({"bits": bits, "w": weights, "rows": len(done.history)}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
