"""launch/: what its scripts would run, what they refuse, and what they do with signals.

SLURM itself is started by launch/cluster_test.sh; here small commands stand in for srun, scontrol and fer-jax.
"""

import functools
import os
import pathlib
import re
import shlex
import signal
import subprocess
import time

import pytest

from fer_jax.cli.main import main, parser
from tests.support.programs import program

ROOT = pathlib.Path(__file__).parents[1]
LAUNCH = ROOT / "launch"
SCRIPTS = [*sorted(LAUNCH.glob("*.sh")), *sorted((LAUNCH / "slurm").iterdir()), ROOT / ".ci" / "run"]
SMOKE = ["--config", "configs/smoke.py", "--workdir", "runs/my run"]
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "FER_JAX"))}


def started(script: str, *arguments: str, env: dict[str, str] | None = None, **options) -> subprocess.Popen:
    command = ["bash", str(LAUNCH / script), *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env={**ENVIRONMENT, **(env or {})}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def ran(script: str, *arguments: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    process = started(script, *arguments, env=env)
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def fer_jax_arguments(line: str) -> list[str]:
    """What fer-jax is given by a printed command."""
    words = shlex.split(line)
    return words[words.index("fer-jax") + 1 :]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script):
    done = subprocess.run([program("shellcheck"), "-x", str(script)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


TRAIN = "fer-jax train --config configs/smoke.py --workdir runs/my\\ run"
STEP = "--kill-on-bad-exit=0 --wait=120"
SWEEP = "fer-jax sweep --config configs/smoke.py --workdir runs/my\\ run --over=seed=0\\,1"
DRY_RUNS = {
    "local": ("local.sh", [], {}, [TRAIN]),
    "local: overrides": (
        "local.sh", ["--config.methods=('joint',)", "--save-every", "5"], {},
        [TRAIN + " --config.methods=\\(\\'joint\\'\\,\\) --save-every=5"],
    ),
    "local: processes": (
        "local.sh", ["--processes=2", "--port=9000"], {},
        [f"{TRAIN} --coordinator 127.0.0.1:9000 --num-processes 2 --process-id {i}" for i in range(2)],
    ),
    "local: a container": (
        "local.sh", [], {"FER_JAX": "docker run image fer-jax"}, ["docker run image " + TRAIN],
    ),
    "one task": ("slurm/train.sbatch", [], {}, [f"srun --ntasks=1 {STEP} {TRAIN}"]),
    "tasks": (
        "slurm/train.sbatch", [], {"SLURM_NTASKS": "8"}, [f"srun --ntasks=8 {STEP} {TRAIN} --distributed"],
    ),
    "tasks a node": (
        "slurm/train.sbatch", [], {"SLURM_JOB_NUM_NODES": "2", "SLURM_NTASKS_PER_NODE": "4"},
        [f"srun --ntasks=8 {STEP} {TRAIN} --distributed"],
    ),
    "cell 0": ("slurm/sweep.sbatch", ["--over", "seed=0,1"], {}, [f"srun --ntasks=1 {STEP} {SWEEP} --cell 0"]),
    "cell 3": (
        "slurm/sweep.sbatch", ["--over=seed=0,1", "--few-shot"], {"SLURM_ARRAY_TASK_ID": "3"},
        [f"srun --ntasks=1 {STEP} {SWEEP} --few-shot --cell 3"],
    ),
    "TPU": (
        "tpu_vm.sh", ["--name", "mine", "--zone", "us-east5-a", "--project=us"], {},
        ["gcloud compute tpus tpu-vm ssh mine --zone=us-east5-a --project=us --worker=all --command="
         + shlex.join([f"cd fer_jax && exec launch/tpu_worker.sh start .venv/bin/{TRAIN} --distributed"])],
    ),
}  # fmt: skip


# Which command a script starts, and what it needs besides.
COMMANDS = {
    "local.sh": ("train", []),
    "slurm/train.sbatch": ("train", []),
    "slurm/sweep.sbatch": ("sweep", ["--over=seed=0,1"]),
    "tpu_vm.sh": ("train", ["--name=n", "--zone=z"]),
}
# A script sets them itself, or they are for a person at a terminal.
NOT_PASSED = {
    "help", "config", "workdir", "distributed", "coordinator", "num_processes", "process_id", "over", "jobs", "list",
    "cell", "emit",
}  # fmt: skip


@pytest.mark.parametrize("script", COMMANDS)
def test_a_script_takes_every_flag_of_its_command(script):
    command, needed = COMMANDS[script]
    subparsers = next(a for a in parser()._actions if a.dest == "command")
    actions = [a for a in subparsers.choices[command]._actions if a.dest not in NOT_PASSED]
    assert len(actions) > 5
    given = [a.option_strings[0] + ("" if a.nargs == 0 else "=5") for a in actions]
    code, out, err = ran(script, "--dry-run", *SMOKE, *needed, *given)
    assert (code, err) == (0, "")
    assert all(text in out for text in given)


def test_the_line_of_a_sweep_is_taken_by_its_script(capsys, tmp_path):
    asked = ["--config", "fer_jax:smoke", "--workdir", str(tmp_path / "sweep"), "--over", "seed=0,1"]
    assert main(["sweep", *asked, "--tracker", "mlflow", "--few-shot", "--emit", "slurm"]) == 0
    line = shlex.split(capsys.readouterr().out)
    given = line[line.index("launch/slurm/sweep.sbatch") + 1 :]
    code, out, err = ran("slurm/sweep.sbatch", "--dry-run", *given)
    assert (code, err) == (0, "")
    assert all(text in out for text in ("--config fer_jax:smoke", "--tracker=mlflow", "--few-shot", "--cell 0"))


@pytest.mark.parametrize("case", DRY_RUNS.values(), ids=DRY_RUNS)
def test_a_dry_run_prints_what_would_be_run(case):
    script, arguments, env, expected = case
    code, out, err = ran(script, "--dry-run", *SMOKE, *arguments, env=env)
    assert (code, err) == (0, "")
    # Shells may quote the same words in different ways.
    assert [shlex.split(line) for line in out.splitlines()] == [shlex.split(line) for line in expected]


@pytest.mark.parametrize("name", ["local: overrides", "local: processes", "tasks"])
def test_fer_jax_takes_what_is_printed(name):
    script, arguments, env, _ = DRY_RUNS[name]
    for line in ran(script, "--dry-run", *SMOKE, *arguments, env=env)[1].splitlines():
        known, rest = parser().parse_known_args(fer_jax_arguments(line))
        assert (known.command, known.config, known.workdir) == (
            "train",
            "configs/smoke.py",
            pathlib.Path("runs/my run"),
        )
        assert all(a.startswith("--config.") for a in rest)


def test_fer_jax_takes_the_sweep_that_is_printed():
    script, arguments, env, _ = DRY_RUNS["cell 3"]
    (line,) = ran(script, "--dry-run", *SMOKE, *arguments, env=env)[1].splitlines()
    known, rest = parser().parse_known_args(fer_jax_arguments(line))
    assert (known.command, known.over, known.few_shot, known.cell, rest) == ("sweep", ["seed=0,1"], True, 3, [])


def test_a_tpus_setup_copies_what_is_committed_and_installs_it():
    arguments = ["--dry-run", "--setup", "--name=mine", "--zone=z", "--python=python3.12", *SMOKE]
    lines = [shlex.split(line) for line in ran("tpu_vm.sh", *arguments)[1].splitlines()]
    assert lines[1] == ["git", "archive", "--prefix=fer_jax/", "--output=build/fer_jax.tar.gz", "HEAD"]
    assert lines[2][4:7] == ["scp", "build/fer_jax.tar.gz", "mine:fer_jax.tar.gz"]
    assert "python3.12 -m venv .venv" in lines[3][-1]
    assert "--constraint constraints.txt '.[tpu,cfee,keras,storage]'" in lines[3][-1]
    assert len(lines) == 5


def test_a_tpus_run_is_stopped_on_all_workers():
    code, out, err = ran("tpu_vm.sh", "--dry-run", "--stop", "--name=mine", "--zone=z")
    (line,) = out.splitlines()
    assert (code, err) == (0, "")
    assert shlex.split(line)[-2:] == ["--worker=all", "--command=cd fer_jax && exec launch/tpu_worker.sh stop"]


def test_a_tpus_run_outlives_its_connection_and_ends_when_it_is_told(stand_ins, tmp_path):
    env = stand_ins(fer_jax=WAITING) | {"FER_JAX_RUN": str(tmp_path / "of worker")}
    # Under nohup, such as these tests may run, the signal would be ignored.
    hearing = functools.partial(signal.signal, signal.SIGHUP, signal.SIG_DFL)
    connection = started(
        "tpu_worker.sh", "start", "fer-jax", "train", env=env, start_new_session=True, preexec_fn=hearing
    )
    assert noted(env, 1) == ["ready"]
    os.killpg(connection.pid, signal.SIGHUP)
    connection.communicate(timeout=30)
    # The same again follows the run that is there; stopped, it saves, and who follows has its exit code.
    again = started("tpu_worker.sh", "start", "fer-jax", "train", env=env)
    assert again.stdout.readline() == "tpu_worker.sh: a run is at work here already; this is its log\n"
    assert ran("tpu_worker.sh", "stop", env=env)[0] == 0
    again.communicate(timeout=30)
    assert again.returncode == 143
    assert noted(env, 2) == ["ready", "TERM"]
    assert ran("tpu_worker.sh", "stop", env=env) == (0, "tpu_worker.sh: no run is at work here\n", "")


def test_the_cluster_tests_dry_run_tells_its_two_parts():
    code, out, _ = ran("cluster_test.sh", "--dry-run")
    submitted = [line for line in out.splitlines() if line.startswith("sbatch")]
    assert code == 0
    assert ["train.sbatch" in line for line in submitted] == [True, True, False, False]
    assert "--array=0-3" in submitted[2]
    first, second = (shlex.split(line.replace("undisturbed", "disturbed")) for line in submitted[:2])
    assert first == second


BAD = {
    "unknown": ("local.sh", ["--epochs", "3"], "local.sh: --epochs is not an argument"),
    "position": ("local.sh", ["configs/smoke.py"], "local.sh: configs/smoke.py is not an argument"),
    "no processes": ("local.sh", ["--processes=0"], "local.sh: --processes is 0; it may be a whole number from 1"),
    "port": ("local.sh", ["--port", "70000"], "local.sh: --port is 70000; it may be up to 65535"),
    "no value": ("local.sh", ["--save-every"], "local.sh: --save-every has no value"),
    "override": ("local.sh", ["--config.seed"], "local.sh: --config.seed has no value; write --config.seed=VALUE"),
    "file": ("local.sh", ["--config", "none.py"], "local.sh: --config none.py: no such file"),
    "bucket": (
        "slurm/sweep.sbatch", ["--workdir=gs://mine/run", "--over", "seed=0,1"],
        "sweep.sbatch: --workdir gs://mine/run is no folder; a sweep's may be one that nodes share",
    ),
    "told itself": ("slurm/train.sbatch", ["--distributed"], "train.sbatch: --distributed is not an argument"),
    "no axis": ("slurm/sweep.sbatch", [], "sweep.sbatch: --over is missing"),
    "no name": ("tpu_vm.sh", ["--zone=z"], "tpu_vm.sh: --name is missing"),
    "elsewhere": (
        "tpu_vm.sh", ["--name=n", "--zone=z", f"--config={ROOT / 'configs' / 'smoke.py'}"],
        f"tpu_vm.sh: --config {ROOT / 'configs' / 'smoke.py'} is not in the checkout; it may be a path from its root",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
@pytest.mark.parametrize("dry", [["--dry-run"], []], ids=["dry", "real"])
def test_a_mistake_is_one_line_and_exit_code_2(case, dry):
    script, arguments, message = case
    assert ran(script, *dry, *SMOKE, *arguments) == (2, "", message + "\n")


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("local.sh", ["--workdir", "x"], "local.sh: --config is missing"),
        ("local.sh", ["--config", "configs/smoke.py"], "local.sh: --workdir is missing"),
        ("cluster_test.sh", ["--fast"], "cluster_test.sh: --fast is not an argument"),
        (
            "slurm/train.sbatch",
            SMOKE,
            "train.sbatch: runs as a SLURM job: sbatch launch/slurm/train.sbatch ...",
        ),
        (
            "slurm/sweep.sbatch",
            [*SMOKE, "--over=seed=0,1"],
            "sweep.sbatch: runs as a job array: sbatch --array=0-3 launch/slurm/sweep.sbatch ...",
        ),
    ],
)
def test_what_is_missing_is_told(script, arguments, message):
    assert ran(script, *arguments) == (2, "", message + "\n")


def test_a_missing_command_is_told():
    code, out, err = ran("local.sh", *SMOKE, env={"FER_JAX": "no-such-command"})
    assert (code, out) == (2, "")
    assert err == "local.sh: no-such-command is not found; activate its environment, or set FER_JAX\n"


@pytest.mark.parametrize("script", ["local.sh", "tpu_vm.sh", "slurm/train.sbatch", "slurm/sweep.sbatch"])
def test_help_is_the_comment_at_the_top(script):
    code, out, err = ran(script, "--help")
    assert (code, err) == (0, "")
    assert f"launch/{script}" in out
    assert "#" not in out


@pytest.fixture
def stand_ins(tmp_path):
    """Commands of these names on the PATH, written in bash; returns the environment to start scripts in."""

    def make(**bodies: str) -> dict[str, str]:
        for name, body in bodies.items():
            path = tmp_path / name.replace("_", "-")
            path.write_text(f"#!/usr/bin/env bash\n{body}\n")
            path.chmod(0o755)
        return {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "NOTES": str(tmp_path / "notes")}

    return make


# Waits for a signal, notes it, takes its time to save, and ends as fer-jax does.
WAITING = """
for name in INT TERM USR1; do trap "echo $name >> $NOTES; sleep 0.2; exit 143" $name; done
echo ready >> $NOTES
for i in $(seq 800); do sleep 0.05; done
"""


def noted(env: dict[str, str], lines: int) -> list[str]:
    """What the stand-ins noted, as soon as it is so many lines."""
    notes = pathlib.Path(env["NOTES"])
    for _ in range(200):
        if notes.exists() and len(notes.read_text().splitlines()) >= lines:
            break
        time.sleep(0.05)
    return notes.read_text().splitlines()


def test_local_processes_are_told_apart(stand_ins):
    env = stand_ins(fer_jax='echo "$@" >> $NOTES')
    assert ran("local.sh", *SMOKE, "--processes", "3", env=env)[0] == 0
    lines = sorted(noted(env, 3))
    assert [line.split()[-1] for line in lines] == ["0", "1", "2"]
    assert all("train --config configs/smoke.py --workdir runs/my run --coordinator" in line for line in lines)


@pytest.mark.parametrize(("codes", "expected"), [("0 0", 0), ("0 3", 3), ("143 1", 143)])
def test_local_processes_end_with_the_first_ones_code(stand_ins, codes, expected):
    env = stand_ins(fer_jax=f'codes=({codes}); exit "${{codes[${{@: -1}}]}}"')
    assert ran("local.sh", *SMOKE, "--processes", "2", env=env)[0] == expected


@pytest.mark.parametrize("name", ["INT", "TERM", "USR1"])
def test_signals_reach_every_local_process_once(stand_ins, name):
    env = stand_ins(fer_jax=WAITING)
    process = started(
        "local.sh", *SMOKE, "--processes", "2", env=env, start_new_session=True,
        # A shell in the background has SIGINT ignored, and so has all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    noted(env, 2)
    # As Ctrl-C does: to the whole group, in which the processes must not be.
    os.killpg(process.pid, getattr(signal, f"SIG{name}"))
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert noted(env, 4)[2:] == [name, name]


@pytest.mark.parametrize(
    ("name", "code", "requeued"), [("USR1", 143, True), ("USR1", 0, False), ("USR1", 1, False), ("TERM", 143, False)]
)
def test_a_job_is_queued_again_only_after_a_warning(stand_ins, name, code, requeued):
    # Of SIGTERM SLURM tells the tasks itself; the stand-in for srun is told here.
    env = stand_ins(
        srun=WAITING.replace("exit 143", f"exit {code}"), scontrol='echo "scontrol $@" >> $NOTES', fer_jax="exit 9"
    )
    process = started("slurm/train.sbatch", *SMOKE, env={**env, "SLURM_JOB_ID": "77"}, start_new_session=True)
    noted(env, 1)
    if name == "TERM":
        os.killpg(process.pid, signal.SIGTERM)
    else:
        process.send_signal(signal.SIGUSR1)
    process.communicate(timeout=30)
    assert process.returncode == code
    assert noted(env, 2)[1:] == [name, *(["scontrol requeue 77"] if requeued else [])]


@pytest.mark.parametrize(
    ("code", "tasks", "before", "requeued"),
    [(75, 1, 0, True), (75, 2, 19, True), (75, 1, 20, False), (2, 1, 0, False), (134, 2, 0, True), (134, 1, 0, False)],
)
def test_what_passes_is_queued_again_a_number_of_times(stand_ins, code, tasks, before, requeued):
    env = stand_ins(srun=f"exit {code}", scontrol='echo "scontrol $@" >> $NOTES', fer_jax="exit 9")
    env |= {"SLURM_JOB_ID": "77", "SLURM_NTASKS": str(tasks), "SLURM_RESTART_COUNT": str(before)}
    assert ran("slurm/train.sbatch", *SMOKE, env=env)[0] == code
    assert pathlib.Path(env["NOTES"]).exists() == requeued


@pytest.mark.parametrize("script", ["train.sbatch", "sweep.sbatch"])
def test_slurm_is_asked_to_warn_and_to_queue_again(script):
    text = (LAUNCH / "slurm" / script).read_text()
    # sbatch reads its options up to the first line that is no comment.
    top = text[: re.search(r"^[^#\n]", text, re.MULTILINE).start()]
    options = re.findall(r"^#SBATCH (\S+)$", top, re.MULTILINE)
    assert {"--requeue", "--signal=B:USR1@120", "--open-mode=append"} <= set(options)
