"""launch/: its YAML by published schemas and with itself, and its image."""

import pathlib
import re
import subprocess

import kubernetes_validate
import pytest
import yaml
from kubeflow_trainer_api import models

from fer_jax.cli.main import parser
from fer_jax.errors import EXIT_MISTAKE, EXIT_PASSING
from tests.support.programs import program

ROOT = pathlib.Path(__file__).parents[1]
LAUNCH = ROOT / "launch"
JOBSETS = sorted(path for path in (LAUNCH / "kubernetes").glob("*.yaml") if path.stem != "volume")


def jobset(path: pathlib.Path) -> dict:
    return yaml.safe_load(path.read_text())


def leaves(value, at: str = "") -> set[tuple[str, object]]:
    """Every value inside, with the path to it."""
    if not isinstance(value, dict | list):
        return {(at, value)}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return set().union(*(leaves(inside, f"{at}.{key}") for key, inside in items))


def check_jobset(found: dict) -> None:
    """By the models that the JobSet project's API is published as, and what is Kubernetes' own by its schemas."""
    assert found["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
    # The models leave out what they do not know: it would be missing afterwards. Pod templates are checked below.
    told = models.JobsetV1alpha2JobSet.from_dict(found).to_dict()
    for job, told_job in zip(found["spec"]["replicatedJobs"], told["spec"]["replicatedJobs"], strict=True):
        told_job["template"] = job["template"]
    assert leaves(found) <= leaves(told)
    for job in found["spec"]["replicatedJobs"]:
        one = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": job["name"]}, **job["template"]}
        kubernetes_validate.validate(one, "1.31", strict=True)


@pytest.mark.parametrize("path", JOBSETS, ids=lambda path: path.stem)
def test_jobsets_are_what_kubernetes_takes(path):
    check_jobset(jobset(path))


POD = ["spec", "replicatedJobs", 0, "template", "spec", "template", "spec"]


@pytest.mark.parametrize(
    "place",
    [["spec"], ["spec", "failurePolicy", "rules", 0], ["spec", "replicatedJobs", 0], POD, [*POD, "containers", 0]],
)
def test_a_field_that_does_not_exist_is_noticed(place):
    found = jobset(LAUNCH / "kubernetes" / "gpu.yaml")
    inside = found
    for key in place:
        inside = inside[key]
    inside["restarts"] = 3
    with pytest.raises(Exception, match="restarts"):
        check_jobset(found)


def test_the_volume_is_what_kubernetes_takes_and_all_hosts_write_to():
    found = jobset(LAUNCH / "kubernetes" / "volume.yaml")
    kubernetes_validate.validate(found, "1.31", strict=True)
    assert found["spec"]["accessModes"] == ["ReadWriteMany"]


@pytest.mark.parametrize("path", JOBSETS, ids=lambda path: path.stem)
def test_a_jobset_agrees_with_itself(path):
    found = jobset(path)
    (workers,) = found["spec"]["replicatedJobs"]
    job = workers["template"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    (on_exit,) = (rule["onExitCodes"] for rule in job["podFailurePolicy"]["rules"])
    assert job["parallelism"] == job["completions"]
    assert job["completionMode"] == "Indexed"
    # Both are what a pod failure policy asks for: the pod's end is the job's, and the JobSet starts all again.
    assert (pod["restartPolicy"], job["backoffLimit"]) == ("Never", 0)
    assert (on_exit["containerName"], on_exit["values"]) == (container["name"], [EXIT_MISTAKE])
    assert EXIT_PASSING not in on_exit["values"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    claims = [v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v]
    assert claims == [jobset(LAUNCH / "kubernetes" / "volume.yaml")["metadata"]["name"]]

    variables = {variable["name"] for variable in container["env"]}
    used = set(re.findall(r"\$\((\w+)\)", " ".join(container["args"])))
    assert used <= variables
    assert container["command"][-2:] == ["fer-jax", "train"]
    expanded = [re.sub(r"\$\(PROCESS_ID\)", "0", argument) for argument in container["args"]]
    known, rest = parser().parse_known_args(["train", *expanded])
    assert not rest
    assert known.distributed or (known.num_processes, known.process_id) == (job["parallelism"], 0)
    assert str(known.workdir).startswith("/fer/")
    assert (ROOT / known.config).is_file()


def test_a_tpu_may_lock_memory_and_no_other_pod_is_root():
    for path in JOBSETS:
        pod = jobset(path)["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        added = container["securityContext"]["capabilities"].get("add", [])
        assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
        if "google.com/tpu" in container["resources"]["limits"]:
            # A capability reaches no other user than root, and the limit is raised before fer-jax takes the place.
            assert (pod["securityContext"]["runAsUser"], added) == (0, ["SYS_RESOURCE"])
            assert "ulimit -l 68719476736 && exec" in container["command"][2]
        else:
            assert (pod["securityContext"]["runAsUser"], added) == (1000, [])


def test_the_tpus_command_hands_on_its_arguments():
    (container,) = jobset(LAUNCH / "kubernetes" / "tpu.yaml")["spec"]["replicatedJobs"][0]["template"]["spec"][
        "template"
    ]["spec"]["containers"]
    command = [word.replace("ulimit -l 68719476736", "true") for word in container["command"]]
    command[command.index("fer-jax")] = "echo"
    done = subprocess.run([*command, "--workdir=a b"], capture_output=True, text=True)
    assert done.stdout == "train --workdir=a b\n"


def test_the_image_is_pinned_without_root_and_has_what_it_copies():
    lines = (LAUNCH / "Dockerfile").read_text().splitlines()
    last = {line.split()[0]: line for line in lines if line and line[0].isalpha()}
    assert last["USER"] == "USER 1000:1000"
    assert last["ENTRYPOINT"] == 'ENTRYPOINT ["fer-jax"]'
    (install,) = (line for line in lines if "pip install" in line)
    assert "--constraint constraints.txt" in install
    assert "${EXTRAS:+[$EXTRAS]}" in install
    let_through = {
        line[1:] for line in (LAUNCH / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")
    }
    copied = {name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]}
    assert copied == let_through
    assert all((ROOT / name).exists() for name in copied)


def test_hadolint_finds_nothing():
    done = subprocess.run([program("hadolint"), "launch/Dockerfile"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
