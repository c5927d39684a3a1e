# shellcheck shell=bash
# The guest kernel for the other scripts: out of the cache, or built.
#
# MOAT_KERNEL_SOURCE is another source than Debian's; MOAT_KERNEL_UNPINNED=yes takes one whose sha256 is not pinned.

# Whether the cache has it.
kernel_is_built() { "$MOAT_SRC/guest-kernel/build" --print >/dev/null 2>&1; }

# Prints the path of the vmlinux.
build_kernel() {
    local vmlinux options=()
    need_kernel_source
    [[ ${MOAT_KERNEL_UNPINNED:-no} != yes ]] || options+=(--allow-unpinned)
    vmlinux=$("$MOAT_SRC/guest-kernel/build" --print "${options[@]}" 2>/dev/null) || {
        need_packages KERNEL
        vmlinux=$("$MOAT_SRC/guest-kernel/build" "${options[@]}" | tail -n 1) \
            || die "there is no guest kernel, see above." \
                "A source that you know to be good is taken with MOAT_KERNEL_UNPINNED=yes."
    }
    printf '%s\n' "$vmlinux"
}

# The Debian package at the version whose checksum is known; its newest one may be ahead of the pin.
need_kernel_source() {
    [[ -z ${MOAT_KERNEL_SOURCE:-} ]] || return 0
    local pin package version
    pin=$(awk '!/^#/ && NF { print $3; exit }' "$MOAT_SRC/guest-kernel/pins")
    package=${pin%%=*} version=${pin#*=}
    [[ $(dpkg-query -W -f '${db:Status-Status} ${Version}' "$package" 2>/dev/null) != "installed $version" ]] || return 0
    ((EUID == 0)) || die "the Debian package $package is missing, or not at version $version." "As root:  apt-get install $pin"
    say "installing the Debian package $pin (150 MB)"
    install_packages --allow-downgrades "$pin"
}
