"""What a microphone measured in a cavity: 10,000 pairs that a digital twin is fitted to.

Momeni et al., Science 382, 2023 (arXiv 2304.11042), published with its code.
"""

import io
from pathlib import Path

import numpy as np

from jaxlearn.data.errors import CorruptData, parsing
from jaxlearn.data.source import DataFile, find
from jaxlearn.data.vowels import HOME

TONES = 20
_FOLDER = f"{HOME}/raw/main/Experimental%20Data/Acoustic"
PLAYED = DataFile(
    paths=("phyll/acoustic/x_data.csv",),
    homepage=HOME,
    urls=(f"{_FOLDER}/x_data.csv",),
    sha256="348d6952fc328325da6070b6ff44ff3dc960b695e7bd08ef7389e64d9cf21f35",
)
HEARD = DataFile(
    paths=("phyll/acoustic/y_data.csv",),
    homepage=HOME,
    urls=(f"{_FOLDER}/y_data.csv",),
    sha256="03c83be26aa1e56456e26e0c9e86b548906dbc0631c2e9300545f271c001648e",
)


def acoustic_cavity() -> dict[str, dict[str, np.ndarray]]:
    """Amplitudes played ("inputs" in [0, 1)) and heard ("targets"), float32 [N, 20] each.

    Parts "train", "validation" and "test" are the first 9,000, the next 300 and the last 700 pairs,
    in the order of the files. Their first row, silence answered by silence, is not counted.
    """
    x, y = (read_amplitudes(find(file)) for file in (PLAYED, HEARD))
    if x.shape != y.shape or len(x) < 10_001:
        raise CorruptData(f"{PLAYED.paths[0]}: {x.shape} played and {y.shape} heard are no pairs")
    ends = {"train": (1, 9001), "validation": (9001, 9301), "test": (9301, 10_001)}
    return {k: {"inputs": x[a:b], "targets": y[a:b]} for k, (a, b) in ends.items()}


def read_amplitudes(path: Path) -> np.ndarray:
    """The numbers of a CSV file without header, float32 [N, 20]."""
    with parsing(path.name):
        numbers = np.loadtxt(io.BytesIO(path.read_bytes()), delimiter=",", ndmin=2)
    if numbers.shape[1] != TONES or not np.isfinite(numbers).all() or numbers.min() < 0:
        raise CorruptData(f"{path.name}: {numbers.shape} are not amplitudes of {TONES} tones")
    return numbers.astype(np.float32)
