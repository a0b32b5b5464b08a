"""The shapes of the JSON that the verbs print, a public interface, and a check against them."""

NUMBER = (int, float)
ENVIRONMENT = {
    "date": str,
    "revision": (str, type(None)),
    "python": str,
    "jax": str,
    "jaxlib": str,
    "platform": str,
    "devices": str,
    "machine": str,
    "cpus": int,
}
OR_NULL = (*NUMBER, type(None))
METRIC = {"mean": OR_NULL, "std": OR_NULL, "n": int, "values": [OR_NULL]}
TABLE = {
    "slug": str,
    "preset": str,
    "seeds": [int],
    "rows": [{"name": str, "metrics": {...: METRIC}, "paper": {...: NUMBER}}],
    "claims": [{"id": str, "text": str, "holds": bool, "measured": str, "explanation": str}],
    "unjudged": [{"id": str, "text": str}],
    "metrics": {...: str},
    "title": str,
    "citation": str,
    "deviations": [str],
    "notes": [str],
    "environment": ENVIRONMENT,
}
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
COMPILE = {
    "slug": str,
    "preset": str,
    "topology": str,
    "devices": int,
    "temp_bytes": int,
    "argument_bytes": int,
    "flops": NUMBER,
    "bytes": NUMBER,
    "collectives": dict.fromkeys(COLLECTIVES, int),
    "collective_bytes": dict.fromkeys(COLLECTIVES, int),
    "kernels": int,
}
SCALING = {
    "name": str,
    "devices": int,
    "step_ms": NUMBER,
    "quartiles_ms": [NUMBER],
    "ratio_to_one": NUMBER,
}
BENCH_ROW = {
    "name": str,
    "step_ms": NUMBER,
    "quartiles_ms": [NUMBER],
    "temp_bytes": int,
    "flops": NUMBER,
    "ratio_to_backprop": NUMBER,
}
PEER = {
    "peer": str,
    "ratio_to_peer": NUMBER,
    "peers": [{"peer": str, "step_ms": NUMBER, "ratio": NUMBER, "ratio_quartiles": [NUMBER]}],
}
LIST = [
    {
        "slug": str,
        "title": str,
        "paper": str,
        "slots": [str],
        "presets": [str],
        "claims": {"held": int, "failed": int},
    }
]


def check(value, shape, path="$"):
    """Assert that JSON data has a shape: a type, [item], {key: shape} or {...: shape of any}."""
    if isinstance(shape, list):
        assert isinstance(value, list), path
        for place, item in enumerate(value):
            check(item, shape[0], f"{path}[{place}]")
    elif isinstance(shape, dict) and ... in shape:
        assert isinstance(value, dict), path
        for key, item in value.items():
            check(item, shape[...], f"{path}.{key}")
    elif isinstance(shape, dict):
        assert isinstance(value, dict), path
        assert set(value) == set(shape), path
        for key, item in shape.items():
            check(value[key], item, f"{path}.{key}")
    else:
        assert isinstance(value, shape), path
        assert isinstance(value, bool) == (shape is bool), path
