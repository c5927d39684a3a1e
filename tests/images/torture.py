#!/usr/bin/env python3
"""Writes the layers of the torture image.

Usage: torture.py OUTDIR [--only LAYER]

Every layer is a legal tar that `umoci unpack` accepts; the wrong ones are bad.py's. The files
are named so that sorting gives the order of the layers. What lies where, and what umoci makes
of it, stands in README.md.
"""

import hashlib
import os
import re
import subprocess
import sys
import tempfile

# No byte code beside the sources: the checkout stays as it is.
sys.dont_write_bytecode = True

from rawtar import (BLOCK, BLOCKDEV, CHAR, DIR, EPOCH, FIFO, FILE, GNU_LONGLINK, GNU_LONGNAME,
                    GNU_SPARSE, Layer, file_capability, gnu_long, header, number,
                    pad, posix_acl, xattr)

MANY = 100_000
GIB = 1 << 30


def text(what):
    """Content that says where it comes from."""
    return f"{what}\n".encode()


def doomed(layer):
    """Hidden again by the next layer, at the very root."""
    layer.dir("./")
    layer.dir("doomed/")
    layer.add("doomed/file", data=text("doomed"))
    layer.add("doomed-file", data=text("doomed"))


def root_opaque(layer):
    """An opaque marker in the root directory itself."""
    layer.add(".wh..wh..opq")


def lower(layer):
    """What the next layers remove, replace, link to and write through."""
    layer.dir("./", mode=0o755)
    layer.dir("t/")
    lower_whiteouts(layer)
    lower_types(layer)
    lower_hardlinks(layer)
    lower_symlinks(layer)


def lower_whiteouts(layer):
    layer.dir("t/wh/", mode=0o750, uid=7, gid=8, mtime=EPOCH - 100)
    for name in ("kept", "gone", "back", "back-after", "renamed-from", "never-there-neighbour"):
        layer.add(f"t/wh/{name}", data=text(f"lower {name}"))
    layer.symlink("t/wh/gone-link", "kept")
    for tree in ("gone-dir", "mixed", "mixed-after"):
        layer.dir(f"t/wh/{tree}/")
        layer.dir(f"t/wh/{tree}/sub/")
        layer.add(f"t/wh/{tree}/sub/old", data=text("old"))
        layer.add(f"t/wh/{tree}/old", data=text("old"))
    for tree in ("first", "last", "implicit", "deep", "empty"):
        layer.dir(f"t/opq/{tree}/", mode=0o711)
        layer.dir(f"t/opq/{tree}/sub/")
        layer.add(f"t/opq/{tree}/sub/old", data=text("old"))
        layer.add(f"t/opq/{tree}/old", data=text("old"))


def lower_types(layer):
    layer.dir("t/type/")
    for name in ("dir-file-dir", "dir-symlink", "dir-device", "dir-mode"):
        layer.dir(f"t/type/{name}/")
        layer.add(f"t/type/{name}/child", data=text("lower child"))
    for name in ("file-symlink", "file-dir", "file-fifo", "file-file"):
        layer.add(f"t/type/{name}", data=text(f"lower {name}"))
    layer.symlink("t/type/symlink-file", "/host/keep")
    layer.symlink("t/type/symlink-dir", "/host")
    layer.add("t/type/device-file", CHAR, major=1, minor=3)


def lower_hardlinks(layer):
    layer.dir("t/hard/")
    layer.add("t/hard/a", data=text("shared by a, b and c"), mode=0o640, uid=5)
    layer.hardlink("t/hard/b", "t/hard/a")
    # The target is itself a link, and the mode here is not the file's: it must not count.
    layer.hardlink("t/hard/c", "t/hard/b", mode=0o777, uid=99, mtime=1)
    layer.add("t/hard/target", data=text("linked from above"), records={xattr("user.on"): "inode"})
    layer.symlink("t/hard/symlink", "target")
    layer.add("t/hard/one", data=text("one name goes, one stays"))
    layer.hardlink("t/hard/other", "./t/hard/one")
    layer.add("t/hard/setuid", data=text("setuid"), mode=0o4711)
    layer.hardlink("t/hard/setuid-2", "/t/hard/setuid")
    layer.add("t/hard/fifo", FIFO)
    layer.hardlink("t/hard/fifo-2", "t/hard/fifo")
    layer.add("t/hard/device", CHAR, major=1, minor=5)
    layer.hardlink("t/hard/device-2", "t/hard/device")


