# What the launch scripts share: their arguments, and a mistake as one line with exit code 2. Sourced, not run.
# shellcheck shell=bash disable=SC2034,SC2154  # variables are set here and read by a script, or the other way round

# What is typed to start fer-jax; several words are allowed, such as "apptainer exec --nv fer_jax.sif fer-jax".
read -ra fer_jax <<<"${FER_JAX:-fer-jax}"

# Without it XLA adds up in any order on a GPU, and a resumed run differs in the last digits; other devices ignore it.
[[ ${XLA_FLAGS:-} == *xla_gpu_deterministic_ops* ]] ||
  export XLA_FLAGS="${XLA_FLAGS:+$XLA_FLAGS }--xla_gpu_deterministic_ops=true"

fail() {
  echo "$script: $*" >&2
  exit 2
}

# Prints the comment at the top of the script as its help.
help() {
  awk '/^# / || /^#$/ { print substr($0, 3); told = 1; next } told { exit }' "$0"
  exit
}

# Sorts a script's arguments, written --name=value or --name value:
#   given[--name]  for the names in `valued`, --config and --workdir among them
#   dry_run        yes after --dry-run, else empty
#   rest           what fer-jax is given besides, in the order of writing: the names in `passed`, --config.key=value
# Names without a value are in `flags` (yes in `given`) or in `passed_flags` (in `rest`). --help prints the help and ends.
# What every command of a run takes is passed by every script; `passed` and `passed_flags` of a script add to it.
passed="--save-every --tracker --heartbeat --stall --wait ${passed:-}"
passed_flags="--no-compilation-cache ${passed_flags:-}"
declare -A given=()
dry_run='' rest=()
parse() {
  local name value
  while (($#)); do
    name=${1%%=*}
    if [[ $1 == --help ]]; then
      help
    elif [[ $1 == --dry-run ]]; then
      dry_run=yes
      shift
    elif [[ " ${flags:-} " == *" $1 "* ]]; then
      given[$1]=yes
      shift
    elif [[ " $passed_flags " == *" $1 "* || $1 == --config.*=* ]]; then
      rest+=("$1")
      shift
    elif [[ " --config --workdir $valued $passed " == *" $name "* ]]; then
      if [[ $1 == *=* ]]; then
        value=${1#*=}
        shift
      else
        (($# > 1)) || fail "$name has no value"
        value=$2
        shift 2
      fi
      [[ $value ]] || fail "$name has no value"
      if [[ " $passed " == *" $name "* ]]; then rest+=("$name=$value"); else given[$name]=$value; fi
    elif [[ $1 == --config.* ]]; then
      fail "$1 has no value; write $1=VALUE"
    else
      fail "$1 is not an argument"
    fi
  done
  [[ ! ${given[--stop]:-} ]] || return 0
  for name in --config --workdir; do
    [[ ${given[$name]:-} ]] || fail "$name is missing"
  done
  [[ ${given[--config]} == fer_jax:* || -f ${given[--config]%%:*} ]] || fail "--config ${given[--config]}: no such file"
}

# Checks that a value is a whole number from a least one.
whole_number() {
  if ! [[ $2 =~ ^[0-9]{1,9}$ ]] || ((10#$2 < $3)); then fail "$1 is $2; it may be a whole number from $3"; fi
}

# Prints a command as it could be typed.
show() {
  printf '%q' "$1"
  (($# == 1)) || printf ' %q' "${@:2}"
  echo
}

# Waits for a process, whatever signals this script gets meanwhile; sets `code` to its exit code.
await() {
  local again
  while :; do
    wait "$1" && code=0 || code=$?
    kill -0 "$1" 2>/dev/null || break # else a signal interrupted the waiting
  done
  # It may have ended while a signal was being handled; bash then still has its exit code, and 127 else.
  wait "$1" 2>/dev/null && again=0 || again=$?
  ((again == 127)) || code=$again
}
