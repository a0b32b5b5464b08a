import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.core.axis import DATA
from jaxlearn.runtime import data_mesh, data_parallel, distribute
from jaxlearn.runtime.pace import AHEAD, pacer
from tests.devices import run_on


class Pending:
    """A result that is ready once it has been waited for."""

    def __init__(self):
        self.ready = False

    def block_until_ready(self):
        self.ready = True
        return self


@pytest.mark.parametrize("ahead", [1, 3, AHEAD])
def test_no_more_than_so_many_results_are_unfinished_and_the_oldest_are_waited_for(ahead):
    pace, results = pacer(ahead), [Pending() for _ in range(20)]
    for i, result in enumerate(results):
        assert pace(result) is result
        made = results[: i + 1]
        assert [one.ready for one in made] == [True] * (i + 1 - ahead) + [False] * min(ahead, i + 1)


def test_a_shared_step_can_be_traced_within_a_program():
    mesh = data_mesh(jax.devices()[:1])
    step = data_parallel(
        lambda state, batch: (state + batch["inputs"].sum(), {"loss": state}), mesh
    )
    batch, state = {"inputs": jnp.ones(4)}, distribute(np.float32(0), mesh)
    many = jax.jit(lambda state: jax.lax.scan(lambda s, _: step(s, batch), state, length=20))
    end, metrics = many(state)
    assert float(end) == 80
    np.testing.assert_array_equal(metrics["loss"], 4 * np.arange(20))
    assert float(step(end, batch)[0]) == 84


# XLA takes 32 dispatches per device; on as many devices as threads a longer queue never ends
DEVICES = max(2, os.cpu_count() or 1)
BEGIN = f"""
import jax, jax.numpy as jnp, numpy as np
from jax import lax
from jaxlearn.core import TrainState
from jaxlearn.runtime import data_mesh, data_parallel, distribute, evaluator, fit, place

mesh, work = data_mesh(), jnp.full((256, 256), 1 / 256)
batch = {{"inputs": np.ones(({16 * DEVICES}, 256), np.float32)}}
state = TrainState(jnp.int32(0), jnp.float32(0), {{}}, (), jax.random.key(0))

def outputs(batch):
    return lax.fori_loop(0, 100, lambda _, x: x @ work, batch["inputs"]).mean(-1)

def step(state, batch):
    loss = lax.pmean(outputs(batch).mean(), "{DATA}")
    return state._replace(step=state.step + 1, params=state.params + loss), {{"loss": loss}}
"""
END = {
    "fit": """
found = fit(step, state, lambda i: batch, steps=100, chunk=100, on_device=False, mesh=mesh,
            progress=False).state.params
""",
    "data_parallel": """
step, state, batch = data_parallel(step, mesh), distribute(state, mesh), place(batch, mesh)
for _ in range(100):
    state, _ = step(state, batch)
found = state.params
""",
    "evaluator": """
predict = lambda params, state, batch: (outputs(batch), state)
found = 100 * evaluator(predict, {"m": lambda out, batch: out}, [batch] * 100, mesh)(state)["m"]
""",
}


@pytest.mark.parametrize("which", END)
def test_a_hundred_dispatches_end_on_as_many_devices_as_threads(which):
    said = run_on(DEVICES, BEGIN + END[which] + "print(float(found))")
    assert float(said) == pytest.approx(100, rel=1e-4)