def lower_symlinks(layer):
    layer.dir("host/")
    layer.dir("host/chain/")
    layer.add("host/keep", data=text("keep"))
    layer.dir("t/sym/")
    layer.symlink("t/sym/etc", "/host")
    layer.symlink("t/sym/relative", "../../host")
    layer.symlink("t/sym/chain-1", "chain-2")
    layer.symlink("t/sym/chain-2", "./chain-3")
    layer.symlink("t/sym/chain-3", "/t/sym/etc/chain")
    layer.symlink("t/sym/climbs", "../../../../../../../../host")
    layer.symlink("t/sym/absolute-climbs", "/../../host/chain")
    layer.symlink("t/sym/dangling", "/nowhere/yet")
    layer.symlink("t/sym/to-be-dir", "/host")
    layer.symlink("t/sym/loop", "loop")
    layer.symlink("t/sym/empty-ish", ".")


def upper(layer):
    """The first layer of changes."""
    upper_whiteouts(layer)
    upper_types(layer)
    upper_hardlinks(layer)
    upper_symlinks(layer)


def upper_whiteouts(layer):
    for name in ("gone", "gone-link", "gone-dir", "never-there"):
        layer.add(f"t/wh/.wh.{name}")
    # A whiteout only speaks of the layers below, on whichever side of the new entry it stands.
    layer.add("t/wh/.wh.back")
    layer.add("t/wh/back", data=text("upper back"))
    layer.add("t/wh/back-after", data=text("upper back-after"))
    layer.add("t/wh/.wh.back-after")
    layer.add("t/wh/.wh.mixed")
    layer.dir("t/wh/mixed/")
    layer.add("t/wh/mixed/new", data=text("new"))
    layer.dir("t/wh/mixed-after/")
    layer.add("t/wh/mixed-after/new", data=text("new"))
    layer.add("t/wh/.wh.mixed-after")
    # A rename as some tools write it: a link to the old name, which goes afterwards.
    layer.hardlink("t/wh/renamed-to", "t/wh/renamed-from")
    layer.add("t/wh/.wh.renamed-from")
    layer.dir("t/opq/first/", mode=0o700)
    layer.add("t/opq/first/.wh..wh..opq")
    layer.add("t/opq/first/new", data=text("new"))
    layer.dir("t/opq/last/")
    layer.dir("t/opq/last/sub/")
    layer.add("t/opq/last/sub/new", data=text("new"))
    layer.add("t/opq/last/new", data=text("new"))
    layer.add("t/opq/last/.wh..wh..opq")
    layer.add("t/opq/implicit/.wh..wh..opq")
    layer.add("t/opq/implicit/new", data=text("new"))
    layer.add("t/opq/deep/sub/.wh..wh..opq")
    layer.add("t/opq/empty/.wh..wh..opq")


def upper_types(layer):
    layer.add("t/type/dir-file-dir", data=text("a file for one layer"))
    layer.symlink("t/type/dir-symlink", "/host")
    layer.add("t/type/dir-device", BLOCKDEV, major=8, minor=1, mode=0o660)
    layer.dir("t/type/dir-mode/", mode=0o1777, uid=3, gid=4, mtime=EPOCH + 5)
    layer.symlink("t/type/file-symlink", "symlink-file")
    layer.dir("t/type/file-dir/")
    layer.add("t/type/file-dir/child", data=text("upper child"))
    layer.add("t/type/file-fifo", FIFO, mode=0o622)
    layer.add("t/type/file-file", data=text("upper"), mode=0o400)
    layer.add("t/type/symlink-file", data=text("a file, not host/keep"))
    layer.dir("t/type/symlink-dir/")
    layer.add("t/type/symlink-dir/child", data=text("in a directory, not in host"))
    layer.add("t/type/device-file", data=text("was a device"))


