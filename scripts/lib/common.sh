# shellcheck shell=bash
# What every script here needs: where things are, and how to talk to the user. Sourced, never run.

MOAT_SRC=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# What is slow to make and does not belong to one checkout: kernels, test images, the testbed's parts.
MOAT_CACHE=${MOAT_CACHE:-${XDG_CACHE_HOME:-${HOME:?HOME is not set; set it, or MOAT_CACHE}/.cache}/moat}
TARGET_DIR=${CARGO_TARGET_DIR:-$MOAT_SRC/target}
[[ $TARGET_DIR == /* ]] || TARGET_DIR=$PWD/$TARGET_DIR
# What tests and the testbed are pointed at. Cargo's debug builds never run a container.
MOAT_DIST=$TARGET_DIR/dist
export MOAT_SRC MOAT_CACHE MOAT_DIST

# All messages go to stderr: stdout belongs to the command that runs in the end.
say() { printf '%s: %s\n' "${ME:-moat}" "$*" >&2; }

# die WHAT-WAS-WRONG [WHAT-TO-DO...]
die() {
    say "$1"
    shift
    local line
    for line in "$@"; do printf '  %s\n' "$line" >&2; done
    exit "${DIE_STATUS:-1}"
}

# Runs a command and shows its output only if it fails.
quietly() {
    local log status=0
    log=$(mktemp)
    "$@" >"$log" 2>&1 || status=$?
    ((status == 0)) || cat "$log" >&2
    rm -f "$log"
    return "$status"
}
