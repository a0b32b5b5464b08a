"""The launchers: several processes on this machine, and the manifests for clusters."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.devices import ROOT, environment

LAUNCH = ROOT / "experiments" / "launch"


def local(processes: int, *words: str, logs: Path, devices: int = 1, timeout: float = 1800):
    """Run `local.sh` to its end."""
    own = environment(1) | {"PYTHON": sys.executable, "LOGS": str(logs), "DEVICES": str(devices)}
    command = [str(LAUNCH / "local.sh"), str(processes), *words]
    return subprocess.run(
        command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=timeout
    )


@pytest.mark.slow
def test_a_table_of_two_processes_equals_that_of_one(tmp_path):
    """Two processes of two devices share every batch of every row of the demo."""
    words = ["table", "demo", "--preset", "smoke", "--seeds", "2", "--json"]
    alone = subprocess.run(
        [sys.executable, "-m", "experiments", *words, "--workdir", str(tmp_path / "alone")],
        cwd=ROOT, env=environment(1), capture_output=True, text=True,
    )  # fmt: skip
    shared = [*words, "--workdir", str(tmp_path / "shared")]
    together = local(2, *shared, logs=tmp_path / "logs", devices=2)
    assert alone.returncode in (0, 1), alone.stderr[-2000:]
    assert together.returncode == alone.returncode, together.stderr[-2000:]
    one, two = (json.loads(done.stdout) for done in (alone, together))
    assert two["environment"]["devices"].startswith("4 ")
    for mine, theirs in zip(one["rows"], two["rows"], strict=True):
        assert mine["name"] == theirs["name"]
        for name, cell in mine["metrics"].items():
            # an example or two of 360 may fall to the other side of a boundary, no weight may
            bound = 0.6 if name == "accuracy" else 1e-9
            assert abs(cell["mean"] - theirs["metrics"][name]["mean"]) < bound, (mine["name"], name)
    assert (tmp_path / "logs" / "process-1.log").exists()


def test_a_process_that_cannot_go_on_ends_all_with_its_reason(tmp_path):
    start = time.monotonic()
    done = local(2, "run", "no-such-paper", logs=tmp_path)
    assert done.returncode == 2
    assert "no-such-paper" in done.stderr
    assert "process-" in done.stderr
    assert time.monotonic() - start < 60


@pytest.mark.slow
def test_a_killed_process_ends_the_others_within_a_minute(tmp_path):
    own = environment(1) | {"PYTHON": sys.executable, "LOGS": str(tmp_path / "logs")}
    words = ["run", "demo", "--preset", "paper", "--workdir", str(tmp_path / "runs")]
    launcher = subprocess.Popen(
        [str(LAUNCH / "local.sh"), "2", *words], cwd=ROOT, env=own, stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    log = tmp_path / "logs" / "process-0.log"
    deadline = time.monotonic() + 240
    while not (log.exists() and "steps/s" in log.read_text()):
        assert time.monotonic() < deadline, log.read_text() if log.exists() else "no log"
        time.sleep(0.5)
    victims = subprocess.run(
        ["pgrep", "-P", str(launcher.pid), "-f", "experiments"], capture_output=True, text=True
    ).stdout.split()
    os.kill(int(victims[1]), 9)
    killed = time.monotonic()
    _, said = launcher.communicate(timeout=90)
    assert time.monotonic() - killed < 60
    assert launcher.returncode == 137
    assert "ended with status 137" in said


def fields(*required, **known):
    """An object with these fields and no other, as in the published definitions."""
    return {
        "type": "object",
        "properties": known,
        "required": list(required),
        "additionalProperties": False,
    }


def listed(items):
    return {"type": "array", "items": items}


TEXT, NUMBER = {"type": "string"}, {"type": "integer", "minimum": 0}
TEXTS, LABELS = listed(TEXT), {"type": "object", "additionalProperties": TEXT}
AMOUNTS = {"type": "object", "additionalProperties": {"anyOf": [NUMBER, TEXT]}}
RULE_NAME = {"type": "string", "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"}
RESTARTS = ["FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"]
CONTAINER = fields(
    "name", "image",
    name=TEXT, image=TEXT, command=TEXTS, args=TEXTS,
    env=listed(fields("name", name=TEXT, value=TEXT)),
    ports=listed(fields("containerPort", containerPort=NUMBER)),
    resources=fields(requests=AMOUNTS, limits=AMOUNTS),
    volumeMounts=listed(fields("name", "mountPath", name=TEXT, mountPath=TEXT)),
)  # fmt: skip
POD = fields(
    "containers",
    restartPolicy={"enum": ["Never", "OnFailure"]},
    terminationGracePeriodSeconds=NUMBER,
    nodeSelector=LABELS,
    containers=listed(CONTAINER),
    volumes=listed(
        fields("name", name=TEXT, persistentVolumeClaim=fields("claimName", claimName=TEXT))
    ),
)
ON_CODES = fields(
    "operator", "values",
    containerName=TEXT, operator={"enum": ["In", "NotIn"]}, values=listed(NUMBER),
)  # fmt: skip
ON_CONDITIONS = listed(fields("type", "status", type=TEXT, status={"enum": ["True", "False"]}))
JOB = fields(
    "template",
    parallelism=NUMBER,
    completions=NUMBER,
    completionMode={"enum": ["Indexed", "NonIndexed"]},
    backoffLimit=NUMBER,
    podFailurePolicy=fields(
        "rules",
        rules=listed(
            fields(
                "action",
                action={"enum": ["FailJob", "FailIndex", "Ignore", "Count"]},
                onExitCodes=ON_CODES,
                onPodConditions=ON_CONDITIONS,
            )
        ),
    ),
    template=fields("spec", spec=POD),
)
FAILURES = fields(
    maxRestarts=NUMBER,
    restartStrategy={"enum": ["Recreate", "BlockingRecreate"]},
    rules=listed(
        fields(
            "action",
            name=RULE_NAME,
            action={"enum": RESTARTS},
            onJobFailureReasons=listed({"enum": ["BackoffLimitExceeded", "PodFailurePolicy"]}),
            onJobFailureMessagePatterns=TEXTS,
        )
    ),
)
JOBSET = fields(
    "apiVersion", "kind", "metadata", "spec",
    apiVersion={"const": "jobset.x-k8s.io/v1alpha2"},
    kind={"const": "JobSet"},
    metadata=fields("name", name=TEXT),
    spec=fields(
        failurePolicy=FAILURES,
        replicatedJobs=listed(
            fields(
                "name", "template", name=TEXT, replicas=NUMBER, template=fields("spec", spec=JOB)
            )
        ),
    ),
)  # fmt: skip
"""The part of JobSet 0.10, Job and Pod that may be used: a misspelt field is none of it."""


def wrong(value, schema, place="it"):
    """What is wrong with a value by a JSON schema of the words above, `""` if nothing."""
    if "anyOf" in schema:
        return f"{place} fits none" * all(wrong(value, one, place) for one in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        known = schema.get("enum", [schema.get("const")])
        return "" if value in known else f"{place} is {value!r}, not one of {known}"
    kind = {"object": dict, "array": list, "string": str, "integer": int}[schema["type"]]
    if type(value) is not kind:
        return f"{place} is {value!r}, no {schema['type']}"
    if kind is dict:
        known, others = schema.get("properties", {}), schema["additionalProperties"]
        if missing := set(schema.get("required", ())) - value.keys():
            return f"{place} lacks {missing}"
        if not others and (unknown := value.keys() - known.keys()):
            return f"{place} has the unknown {unknown}"
        inner = [wrong(one, known.get(name, others), name) for name, one in value.items()]
        return "; ".join(filter(None, inner))
    if kind is list:
        return "; ".join(filter(None, (wrong(one, schema["items"], place) for one in value)))
    if kind is str and not re.search(schema.get("pattern", ""), value):
        return f"{place} is {value!r}, not like {schema['pattern']}"
    return f"{place} is {value}" if kind is int and value < schema["minimum"] else ""


@pytest.mark.parametrize(
    "good, bad",
    [
        ("maxRestarts", "maxRestart"),
        ("FailJobSet", "FailJobset"),
        ("parallelism: 4", "parallelism: four"),
        ("name: preempted", "name: pre-empted"),
        ("containerName", "container"),
        ("            operator: In\n", "            operator: Is\n"),
        ("image: IMAGE", "picture: IMAGE"),
    ],
)
def test_a_misspelt_manifest_is_found(good, bad):
    text = (LAUNCH / "jobset.yaml").read_text()
    assert good in text
    assert wrong(yaml.safe_load(text.replace(good, bad)), JOBSET)


def manifest():
    return yaml.safe_load((LAUNCH / "jobset.yaml").read_text())


def test_the_jobset_is_one_that_kubernetes_takes():
    """Nothing but fields that JobSet, Job and Pod have, of their types, and chips for every pod."""
    made = manifest()
    assert not wrong(made, JOBSET)
    (replicated,) = made["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    assert (job["completionMode"], job["backoffLimit"]) == ("Indexed", 0)
    assert job["parallelism"] == job["completions"]
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    (container,) = pod["containers"]
    chips = container["resources"]["limits"]["google.com/tpu"]
    topology = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"]
    rows, columns = map(int, topology.split("x"))
    assert chips * job["parallelism"] == rows * columns
    assert chips == container["resources"]["requests"]["google.com/tpu"]
    (mount,) = container["volumeMounts"]
    assert container["args"][container["args"].index("--workdir") + 1] == mount["mountPath"]
    assert [volume["name"] for volume in pod["volumes"]] == [mount["name"]]


@pytest.mark.parametrize(
    "ended, action",
    [
        (1, "FailJobSet"),
        (2, "FailJobSet"),
        (143, "RestartJobSetAndIgnoreMaxRestarts"),
        ("DisruptionTarget", "RestartJobSetAndIgnoreMaxRestarts"),
        (70, None),  # counted in maxRestarts
        (137, None),
    ],
)
def test_what_the_set_does_when_a_pod_ends(ended, action):
    """Its rules, applied as the controllers do: the first that fits, by the message of the job."""
    spec = manifest()["spec"]
    job = spec["replicatedJobs"][0]["template"]["spec"]
    name = job["template"]["spec"]["containers"][0]["name"]

    def fits(rule):
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions", [])
        assert codes is None or codes["containerName"] == name
        by_code = codes is not None and ended in codes["values"]
        return by_code or any(condition["type"] == ended for condition in conditions)

    rules = job["podFailurePolicy"]["rules"]
    index = next((i for i, rule in enumerate(rules) if fits(rule)), None)
    reason = "BackoffLimitExceeded" if index is None else "PodFailurePolicy"
    message = f"Container {name} for pod a/b failed with exit code 1 matching FailJob rule at index"
    message = (
        "Job has reached the specified backoff limit" if index is None else f"{message} {index}"
    )
    found = [
        rule["action"]
        for rule in spec["failurePolicy"]["rules"]
        if reason in rule["onJobFailureReasons"]
        and any(re.search(text, message) for text in rule["onJobFailureMessagePatterns"])
    ]
    assert found == ([] if action is None else [action])
    assert spec["failurePolicy"]["maxRestarts"] == 2


@pytest.mark.parametrize("script", ["local.sh", "tpu_vm.sh", "slurm.sh"])
def test_scripts_are_executable_and_parse(script):
    path = LAUNCH / script
    assert os.access(path, os.X_OK)
    assert subprocess.run(["bash", "-n", str(path)]).returncode == 0