def upper_hardlinks(layer):
    layer.hardlink("t/hard/across", "t/hard/target")
    layer.hardlink("t/hard/across-again", "t/hard/across")
    layer.hardlink("t/hard/across-symlink", "t/hard/symlink")
    layer.hardlink("t/hard/through", "t/sym/etc/keep")
    layer.hardlink("t/elsewhere/implicit/across", "t/hard/target")
    # b and c keep what a was.
    layer.add("t/hard/a", data=text("a of its own"))
    layer.add("t/hard/.wh.one")


def upper_symlinks(layer):
    layer.add("t/sym/etc/passwd-through", data=text("through an absolute link"), mode=0o600)
    layer.add("t/sym/relative/through-relative", data=text("through a relative link"))
    layer.add("t/sym/chain-1/through-chain", data=text("through a chain of links"))
    layer.add("t/sym/climbs/through-climbing", data=text("through a link above the root"))
    layer.add("t/sym/absolute-climbs/through-climbing", data=text("through a link above the root"))
    layer.add("t/sym/dangling/file", data=text("through a dangling link"))
    layer.dir("t/sym/to-be-dir/")
    layer.add("t/sym/to-be-dir/file", data=text("in a directory of its own"))
    layer.add("t/sym/empty-ish/dot", data=text("through a link to ."))
    layer.dir("t/sym/relative/new-dir/", mode=0o701)
    layer.add("t/sym/relative/new-dir/file", data=text("new-dir"))


def upper_again(layer):
    """The second layer of changes: back to what was, and whiteouts through links."""
    layer.dir("t/type/dir-file-dir/")
    layer.add("t/type/dir-file-dir/newer", data=text("the lower child stays away"))
    layer.add("t/wh/gone", data=text("back in a later layer"))
    layer.dir("t/wh/gone-dir/")
    layer.add("t/wh/gone-dir/only", data=text("only this"))
    layer.add("t/hard/across", data=text("across of its own"))
    layer.hardlink("t/hard/third-layer", "t/hard/across-again")
    layer.add("host/for-whiteout", data=text("until the next layer"))


def whiteout_through(layer):
    """A whiteout whose directory is a symlink of a lower layer."""
    layer.add("t/sym/etc/.wh.for-whiteout")


def component(seed, length):
    """A name of exactly `length` bytes."""
    return (f"{seed}-" + "n" * length)[:length]


def names(layer):
    """Every way to write a name."""
    layer.dir("t/names/")
    layer.add("t/names/" + component("ustar-prefix", 90), data=text("90"))
    name = component("in-the-prefix", 95)
    layer.add(name, data=text("prefix"), tail=b"t/names/prefix-field")
    for length in (100, 101, 255):
        path = "t/names/" + component(f"pax-{length}", length)
        layer.add(path, data=text(length), records={"path": path})
        path = "t/names/" + component(f"gnu-{length}", length)
        layer.raw(gnu_long(path, GNU_LONGNAME))
        layer.add(path, data=text(length), magic=b"ustar  \0")
    deep = "t/names/deep" + "".join("/" + component(f"level-{i}", 200) for i in range(12))
    layer.add("x", data=text("deep"), records={"path": deep + "/pax"})
    layer.raw(gnu_long(deep + "/gnu", GNU_LONGNAME))
    layer.add("x", data=text("deep"))
    layer.add("x", DIR, records={"path": "t/names/" + component("pax-dir", 255) + "/"})
    target = "/" + "/".join(component(f"target-{i}", 200) for i in range(18))
    layer.symlink("t/names/pax-link", "x", records={"linkpath": target})
    layer.raw(gnu_long(target, GNU_LONGLINK))
    layer.symlink("t/names/gnu-link", "x")
    layer.raw(gnu_long(deep + "/gnu", GNU_LONGLINK))
    layer.raw(gnu_long(deep + "/gnu-hardlink", GNU_LONGNAME))
    layer.hardlink("x", "x")
    layer.hardlink("x", "x", records={"path": deep + "/pax-hardlink", "linkpath": deep + "/pax"})
    odd_names(layer)
    last_names(layer)


