#!/usr/bin/env bash

# Runs launch/slurm on a real SLURM: one controller and two nodes, started on this machine and taken down at the end.
#
#   launch/cluster_test.sh [--dry-run] [--keep]
#
# Needs root, Debian's slurm-wlm and munge, and fer-jax on the PATH (`make cluster-test` sees to it). Checked is that
# a run of two tasks which is warned of its time limit is queued again and ends as an undisturbed one, bit for bit; and,
# of a sweep as an array, that a preempted cell comes back, that a cancelled one stays away until it is submitted again,
# and that all are finished then.
# Everything lies in one temporary folder, which --keep leaves there.

set -euo pipefail
script=cluster_test.sh
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=launch/common.sh
source launch/common.sh

keep=''
for argument in "$@"; do
  case $argument in
    --help) help ;;
    --dry-run) dry_run=yes ;;
    --keep) keep=yes ;;
    *) fail "$argument is not an argument" ;;
  esac
done

# Small, so that it takes minutes: the base task and one order of three increments.
config=(--config configs/smoke.py --config.protocol.n_orders=1 --config.few_shot.shots='()')
train=("${config[@]}" --config.methods="('kd_psmr',)" --save-every 1)
sweep=("${config[@]}" --over 'method=kd_psmr,finetune' --over 'seed=0,1')

# JAX looks for the first task by its node's name, so that of the first node is one that can be looked up: this machine's.
host=$(hostname -s)
nodes=("$host" "$host-b")
port=$((20000 + $$ % 10000))

slurm_conf() {
  cat <<CONF
ClusterName=fer_jax
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A job that is queued again may start once its old credential is over: in seconds, not after two minutes.
AuthInfo=socket=$folder/munge/socket,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool.%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.%n.pid
# No cgroups: they are often missing in a container.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MinJobAge=3600
NodeName=${nodes[0]} NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=1
NodeName=${nodes[1]} NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=1
PartitionName=all Nodes=${nodes[0]},${nodes[1]} Default=YES State=UP MaxTime=INFINITE
CONF
}

daemons() {
  cat <<COMMANDS
munged --foreground --force --key-file=$folder/munge/key --socket=$folder/munge/socket --pid-file=$folder/munge/pid \
--seed-file=$folder/munge/seed --log-file=$folder/munged.log
slurmctld -D -f $folder/slurm.conf
slurmd -D -f $folder/slurm.conf -N ${nodes[0]}
slurmd -D -f $folder/slurm.conf -N ${nodes[1]}
COMMANDS
}

two_tasks() {
  echo sbatch --parsable --nodes=2 --ntasks-per-node=1 --output="$folder/$1.out" launch/slurm/train.sbatch \
    --workdir "$folder/$1"
}

array() {
  echo sbatch --parsable --array="$1" --output="$folder/sweep-%a.out" launch/slurm/sweep.sbatch --workdir "$folder/sweep"
}

if [[ $dry_run ]]; then
  folder=FOLDER
  slurm_conf
  daemons
  echo "$(two_tasks undisturbed) $(show "${train[@]}")"
  echo "$(two_tasks disturbed) $(show "${train[@]}")"
  echo 'scancel --batch --signal=USR1 JOB'
  echo "$(array 0-3) $(show "${sweep[@]}")"
  echo 'scontrol requeue ARRAY_0'
  echo 'scancel ARRAY_1'
  echo "$(array 1) $(show "${sweep[@]}")"
  exit
fi

((EUID == 0)) || fail "must be run by root: it starts SLURM's daemons"
for needed in munged slurmctld slurmd sbatch; do
  type "$needed" >/dev/null 2>&1 || fail "$needed is not installed; apt-get install slurm-wlm munge"
done
type fer-jax python >/dev/null 2>&1 || fail "fer-jax and its python are not found; activate their environment"
getent hosts "$host" >/dev/null || fail "this machine's name, $host, cannot be looked up; add it to /etc/hosts"

folder=$(mktemp -d "${TMPDIR:-/tmp}/fer_jax_cluster.XXXXXX")
export SLURM_CONF=$folder/slurm.conf TFDS_DATA_DIR=$folder/data JAX_PLATFORMS=cpu
# The jobs compile the same programs.
export JAX_COMPILATION_CACHE_DIR=$folder/compiled JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0
pids=()

say() { printf '%4d s  %s\n' "$SECONDS" "$*"; }

