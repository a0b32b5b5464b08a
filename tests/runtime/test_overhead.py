"""What the loop costs beside the bare compiled step, on a step long enough to measure.

Counted in CPU time, which other programs on the machine disturb least: the main
thread's beyond what plain dispatches of the same step need, over all that the bare step needs.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.core import TrainState
from jaxlearn.runtime import fit

WIDTH, STEPS = 512, 20


def step(state, batch):
    def loss(w):
        return jnp.mean((jnp.tanh(jnp.tanh(batch["inputs"] @ w) @ w) @ w) ** 2)

    value, grads = jax.value_and_grad(loss)(state.params)
    return state._replace(step=state.step + 1, params=state.params - 0.01 * grads), {"loss": value}


@pytest.mark.slow
def test_the_loop_adds_little_to_the_bare_step(tmp_path):
    data = {"inputs": np.ones((WIDTH, WIDTH), np.float32)}
    weights = jax.random.normal(jax.random.key(0), (WIDTH, WIDTH)) / WIDTH**0.5
    start = TrainState(jnp.int32(0), weights, {}, (), jax.random.key(0))
    bare = jax.jit(step, donate_argnums=0).lower(start, data).compile()
    moments = []

    def plain():
        state = jax.block_until_ready(jax.tree.map(jnp.copy, start))
        whole, host = time.process_time(), time.thread_time()
        for _ in range(STEPS):
            state, _ = bare(state, jax.device_put(data))
        jax.block_until_ready(state)
        return time.process_time() - whole, time.thread_time() - host

    def once(folder):
        plain()
        whole, host = plain()
        moments.clear()
        # from one chunk's end to another's: compilation and the last checkpoint do not count
        fit(
            step,
            start,
            lambda at: data,
            steps=STEPS + 10,
            chunk=10,
            workdir=folder,
            save_every=10**6,
            progress=False,
            callbacks=[lambda at, state, row: moments.append(time.thread_time())],
        )
        return (moments[-1] - moments[0] - host) / whole

    added = [once(tmp_path / str(i)) for i in range(3)]
    print(f"the loop adds {np.median(added):.2%} (all: {np.round(added, 4)})")
    assert np.median(added) < 0.03