def last_names(layer):
    """Directories with a bit more than a block of names in the index, which end at each place behind a multiple of 32."""
    for length in range(1, 65):
        directory = f"t/ends/{length:02}"
        layer.dir(f"{directory}/")
        layer.dir(f"{directory}/a/")
        for i in range(21):
            layer.add(f"{directory}/file{i:06}", data=text("middle"))
        layer.add(f"{directory}/" + "z" * length, data=text("last"))


def odd_names(layer):
    odd = {
        b"latin1-\xe9": b"not UTF-8", b"\xff\xfe": b"not UTF-8 at all", b"utf8-\xc3\xa9\xe2\x98\x83": b"UTF-8",
        b"nfd-e\xcc\x81": b"decomposed", b"nfc-\xc3\xa9": b"composed", b"new\nline": b"newline", b"tab\there": b"tab",
        b" leading and trailing ": b"spaces", b"back\\slash": b"backslash", b"quote\"'`$(x)": b"quotes",
        b"*?[a]": b"glob", b"-rf": b"dash", b"\x01\x1b[31m\x7f": b"control", b"...": b"three dots", b"..x": b"two dots",
        b"UPPER": b"upper", b"upper": b"lower", b"wh.x": b"no whiteout", b".whx": b"no whiteout either",
    }
    for name, content in odd.items():
        layer.add(b"t/names/" + name, data=content)
    layer.add("x", data=text("binary"), records={"hdrcharset": "BINARY", "path": b"t/names/pax-latin1-\xe9"})
    layer.symlink(b"t/names/link-latin1", b"latin1-\xe9")
    # All 100 bytes of the field, so no NUL ends it.
    layer.add(b"t/names/" + component("full", 92).encode(), data=text("no NUL"))


def metadata(layer):
    """Modes, owners, times, devices and extended attributes."""
    modes(layer)
    owners(layer)
    times(layer)
    devices(layer)
    xattrs(layer)


def modes(layer):
    layer.dir("t/mode/")
    for mode in (0, 0o1644, 0o2755, 0o4755, 0o6755, 0o7777):
        layer.add(f"t/mode/file-{mode:04o}", data=text(oct(mode)), mode=mode)
        layer.dir(f"t/mode/dir-{mode:04o}/", mode=mode)
    # Old tars put the file type in here as well.
    layer.add("t/mode/with-type-bits", mode=0o100640)
    layer.symlink("t/mode/symlink", "file-4755", mode=0o600)
    layer.add("t/mode/setuid-of-app", data=text("app"), mode=0o4755, uid=1000, gid=1000)


def owners(layer):
    layer.dir("t/owner/")
    layer.add("t/owner/octal", uid=2_097_151, gid=2_097_151)
    layer.add("t/owner/base-256", uid=3_000_000_000, gid=2_147_483_648)
    layer.add("t/owner/pax", records={"uid": "4294967294", "gid": "4294967293"})
    layer.symlink("t/owner/symlink", "pax", uid=1000, gid=2000)
    # Numbers count, names do not: the image has a user app, who is 1000.
    layer.add("t/owner/named", uid=12, gid=34, uname="app", gname="app")
    layer.add("t/owner/pax-named", uid=12, gid=34, records={"uname": "app", "gname": "app"})
    layer.add("t/owner/pax-over-octal", uid=1, gid=1, records={"uid": "70000", "gid": "70001"})


def times(layer):
    layer.dir("t/time/")
    for name, when in (("zero", 0), ("octal-max", 8 ** 11 - 1), ("minus-one", -1), ("year-1902", -2_145_916_800),
                       ("after-2038", 1 << 31), ("after-2106", (1 << 32) + 1), ("year-2446-edge", (1 << 34) - 1 - (1 << 31))):
        layer.add(f"t/time/{name}", mtime=when)
    for name, when in (("nano", "1600000000.123456789"), ("short", "1600000000.5"), ("long", "1600000000.123456789123"),
                       ("negative", "-1.25"), ("whole", "1600000000"), ("far", "9000000000.000000001")):
        layer.add(f"t/time/pax-{name}", mtime=5, records={"mtime": when, "atime": "1500000000.5", "ctime": "1500000001.5"})
    layer.symlink("t/time/symlink", "zero", mtime=1_111_111_111)
    layer.add("t/time/dir", DIR, records={"mtime": "1234567890.987654321"})
    layer.add("t/time/dir/child", data=text("written after its directory"))


