#!/usr/bin/env bash

# Trains on this machine.
#
#   launch/local.sh [--dry-run] [--processes N] [--port P] --config FILE --workdir DIR
#                   [--config.key=value ...] [other flags of fer-jax train]
#
# One process uses all of the machine's accelerators, so --processes is for CPUs, and for trying what a cluster does.
# SIGINT, SIGTERM and SIGUSR1 are passed on: the run finishes its epoch, saves, and the same command goes on.

set -euo pipefail
script=local.sh valued='--processes --port' passed='--profile'
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
parse "$@"
processes=${given[--processes]:-1} port=${given[--port]:-8476}
whole_number --processes "$processes" 1
whole_number --port "$port" 1024
((port < 65536)) || fail "--port is $port; it may be up to 65535"

command=("${fer_jax[@]}" train --config "${given[--config]}" --workdir "${given[--workdir]}" "${rest[@]}")
commands=()
for ((i = 0; i < processes; i++)); do
  told=()
  ((processes == 1)) || told=(--coordinator "127.0.0.1:$port" --num-processes "$processes" --process-id "$i")
  commands+=("$(show "${command[@]}" "${told[@]}")")
done
if [[ $dry_run ]]; then
  printf '%s\n' "${commands[@]}"
  exit
fi
type "${fer_jax[0]}" >/dev/null 2>&1 || fail "${fer_jax[0]} is not found; activate its environment, or set FER_JAX"
((processes > 1)) || exec "${command[@]}"

# Each process in a group of its own: Ctrl-C reaches this script alone, which passes it on once and not twice.
set -m
pids=()
for line in "${commands[@]}"; do
  eval "$line &"
  pids+=($!)
done
for name in INT TERM USR1; do
  # shellcheck disable=SC2064  # the name is meant now
  trap "kill -$name \"\${pids[@]}\" 2>/dev/null || true" "$name"
done

# The first process's exit code, unless it ended well and another did not.
worst=0
for pid in "${pids[@]}"; do
  await "$pid"
  ((worst)) || worst=$code
done
exit "$worst"
