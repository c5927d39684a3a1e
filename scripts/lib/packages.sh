# shellcheck shell=bash
# Debian packages. Each need is its own list, so that a script installs only what it uses.

# Read through need_packages as an array reference, which shellcheck does not follow.
# shellcheck disable=SC2034
PACKAGES_BUILD=(build-essential cpio)
# shellcheck disable=SC2034
PACKAGES_KERNEL=(linux-source-6.12 build-essential flex bison bc libelf-dev xz-utils)
# libwrap0: sshd's one library that is not on every machine; sshd itself is unpacked, not installed,
# because installing it would open a server on the developer's machine.
# shellcheck disable=SC2034
PACKAGES_TESTBED=(qemu-system-x86 qemu-system-common busybox-static openssh-client cpio kmod libwrap0)
# What moat itself calls while it works.
# shellcheck disable=SC2034
PACKAGES_RUN=(e2fsprogs)
# What makes the demo image.
# shellcheck disable=SC2034
PACKAGES_DEMO=(umoci skopeo busybox-static)
# What the tests compare with and look with; the test images name their own packages.
# shellcheck disable=SC2034
PACKAGES_TEST=(erofs-utils e2fsprogs util-linux attr libcap2-bin umoci skopeo busybox-static python3 zstd docker-registry
    apache2-utils openssl podman curl iperf3 iproute2 mariadb-client-core)
# What reads these scripts.
# shellcheck disable=SC2034
PACKAGES_LINT=(shellcheck)
# What the benchmarks compare with.
# shellcheck disable=SC2034
PACKAGES_BENCH=(qemu-system-x86 crun podman erofs-utils umoci skopeo docker-registry python3 iperf3 iproute2 cpio)

package_installed() {
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# need_packages LIST-NAME...: installs what is missing from PACKAGES_<LIST-NAME>.
need_packages() {
    local list package missing=()
    for list in "$@"; do
        local -n packages=PACKAGES_$list
        for package in "${packages[@]}"; do
            package_installed "$package" || missing+=("$package")
        done
    done
    ((${#missing[@]})) || return 0
    # One list may repeat what another one names.
    mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
    command -v apt-get >/dev/null || die "these Debian packages are needed: ${missing[*]}" \
        "This machine has no apt-get; install what corresponds to them here."
    local install="apt-get install --no-install-recommends ${missing[*]}"
    ((EUID == 0)) || die "these Debian packages are missing: ${missing[*]}" "As root:  $install"
    say "installing Debian packages: ${missing[*]}"
    install_packages "${missing[@]}"
}

install_packages() {
    export DEBIAN_FRONTEND=noninteractive
    # A machine whose package lists are fresh enough is spared the update.
    quietly apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300 "$@" </dev/null 2>/dev/null && return
    say "that did not work with the package lists at hand; updating them (apt-get update)"
    quietly apt-get update </dev/null || die "apt-get update failed, see above." "Check /etc/apt/sources.list and the network."
    quietly apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300 "$@" </dev/null \
        || die "apt-get could not install: $*" "Its messages are above."
}