def devices(layer):
    layer.dir("t/dev/")
    layer.add("t/dev/null", CHAR, mode=0o666, major=1, minor=3)
    layer.add("t/dev/sda", BLOCKDEV, mode=0o660, gid=6, major=8, minor=0)
    layer.add("t/dev/big-minor", CHAR, major=10, minor=1_048_575)
    layer.add("t/dev/big-major", BLOCKDEV, major=4_095, minor=256)
    layer.add("t/dev/fifo", FIFO, mode=0o1620, uid=1000)
    # What overlayfs takes for a whiteout when it finds it in a layer of its own.
    layer.add("t/dev/zero-zero", CHAR, mode=0, major=0, minor=0)


def xattrs(layer):
    layer.dir("t/xattr/")
    everything = bytes(range(256))
    cases = {
        "capability-v2": {xattr("security.capability"): file_capability(1 << 10 | 1 << 38)},
        "capability-v3": {xattr("security.capability"): file_capability(1 << 13, rootid=100_000)},
        "user": {xattr("user.moat"): "value", xattr("user.second"): "2"},
        "binary": {xattr("user.binary"): everything},
        "long": {xattr("user.long"): b"x" * 3000},
        "long-name": {xattr("user." + "k" * 250): "value"},
        "many": {xattr(f"user.key-{i:02}"): f"{i}" for i in range(40)},
        "empty": {xattr("user.empty"): ""},
        "trusted": {xattr("trusted.moat"): "value"},
        "selinux": {xattr("security.selinux"): b"system_u:object_r:etc_t:s0\0"},
        "acl": {xattr("system.posix_acl_access"): posix_acl(
            (1, 6, 0xFFFFFFFF), (2, 4, 1000), (4, 4, 0xFFFFFFFF), (16, 4, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF))},
        "acl-as-text": {"SCHILY.acl.access": "user::rw-,user:1000:r--,group::r--,mask::r--,other::---"},
        "libarchive": {"LIBARCHIVE.xattr.user.ignored": "dmFsdWU"},
        "overlay-metacopy": {xattr("trusted.overlay.metacopy"): "", xattr("trusted.overlay.redirect"): "/host/keep"},
    }
    for name, records in cases.items():
        layer.add(f"t/xattr/{name}", data=text(name), mode=0o640, records=records)
    layer.dir("t/xattr/dir/", records={xattr("user.on"): "a directory", xattr("system.posix_acl_default"): posix_acl(
        (1, 7, 0xFFFFFFFF), (2, 5, 1000), (4, 5, 0xFFFFFFFF), (16, 5, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF))})
    layer.symlink("t/xattr/symlink", "user", records={xattr("trusted.on"): "a symlink"})
    # overlayfs would believe this if it reached a mount as it is.
    layer.dir("t/xattr/overlay-opaque/", records={xattr("trusted.overlay.opaque"): "y"})
    layer.add("t/xattr/overlay-opaque/child", data=text("child"))


def gnu_tar(root, path, *options):
    """What GNU tar writes for one file, without its end-of-archive blocks."""
    out = subprocess.run(
        ["tar", "-C", root, "--blocking-factor=1", "--sparse", "--hole-detection=raw", "--owner=0", "--group=0",
         "--numeric-owner", "--mode=0644", f"--mtime=@{EPOCH}", *options, "-cf", "-", path],
        check=True, stdout=subprocess.PIPE).stdout
    return without_process_id(out[:-2 * BLOCK])


def without_process_id(archive):
    """GNU tar puts its process id in the placeholder name of a sparse file: not for us."""
    archive = bytearray(archive)
    for found in re.finditer(rb"[^\0]*GNUSparseFile\.\d+[^\0]*", bytes(archive)):
        at = found.start() // BLOCK * BLOCK
        if at != found.start():
            continue
        archive[at:at + 100] = re.sub(rb"\.\d+/", b".0/", found.group()).ljust(100, b"\0")
        archive[at + 148:at + 156] = b" " * 8
        archive[at + 148:at + 156] = b"%06o\0 " % sum(archive[at:at + BLOCK])
    return bytes(archive)


