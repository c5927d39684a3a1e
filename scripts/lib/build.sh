# shellcheck shell=bash
# From the sources to a directory that can be run:
#   target/dist/bin/moat
#   target/dist/libexec/moat/{moat-monitor,moat-vmm,vmlinux,initramfs.cpio}

readonly STATIC_TARGET=x86_64-unknown-linux-gnu
readonly PROGRAMS=(moat moat-monitor moat-vmm moat-agent)

# First version number in $1 is at least $2.
version_at_least() { [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }

need_cargo() {
    local wanted have
    wanted=$(sed -nE 's/^rust-version = "([0-9.]+)".*/\1/p' "$MOAT_SRC/Cargo.toml" | head -n 1)
    command -v cargo >/dev/null || die "Rust is not installed (there is no cargo in PATH); version $wanted or newer is needed." \
        "Install it with rustup, see https://rustup.rs, and open a new shell."
    have=$(cargo --version | awk '{ print $2 }')
    version_at_least "${have%%-*}" "$wanted" || die "cargo is version $have; $wanted or newer is needed." "Update it:  rustup update stable"
}

# Changes when anything changes that the result is made from. A look at names, sizes and times is enough to
# decide whether to ask cargo, and takes a few milliseconds.
sources_fingerprint() {
    (
        cd "$MOAT_SRC" || exit
        find Cargo.toml Cargo.lock .cargo src host vmm agent netlink protocol rootfs tar-header guest-kernel scripts/lib -type f -printf '%p %s %T@\n' 2>/dev/null
        find /usr/src -maxdepth 1 -name 'linux-source-*' -printf '%p %s %T@\n' 2>/dev/null
        printf '%s\n' "${MOAT_KERNEL_SOURCE:-}" "${MOAT_KERNEL_UNPINNED:-}" "${RUSTFLAGS:-}" "$MOAT_CACHE" "${CARGO_TARGET_DIR:-}"
        command -v cargo || true
    ) | LC_ALL=C sort | sha256sum | cut -d' ' -f1
}

built_is_current() {
    [[ -x $MOAT_DIST/bin/moat && $(cat "$MOAT_DIST/fingerprint" 2>/dev/null) == "$(sources_fingerprint)" ]]
}

cargo_build() {
    cd "$MOAT_SRC" || return
    # Static: the VMM runs in an empty root, the agent is all there is in its initramfs, and a monitor, of which every
    # container has one, does without a C library's pages of its own. One call builds what they share once.
    RUSTFLAGS="${RUSTFLAGS:+$RUSTFLAGS }-C target-feature=+crt-static" \
        cargo build --release --locked --target-dir "$TARGET_DIR" --target "$STATIC_TARGET" "${PROGRAMS[@]/#/--package=}" >&2 \
        || die "moat did not compile, see above."
}

# The guest kernel and the crates at the same time, where both are to be made: each has stretches in which it keeps one
# processor busy. Prints the path of the vmlinux.
build_both() {
    local logs kernel crates status=0
    logs=$(mktemp -d "$TARGET_DIR/.build.XXXXXX")
    need_packages KERNEL
    say "building the guest kernel and moat (once, under 10 minutes on two CPUs)"
    # A process group each, so that neither outlives this script.
    set -m
    build_kernel >"$logs/vmlinux" 2>"$logs/kernel" &
    kernel=$!
    (cargo_build) >/dev/null 2>"$logs/crates" &
    crates=$!
    set +m
    # shellcheck disable=SC2064  # the processes of now
    trap "kill -- -$kernel -$crates 2>/dev/null; rm -rf '$logs'" EXIT
    show_time_to_go "$logs" "$kernel" "$crates"
    wait "$crates" || { cat "$logs/crates" >&2; status=1; }
    ((status)) || wait "$kernel" || { cat "$logs/kernel" >&2; status=1; }
    ((status)) || cat "$logs/vmlinux"
    return "$status"
}

# show_time_to_go LOGS PID...: until all processes have ended or one has failed; once a second on a terminal, else every
# half minute. The kernel is three fifths of the work, the crates are the rest.
show_time_to_go() {
    local logs=$1 start=$SECONDS seconds kernel crates total percent text
    shift
    total=$(cargo tree --locked --manifest-path "$MOAT_SRC/Cargo.toml" -e normal,build --prefix none --no-dedupe "${PROGRAMS[@]/#/--package=}" 2>/dev/null | sort -u | wc -l)
    while all_go_on "$@"; do
        sleep 1
        seconds=$((SECONDS - start))
        kernel=$(sed -nE 's/.*compiling +([0-9]+) %.*/\1/p; s/.*built in .*/100/p' "$logs/kernel" | tail -n 1)
        crates=$(grep -c '^ *Compiling ' "$logs/crates" || true)
        percent=$(((${kernel:-0} * 60 + crates * 4000 / (total + 1)) / 100))
        text="${kernel:-0} % of the kernel, $crates of $total crates"
        # The first rates say little.
        ((percent < 5)) || text+=", about $((seconds * (100 - percent) / percent / 60 + 1)) min to go"
        if [[ -t 2 ]]; then printf '\r%s: %s \e[K' "${ME:-moat}" "$text" >&2
        elif ((seconds % 30 == 0)); then say "$text"; fi
    done
    [[ ! -t 2 ]] || printf '\r\e[K' >&2
}

# Whether there is something to wait for: a process runs, and none has failed.
all_go_on() {
    local process running=1
    for process; do
        if kill -0 "$process" 2>/dev/null; then running=0; else wait "$process" || return 1; fi
    done
    return "$running"
}

# The agent alone, as /init, byte for byte the same for the same agent.
make_agent_initramfs() {
    local agent=$1 out=$2 root
    root=$(mktemp -d "$TARGET_DIR/.initramfs.XXXXXX")
    install -m 755 "$agent" "$root/init"
    touch -d @0 "$root/init"
    (cd "$root" && echo init | cpio --quiet --reproducible -R 0:0 -o -H newc) >"$out"
    rm -rf "$root"
}

# dist is a link to a directory that is complete before the link points to it: a container that
# starts during a build gets the old set or the new one, never a mixture.
assemble() {
    local vmlinux=$1 fingerprint=$2 static=$TARGET_DIR/$STATIC_TARGET/release new sets
    sets=$TARGET_DIR/dist-sets
    mkdir -p "$sets"
    new=$(mktemp -d "$sets/$(date +%s).XXXXXX")
    chmod 755 "$new"
    mkdir -p "$new/bin" "$new/libexec/moat"
    install -m 755 "$static/moat" "$new/bin/moat"
    install -m 755 "$static/moat-monitor" "$static/moat-vmm" "$new/libexec/moat/"
    install -m 644 "$vmlinux" "$new/libexec/moat/vmlinux"
    make_agent_initramfs "$static/moat-agent" "$new/libexec/moat/initramfs.cpio"
    printf '%s\n' "$fingerprint" >"$new/fingerprint"
    # Left by older versions of this script, or by hand.
    [[ -L $MOAT_DIST ]] || rm -rf "$MOAT_DIST"
    ln -sfn "dist-sets/${new##*/}" "$TARGET_DIR/.dist-link"
    mv -T "$TARGET_DIR/.dist-link" "$MOAT_DIST"
    # The set before stays for containers that run from it; anything older goes.
    find "$sets" -mindepth 1 -maxdepth 1 -type d -printf '%T@ %p\n' | sort -rn | tail -n +3 | cut -d' ' -f2- | xargs -r -d '\n' rm -rf
}

# Builds everything that is not up to date; says nothing if that is nothing.
build_dist() {
    built_is_current && return
    need_cargo
    need_packages BUILD RUN
    mkdir -p "$TARGET_DIR"
    (
        flock 8
        # Another process may have built it meanwhile.
        built_is_current && exit 0
        local fingerprint vmlinux
        need_kernel_source 8>&-
        # Taken before the build: what is edited during it is built by the next call.
        fingerprint=$(sources_fingerprint)
        if kernel_is_built; then
            vmlinux=$(build_kernel 8>&-) || exit
            say "building moat (from nothing about 3 minutes on two CPUs)"
            cargo_build 8>&-
        else
            vmlinux=$(build_both 8>&-) || exit
        fi
        assemble "$vmlinux" "$fingerprint"
    ) 8>"$TARGET_DIR/.dist.lock"
}
