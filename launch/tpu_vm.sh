#!/usr/bin/env bash

# Trains on a TPU VM, on all of its workers; start it from the root of the checkout, on your own machine.
#
#   launch/tpu_vm.sh [--dry-run] [--setup] --name NAME --zone ZONE [--project PROJECT] [--python COMMAND]
#                    --config FILE --workdir DIR [--config.key=value ...] [other flags of fer-jax train]
#   launch/tpu_vm.sh [--dry-run] --stop --name NAME --zone ZONE [--project PROJECT]
#
# --setup first copies the last commit to ~/fer_jax of every worker and installs it there, for Python 3.11 or newer
# (--python, python3). DIR is a folder on the worker, FILE one of the checkout. Only the first worker writes to DIR: put it
# on a disk that outlives the VM. After a preemption create the VM anew, and the same command with --setup goes on.
# The run does not need this connection: when it ends, the same command follows the log again, and --stop has the run
# save and end.

set -euo pipefail
script=tpu_vm.sh valued='--name --zone --project --python' passed='--profile' flags='--setup --stop'
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
parse "$@"
for name in --name --zone; do
  [[ ${given[$name]:-} ]] || fail "$name is missing"
done
[[ ${given[--stop]:-} || ${given[--config]} != /* && ${given[--config]} != *..* ]] ||
  fail "--config ${given[--config]} is not in the checkout; it may be a path from its root"
python=${given[--python]:-python3}

where=(--zone="${given[--zone]}")
[[ ! ${given[--project]:-} ]] || where+=(--project="${given[--project]}")
gcloud=(gcloud compute tpus tpu-vm)
archive=build/fer_jax.tar.gz

run() {
  if [[ $dry_run ]]; then show "$@"; else "$@"; fi
}

everywhere() {
  run "${gcloud[@]}" ssh "${given[--name]}" "${where[@]}" --worker=all --command="$1"
}

[[ $dry_run ]] || type gcloud >/dev/null 2>&1 || fail "gcloud is not found; install the Google Cloud CLI"
if [[ ${given[--setup]:-} ]]; then
  run mkdir -p build
  run git archive --prefix=fer_jax/ --output="$archive" HEAD
  run "${gcloud[@]}" scp "$archive" "${given[--name]}:fer_jax.tar.gz" "${where[@]}" --worker=all
  everywhere "set -e; tar -xzf fer_jax.tar.gz; cd fer_jax; $(show "$python") -m venv .venv; \
.venv/bin/pip install --quiet --constraint constraints.txt '.[tpu,cfee,keras,storage]'"
fi
if [[ ${given[--stop]:-} ]]; then
  everywhere "cd fer_jax && exec launch/tpu_worker.sh stop"
  exit
fi
everywhere "cd fer_jax && exec launch/tpu_worker.sh start $(show .venv/bin/fer-jax train --config "${given[--config]}" \
  --workdir "${given[--workdir]}" "${rest[@]}" --distributed)"