def sparse_files(layer, forms):
    """One file of each shape in each form; `forms` maps a name to GNU tar's options for it."""
    layer.dir("t/")
    layer.dir("t/sparse/")
    with tempfile.TemporaryDirectory() as root:
        os.makedirs(f"{root}/t/sparse")
        for name, options in forms.items():
            for shape, islands, length in SPARSE_SHAPES:
                path = f"t/sparse/{name}-{shape}"
                write_islands(f"{root}/{path}", islands, length)
                layer.raw(gnu_tar(root, path, *options))


def sparse(layer):
    """Sparse files in every PAX form GNU tar can write."""
    sparse_files(layer, {
        f"pax-{version}": ("--format=posix", f"--sparse-version={version}",
                           "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime")
        for version in ("0.0", "0.1", "1.0")})


def gnu_sparse(layer):
    """Sparse files in the old GNU form (type S), which umoci refuses: an image of its own."""
    sparse_files(layer, {"gnu": ("--format=gnu",)})
    layer.dir("t/big/")
    table = [number(offset, 12) + number(size, 12) for offset, size in BIG_ISLANDS]
    tail = bytes(41) + b"".join(table[:4]) + b"\1" + number(5 * GIB, 12)
    stored = sum(size for _, size in BIG_ISLANDS)
    layer.raw(header("t/big/gnu", GNU_SPARSE, size=stored, magic=b"ustar  \0", tail=tail))
    layer.raw(table[4].ljust(504, b"\0") + b"\0" + bytes(7))
    layer.raw(big_data())


# 30 islands fill the header and two extension blocks; the odd ones do not end on a block.
SPARSE_SHAPES = (
    ("few", ((0, 1000), (500_000, 12_345)), 1_000_000),
    ("many", tuple((65_536 * i + 4096, 700 + i) for i in range(30)), 2_500_001),
    ("hole-only", (), 300_000),
    ("data-at-end", ((299_000, 1000),), 300_000),
)


def write_islands(path, islands, length):
    with open(path, "wb") as file:
        for offset, size in islands:
            file.seek(offset)
            file.write((b"%d." % offset * size)[:size])
        file.truncate(length)


# 5 GiB of which 10 KiB are data, on both sides of 4 GiB and at the very end.
BIG_ISLANDS = ((0, 512), (GIB + 4096, 4096), (3 * GIB, 4096), (4 * GIB - 512, 1024), (5 * GIB - 512, 512))


def big_data():
    """The islands one after the other, padded."""
    data = b"".join((b"%d." % offset * size)[:size] for offset, size in BIG_ISLANDS)
    return data + pad(len(data))


def big_sparse(layer):
    """The big one in PAX form 1.0: the map stands before the data."""
    numbers = [len(BIG_ISLANDS), *(value for island in BIG_ISLANDS for value in island)]
    table = b"".join(b"%d\n" % value for value in numbers)
    layer.dir("t/big/")
    layer.add("t/big/GNUSparseFile.0/sparse", data=table + pad(len(table)) + big_data(), records={
        "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "t/big/sparse",
        "GNU.sparse.realsize": str(5 * GIB)})


