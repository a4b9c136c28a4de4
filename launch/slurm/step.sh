# Runs a command as a step of this job, and puts the job back into the queue when its time is up. Sourced, not run.
# shellcheck shell=bash disable=SC2154  # variables of the script that sources this

# Exit codes of fer-jax: it was asked to end and has saved; what was wrong passes by itself, such as a full disk; JAX
# aborted because another process of the run was gone.
INTERRUPTED=143 PASSING=75 ABORTED=134
# So often a job is queued again for what passes, so that what does not pass ends.
TRIES=20

# step COMMAND...: runs fer-jax in every task of the job; does not return.
#
# SLURM warns this script with SIGUSR1 before the time limit (--signal=B:USR1@...), and before a preemption where the
# site has send_user_signal. The warning is passed on, the run saves, and the job is queued again. So it is, TRIES times,
# where fer-jax says that the same command may succeed later. After anything else it is not: SLURM itself queues a job
# again that was preempted or lost its node, and one that was cancelled should not come back.
step() {
  # SLURM_NTASKS is not set where only tasks a node were asked for.
  local tasks=${SLURM_NTASKS:-$((${SLURM_JOB_NUM_NODES:-1} * ${SLURM_NTASKS_PER_NODE:-1}))}
  whole_number SLURM_NTASKS "$tasks" 1
  # A task that has ended is not the end of the others: they may still be saving.
  local command=(srun --ntasks="$tasks" --kill-on-bad-exit=0 --wait=120 "$@")
  ((tasks == 1)) || command+=(--distributed)
  if [[ $dry_run ]]; then
    show "${command[@]}"
    exit
  fi
  [[ ${SLURM_JOB_ID:-} ]] || fail "runs as a SLURM job: sbatch launch/slurm/$script ..."
  # Preempted, requeued or cancelled: SLURM tells the tasks itself, and gives them KillWait seconds.
  local ended=''
  trap 'ended=yes' TERM
  show "${command[@]}"
  "${command[@]}" &
  local pid=$! warned='' code
  trap 'warned=yes; kill -USR1 "$pid" 2>/dev/null || true' USR1
  await "$pid"
  if [[ $warned ]] && ((code == INTERRUPTED)); then
    echo "$script: saved ahead of the end of this job's time; queued again"
    scontrol requeue "$SLURM_JOB_ID"
  elif [[ ! $ended ]] && ((code == PASSING || (code == ABORTED && tasks > 1))) &&
    ((${SLURM_RESTART_COUNT:-0} < TRIES)); then
    echo "$script: exit code $code, which may pass; queued again"
    scontrol requeue "$SLURM_JOB_ID"
  fi
  exit "$code"
}
