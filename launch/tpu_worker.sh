#!/usr/bin/env bash

# What launch/tpu_vm.sh runs on every worker: a run that goes on without the connection that started it.
#
#   launch/tpu_worker.sh start COMMAND...    starts it, unless one is at work, and follows its log to the end
#   launch/tpu_worker.sh stop                asks it to save and end, and waits until it has
#
# Its log, and the one before, are in ~/fer_jax.run.

set -euo pipefail
folder=${FER_JAX_RUN:-$HOME/fer_jax.run}
mkdir -p "$folder"

running() {
  [[ -s $folder/pid ]] && kill -0 "$(<"$folder/pid")" 2>/dev/null
}

case ${1:-} in
  start)
    shift
    if running; then
      echo "tpu_worker.sh: a run is at work here already; this is its log"
    else
      [[ ! -e $folder/log ]] || mv "$folder/log" "$folder/log.before"
      rm -f "$folder/pid" "$folder/code"
      # A session of its own, which no end of a connection reaches; the signal to stop is the command's to answer.
      # shellcheck disable=SC2016  # expanded there
      setsid bash -c 'trap : TERM; echo $$ >"$0/pid"; "$@" || code=$?; echo "${code:-0}" >"$0/code"' \
        "$folder" "$@" >"$folder/log" 2>&1 </dev/null &
      until [[ -s $folder/pid ]]; do sleep 0.1; done
    fi
    tail -n +1 --pid="$(<"$folder/pid")" -F "$folder/log" 2>/dev/null || true
    exit "$(cat "$folder/code" 2>/dev/null || echo 1)"
    ;;
  stop)
    running || { echo "tpu_worker.sh: no run is at work here"; exit; }
    kill -TERM -- "-$(<"$folder/pid")"
    while running; do sleep 0.2; done
    tail -n 1 "$folder/log"
    ;;
  *)
    echo "tpu_worker.sh: start COMMAND... or stop" >&2
    exit 2
    ;;
esac
