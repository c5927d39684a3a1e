# shellcheck shell=bash
# The guest kernel for the other scripts: out of the cache, or built.

# Prints the path of the vmlinux.
build_kernel() {
    local vmlinux
    if [[ -z ${MOAT_KERNEL_SOURCE:-} ]]; then
        need_pinned_source
    fi
    vmlinux=$("$MOAT_SRC/guest-kernel/build" --print 2>/dev/null) || {
        need_packages KERNEL
        vmlinux=$("$MOAT_SRC/guest-kernel/build" | tail -n 1)
    }
    printf '%s\n' "$vmlinux"
}

# The package at the version whose checksum is known; its newest one may be ahead of the pin.
need_pinned_source() {
    local pin package
    pin=$(awk '!/^#/ && NF { print $3; exit }' "$MOAT_SRC/guest-kernel/pins")
    package=${pin%%=*}
    package_installed "$package" && return
    ((EUID == 0)) || die "the Debian package $package is missing." "As root:  apt-get install $pin"
    say "installing the Debian package $pin (150 MB)"
    install_packages "$pin"
}