def forms(layer):
    """Legal but unusual ways to write ordinary entries."""
    layer.dir("t/form/")
    layer.add("./t/form/dot-slash", data=text("./"))
    layer.add("/t/form/absolute", data=text("/"))
    layer.add("t//form///slashes", data=text("//"))
    layer.add("t/./form/./dots", data=text("/./"))
    layer.add("t/form/up/../dot-dot", data=text("/../ inside"))
    layer.dir("t/form/slashed///")
    layer.add("t/form/unslashed", DIR)
    layer.add("t/form/empty-file")
    layer.add("t/form/implicit/a/b/c", data=text("no entry for its parents"))
    layer.add("t/form/late/child", data=text("child before parent"))
    layer.dir("t/form/late/", mode=0o710, uid=9)
    layer.add("t/form/v7-file", b"\0", text("v7"), magic=bytes(8))
    layer.add("t/form/v7-dir/", b"\0", magic=bytes(8), mode=0o755)
    layer.add("t/form/gnu-magic", data=text("gnu"), magic=b"ustar  \0")
    # POSIX lets a directory have a size, which is a limit and not a length of data.
    layer.dir("t/form/dir-with-size/", size=4096)
    layer.add("t/form/after-dir-with-size", data=text("still in step"))
    layer.add("t/form/size-in-pax", size=0, data=text("the header says 0"), records={"size": "18"})
    layer.add("t/form/size-base-256", data=text("base-256"), size=b"\x80" + bytes(10) + b"\x09")
    layer.add("t/form/octal-with-spaces", data=text("spaces"), size=b"         7 ")
    layer.add("t/form/unknown-pax", data=text("pax"), records={"comment": "ignored", "MOAT.unknown": "ignored"})
    layer.symlink("t/form/symlink-odd", "a//b/./../c/")
    duplicates(layer)


def duplicates(layer):
    """The same name twice in one layer: the last entry wins."""
    layer.dir("t/dup/")
    layer.add("t/dup/file", data=text("first"), mode=0o600)
    layer.add("t/dup/file", data=text("second, longer"))
    layer.add("t/dup/file-then-dir", data=text("first"))
    layer.dir("t/dup/file-then-dir/")
    layer.add("t/dup/file-then-dir/child", data=text("child"))
    layer.dir("t/dup/dir-then-file/")
    layer.add("t/dup/dir-then-file/child", data=text("gone"))
    layer.add("t/dup/dir-then-file", data=text("second"))
    layer.symlink("t/dup/link-then-file", "/host/keep")
    layer.add("t/dup/link-then-file", data=text("second"))
    layer.dir("t/dup/dir-twice/", mode=0o700)
    layer.add("t/dup/dir-twice/child", data=text("stays"))
    layer.dir("t/dup/dir-twice/", mode=0o751, mtime=EPOCH + 1)
    layer.add("t/dup/linked", data=text("first"))
    layer.hardlink("t/dup/keeps-first", "t/dup/linked")
    layer.add("t/dup/linked", data=text("second"))
    layer.symlink("t/dup/through", "/t/dup/real")
    layer.dir("t/dup/real/")
    layer.add("t/dup/through/file", data=text("through a link of the same layer"))


def empty(_layer):
    """Nothing but the end of the archive."""


def many(layer):
    """100,000 files of 0 to 200 bytes in 400 directories."""
    layer.dir("many/")
    for i in range(400):
        if i % 20 == 0:
            layer.dir(f"many/{i // 20:02}/")
        layer.dir(f"many/{i // 20:02}/{i % 20:02}/")
    for i in range(MANY):
        digest = hashlib.sha256(b"%d" % i).digest()
        data = (digest * 7)[:digest[0] % 201]
        layer.add(f"many/{i % 400 // 20:02}/{i % 400 % 20:02}/{i:06}-{digest[:3].hex()}", FILE, data,
                  mode=0o755 if i % 50 == 0 else 0o644, uid=i % 3, mtime=EPOCH - i)


# 02 is BusyBox, which the recipe puts there.
LAYERS = {
    "00-doomed": doomed, "01-root-opaque": root_opaque, "03-lower": lower, "04-upper": upper,
    "05-upper-again": upper_again, "06-whiteout-through": whiteout_through, "07-names": names,
    "08-metadata": metadata, "09-sparse": sparse, "10-forms": forms, "11-empty": empty,
    "12-big-sparse": big_sparse, "13-many": many,
}
# Layers of other images.
EXTRA = {"gnu-sparse": gnu_sparse}


def main():
    """Writes all layers of the image, or the one asked for."""
    out = sys.argv[1]
    only = sys.argv[3] if sys.argv[2:3] == ["--only"] else None
    chosen = {only: (LAYERS | EXTRA)[only]} if only else LAYERS
    for name, fill in chosen.items():
        with Layer(f"{out}/{name}.tar") as layer:
            fill(layer)


if __name__ == "__main__":
    main()