lost() {
  say "FAILED: $*"
  tail -n 20 "$folder"/*.out "$folder"/*.log >&2 || true
  exit 1
}

down() {
  trap '' INT TERM
  if ((${#pids[@]})); then
    scancel --quiet --user=root 2>/dev/null || true
    for ((i = 0; i < 40; i++)); do
      [[ $(squeue --noheader 2>/dev/null) ]] || break
      sleep 0.5
    done
    kill "${pids[@]}" 2>/dev/null || true
    wait "${pids[@]}" 2>/dev/null || true
  fi
  if [[ $keep ]]; then say "kept: $folder"; else rm -rf "$folder"; fi
}
trap down EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# One value of a job, such as JobState.
value() { scontrol show job "$1" --oneliner | grep -oE "\b$2=[^ ]*" | head -n 1 | cut -d= -f2; }

# until_true SECONDS WHAT COMMAND...: waits until the command succeeds.
until_true() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    ((SECONDS < end)) || lost "$what did not happen in time"
    sleep 0.5
  done
}

is() { [[ $(value "$1" "$2") == "$3" ]]; }
ended() { [[ $(value "$1" JobState) =~ ^(COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL|BOOT_FAIL|OUT_OF_MEMORY)$ ]]; }
answers() { [[ $(sinfo --noheader --states=idle --format=%D 2>/dev/null) == 2 ]]; }

# Finished steps of a workdir's checkpoints, those of the fit in progress apart.
finished_steps() { find "$1/checkpoints" -type d -name '[0-9]*' -not -path '*.now/*' 2>/dev/null | wc -l; }
has_steps() { (($(finished_steps "$1") >= $2)) || { ended "$3" && lost "job $3 ended too early"; }; }

completed() {
  until_true 300 "the end of job $1" ended "$1"
  is "$1" JobState COMPLETED || lost "job $1 ended as $(value "$1" JobState), exit code $(value "$1" ExitCode)"
  say "job $1: COMPLETED, started again $(value "$1" Restarts) times"
}

mkdir -m 700 "$folder/munge"
head -c 1024 /dev/urandom >"$folder/munge/key"
chmod 600 "$folder/munge/key"
mkdir "$folder/state" "$folder/spool.${nodes[0]}" "$folder/spool.${nodes[1]}"
slurm_conf >"$SLURM_CONF"
while read -ra daemon; do
  "${daemon[@]}" >"$folder/${daemon[0]}.${#pids[@]}.log" 2>&1 </dev/null &
  pids+=($!)
  [[ ${daemon[0]} != munged ]] || until_true 20 "munge's socket" test -S "$folder/munge/socket"
done < <(daemons)
until_true 30 "SLURM's start" answers
say "SLURM $(sinfo --version | cut -d' ' -f2), nodes ${nodes[*]}"

read -ra submit <<<"$(two_tasks undisturbed)"
job=$("${submit[@]}" "${train[@]}")
say "job $job: two tasks, undisturbed"
completed "$job"

read -ra submit <<<"$(two_tasks disturbed)"
job=$("${submit[@]}" "${train[@]}")
say "job $job: the same, to be disturbed"
until_true 200 "an increment of job $job" has_steps "$folder/disturbed" 2 "$job"
say "job $job: warned with SIGUSR1, as before a time limit, after $(finished_steps "$folder/disturbed") finished steps"
scancel --batch --signal=USR1 "$job"
until_true 60 "the restart of job $job" is "$job" Restarts 1
say "job $job: saved and queued again"
completed "$job"
python -c '
import pathlib, sys
from studies.chaos import same
sys.exit(not same(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])))
' "$folder/undisturbed" "$folder/disturbed" || lost "the two runs differ"
say "results and checkpoints are the same, bit for bit"

read -ra submit <<<"$(array 0-3)"
job=$("${submit[@]}" "${sweep[@]}")
say "job $job: a sweep of four cells as an array"
for cell in 0 1; do
  until_true 60 "the start of cell $cell" is "${job}_$cell" JobState RUNNING
  until_true 60 "work in cell $cell" grep -qs basic "$folder/sweep-$cell.out"
done
scontrol requeue "${job}_0"
scancel "${job}_1"
until_true 60 "the end of cell 1" ended "${job}_1"
is "${job}_1" JobState CANCELLED || lost "cell 1 ended as $(value "${job}_1" JobState)"
say "cells 0 and 1: requeued, as by a preemption, and cancelled at work"
for cell in 0 2 3; do completed "${job}_$cell"; done
is "${job}_0" Restarts 1 || lost "cell 0 did not start again"
is "${job}_1" JobState CANCELLED || lost "cell 1 came back"
say "cell 1: stayed away"
read -ra submit <<<"$(array 1)"
job=$("${submit[@]}" "${sweep[@]}")
say "job $job: cell 1 once more"
completed "${job}_1"
finished=$(fer-jax sweep --list --workdir "$folder/sweep" "${sweep[@]}" | grep -c $'\tfinished$' || true)
((finished == 4)) || lost "$finished of four cells are finished"
say "all four cells are finished"
