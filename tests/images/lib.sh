# Steps the recipes share. Sourced by `build`; the recipes' cache keys include this file.
# `build` sets $work, the directory for temporary files, and $layout.
# shellcheck shell=bash disable=SC2154

# PATH of every image.
# shellcheck disable=SC2034
image_path=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# Every time stamp of our own making: the same recipe gives the same bytes. Packages that
# Debian has updated since are the one thing that changes an image.
export SOURCE_DATE_EPOCH=1700000000
stamp=$(date -u -d "@$SOURCE_DATE_EPOCH" +%FT%TZ)

say() { printf '%s\n' "$*" >&2; }
die() { say "images: $*"; exit 1; }

# need_packages PACKAGE...: installs what is missing, or says what to install.
need_packages() {
  local package missing=()
  for package in "$@"; do
    dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q 'install ok installed' ||
      missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  ((EUID == 0)) || die "missing Debian packages; as root: apt-get install ${missing[*]}"
  say "images: installing ${missing[*]} (usually under a minute)"
  # The first try spares the download of the package lists, which is the slow part. Other
  # builders may hold dpkg's lock, so wait for it.
  local apt=(apt-get -qq -o DPkg::Lock::Timeout=900)
  export DEBIAN_FRONTEND=noninteractive
  "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >&2 && return 0
  "${apt[@]}" update >&2
  "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >&2
}

# machine_sources: the machine's own apt sources for Debian 12, one-line style, whatever form
# they have there.
machine_sources() {
  apt-get indextargets --format "deb \$(REPO_URI) \$(RELEASE) \$(COMPONENT)" 'Created-By: Packages' |
    sort -u | awk '$3 ~ /^bookworm/'
}

# debian_root TAR [MMDEBSTRAP OPTION...]: a minimal Debian 12 as a plain tar, without manual pages.
debian_root() {
  local tar=$1 sources
  shift
  sources=$(machine_sources)
  [[ $sources ]] || die "the machine's apt sources have no bookworm: run apt-get update, or add one"
  mmdebstrap --quiet --variant=minbase --dpkgopt='path-exclude=/usr/share/man/*' \
    "$@" bookworm "$tar" - <<<"$sources" >&2
}

# The next ones work on $layout, the OCI image layout under construction; its tag is `latest`.

new_layout() {
  umoci init --layout "$layout"
  umoci new --image "$layout:latest"
}

# add_layer TAR WHAT: the tar, byte for byte, as the next layer.
add_layer() {
  umoci raw add-layer --image "$layout:latest" \
    --history.created "$stamp" --history.created_by "$2" "$1"
}

# insert WHAT ARGUMENT...: one layer by `umoci insert`.
insert() {
  local what=$1
  shift
  umoci insert --image "$layout:latest" --history.created "$stamp" --history.created_by "$what" "$@"
}

# configure OPTION...: `umoci config`, with the time stamps that keep the image reproducible.
configure() {
  umoci config --image "$layout:latest" --created "$stamp" --history.created "$stamp" \
    --history.created_by 'umoci config' "$@"
}

unpack() { umoci unpack --image "$layout:latest" "$1"; }

# repack BUNDLE WHAT: what changed in the bundle since `unpack` becomes the next layer.
repack() {
  umoci repack --image "$layout:latest" --refresh-bundle \
    --history.created "$stamp" --history.created_by "$2" "$1"
}

# settle PATH...: gives files of our own making a fixed time.
settle() { find "$@" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +; }

# busybox_root DIRECTORY: a root with BusyBox, and users to try.
busybox_root() {
  local root=$1 applet
  # No /proc and /sys: the runtime makes its mount points, as in the image of that name everyone uses.
  mkdir -p "$root"/{bin,dev,etc,home/app,root,tmp,usr,var}
  cp "$(command -v busybox)" "$root/bin/busybox"
  while read -r applet; do
    # Hard links, as upstream's own image has them.
    ln -f "$root/bin/busybox" "$root/bin/$applet"
  done < <(busybox --list | grep -v '^busybox$')
  cat >"$root/etc/passwd" <<'END'
root:x:0:0:root:/root:/bin/sh
app:x:1000:1000:app:/home/app:/bin/sh
nobody:x:65534:65534:nobody:/home:/bin/false
END
  cat >"$root/etc/group" <<'END'
root:x:0:
app:x:1000:
extra:x:2000:app
nobody:x:65534:
END
  chmod 1777 "$root/tmp"
  chmod 700 "$root/root"
  chown 1000:1000 "$root/home/app"
}

# busybox_tar TAR: the same as a layer, for every image that needs a shell inside.
busybox_tar() {
  busybox_root "$work/busybox"
  tar -C "$work/busybox" --sort=name --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -cf "$1" .
  rm -rf "$work/busybox"
}

# convert FORMAT NAME FROM TO: one archive from a finished layout.
convert() {
  local format=$1 name=$2 from=$3 to=$4
  local reference=localhost/$name:latest copy=(skopeo --insecure-policy --tmpdir "$work" copy --quiet)
  case $format in
    docker) "${copy[@]}" "oci:$from:latest" "docker-archive:$to:$reference" ;;
    docker-gz)
      "${copy[@]}" "oci:$from:latest" "docker-archive:$work/plain.tar:$reference"
      gzip -n -1 <"$work/plain.tar" >"$to"
      ;;
    oci) "${copy[@]}" "oci:$from:latest" "oci-archive:$to:$reference" ;;
    # Going through the docker archive leaves the layers uncompressed, which is what skopeo
    # needs to keep them so or to compress them in another way.
    oci-plain)
      "${copy[@]}" "oci:$from:latest" "docker-archive:$work/plain.tar:$reference"
      "${copy[@]}" --dest-oci-accept-uncompressed-layers "docker-archive:$work/plain.tar:$reference" \
        "oci-archive:$to:$reference"
      ;;
    oci-zstd)
      "${copy[@]}" "oci:$from:latest" "docker-archive:$work/plain.tar:$reference"
      "${copy[@]}" --dest-compress-format zstd "docker-archive:$work/plain.tar:$reference" \
        "oci-archive:$to:$reference"
      ;;
    *) die "unknown format $format" ;;
  esac
  rm -f "$work/plain.tar"
}
