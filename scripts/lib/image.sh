# shellcheck shell=bash
# The demo image, for `scripts/moat run localhost/busybox` on a machine that has no images yet.

readonly DEMO_IMAGE=localhost/busybox

# Whether the arguments name it.
names_demo_image() {
    local arg
    for arg; do [[ $arg == "$DEMO_IMAGE" || $arg == "$DEMO_IMAGE":latest ]] && return 0; done
    return 1
}

# Prints the path of its archive, made if need be.
demo_archive() {
    need_packages DEMO || return
    "$MOAT_SRC/tests/images/build" busybox | tail -n 1
}
