#!/usr/bin/env python3
"""Writes small broken image archives, and legal ones that are easily taken for broken.

Usage: bad.py OUTDIR

One archive per case, and OUTDIR/cases.json, a list of objects:
  name     also the image's name: localhost/bad-NAME:latest
  file     the archive, in OUTDIR
  wrong    what is wrong with it (or unusual, where `expect` is ok)
  expect   error: refused with a clear message; ok: taken; either: both are sound, harm is not
  stage    the latest moment for the error: load, or run
  present, absent   paths the merged tree must and must not have, where that is the point
"""

import gzip
import hashlib
import json
import os
import sys

# No byte code beside the sources: the checkout stays as it is.
sys.dont_write_bytecode = True

from rawtar import (BLOCK, CHAR, DIR, END, FIFO, FILE, GNU_LONGNAME, GNU_SPARSE, HARDLINK, PAX, PAX_GLOBAL, SYMLINK,
                    entry, gnu_long, header, number, pad, pax, xattr)

MIB = 1 << 20
GIB = 1 << 30
HELLO = entry("hello", data=b"hello\n")
GOOD = HELLO + END
OCI = "application/vnd.oci.image."
PLAIN, GZIP, ZSTD = (OCI + "layer.v1.tar" + suffix for suffix in ("", "+gzip", "+zstd"))

CASES = []


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def dumps(value):
    return json.dumps(value, sort_keys=True).encode()


def add(name, wrong, content, expect="error", stage="load", **more):
    """Registers a case; `content` is the archive's bytes or a function that writes the open file."""
    CASES.append((dict(name=name, file=f"{name}.tar", wrong=wrong, expect=expect, stage=stage, **more), content))


def make_config(diff_ids, config=None, **top):
    return dumps({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/hello"], **(config or {})},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}, **top})


def docker(name, layers=(GOOD,), *, config=None, manifest=None, paths=None):
    """A docker archive; each part can be given as bytes instead."""
    config = make_config([sha256(layer) for layer in layers]) if config is None else config
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    # Equal layers are stored once, as `docker save` does.
    names = [hashlib.sha256(layer).hexdigest() + ".tar" for layer in layers]
    if manifest is None:
        manifest = dumps([{"Config": config_name, "RepoTags": [f"localhost/bad-{name}:latest"],
                           "Layers": names if paths is None else paths}])
    members = dict(zip(names, layers))
    return b"".join(entry(path, data=data) for path, data in members.items()) + \
        entry(config_name, data=config) + entry("manifest.json", data=manifest)


def descriptor(media_type, data, **more):
    return {"mediaType": media_type, "digest": sha256(data), "size": len(data), **more}


def blob(data, digest=None):
    """A blob of an OCI layout as an archive member."""
    return entry("blobs/" + (digest or sha256(data)).replace(":", "/"), data=data)


def index(name, *manifests):
    for item in manifests:
        item.setdefault("annotations", {})["org.opencontainers.image.ref.name"] = f"localhost/bad-{name}:latest"
    return dumps({"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": list(manifests)})


def oci_manifest(config, layers):
    return dumps({"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json",
                  "config": descriptor(OCI + "config.v1+json", config), "layers": layers})


def oci_outer(members, index_json):
    return oci_start() + members + entry("index.json", data=index_json)


def oci_start(version="1.0.0"):
    # Readers that unpack the archive with a strict tool want the directories first.
    return entry("oci-layout", data=dumps({"imageLayoutVersion": version})) + \
        entry("blobs/", DIR) + entry("blobs/sha256/", DIR)


def oci(name, stored=GOOD, media=PLAIN, *, diff_ids=None, layers=None, config=None, manifest_type=None, members=b""):
    """An OCI archive of one layer; `stored` is the blob as it lies in the archive."""
    config = config or make_config([sha256(stored)] if diff_ids is None else diff_ids)
    manifest = oci_manifest(config, [descriptor(media, stored)] if layers is None else layers)
    kept = members + (blob(stored) if stored else b"") + blob(config) + blob(manifest)
    return oci_outer(kept, index(name, descriptor(manifest_type or OCI + "manifest.v1+json", manifest)))


def layer(name, wrong, *entries, expect="error", below=(), **more):
    """A case whose fault is in its last layer, which is otherwise good."""
    data = HELLO + b"".join(entries) + END
    stage = more.pop("stage", "load")
    add(name, wrong, docker(name, (*below, data)) + END, expect, stage, **more)


def gz(data):
    return gzip.compress(data, mtime=0)


def zstd_frame(*blocks, window=0x38):
    """A zstd frame (RFC 8878) made by hand: blocks are (type, size, bytes); 0x38 is a 128 KiB window."""
    out = b"\x28\xb5\x2f\xfd\x00" + bytes([window])
    for i, (kind, size, data) in enumerate(blocks):
        out += (int(i == len(blocks) - 1) | kind << 1 | size << 3).to_bytes(3, "little") + data
    return out


RAW, RLE, RESERVED = 0, 1, 3


def archives():
    """The outer archive is broken."""
    good = docker("truncated")
    add("empty-file", "no bytes at all", b"")
    add("not-a-tar", "text", b"This is not an image.\n" * 100)
    add("random-bytes", "noise of a tar's length", b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(320)))
    add("empty-tar", "a tar with no members", END)
    add("no-manifest", "a tar without manifest.json and index.json", HELLO + END)
    add("truncated-archive", "the docker archive ends inside a member", good[:len(good) - 700])
    add("truncated-in-header", "the docker archive ends inside a header", good[:100])
    add("truncated-gzip", "the archive is gzip and ends early", gz(good + END)[:-40])
    add("bad-header-checksum", "the second header's checksum is wrong",
        HELLO + header("x", size=0, checksum=1) + good + END)
    add("layer-truncated-inside", "the layer's tar ends inside a file, its digest is right",
        docker("layer-truncated-inside", (entry("big", data=b"x" * 4096)[:2000],)) + END)
    add("legit-no-end", "the archive lacks the blocks of zeros at its end", docker("legit-no-end"), "ok", present=["hello"])
    twice = docker("duplicate-manifest")
    add("duplicate-manifest", "two manifest.json that differ", twice + entry("manifest.json", data=b"[]") + END)


def outer_names():
    """Members of the outer archive that no reader may follow."""
    for name, path in (("outer-dotdot", "../../../tmp/moat-bad-escape"), ("outer-absolute", "/tmp/moat-bad-escape")):
        add(name, f"an extra member called {path}", entry(path, data=b"escaped") + docker(name) + END, "either")
        add(f"{name}-layer", f"the manifest names the layer {path}",
            entry(path, data=GOOD) + docker(f"{name}-layer", paths=[path]) + END)

    def special(name, wrong, kind, **fields):
        add(name, wrong, entry("layer.tar", kind, **fields) + docker(name, paths=["layer.tar"]) + END)
    special("outer-symlink-host", "the layer is a symlink to /etc/passwd", SYMLINK, link="/etc/passwd")
    special("outer-symlink-climbs", "the layer is a symlink out of the archive", SYMLINK, link="../../../../etc/passwd")
    special("outer-symlink-loop", "the layer is a symlink to itself", SYMLINK, link="layer.tar")
    special("outer-hardlink-host", "the layer is a hard link to /etc/passwd", HARDLINK, link="/etc/passwd")
    special("outer-fifo", "the layer is a fifo", FIFO)
    special("outer-device", "the layer is a device", CHAR, major=1, minor=5)
    add("outer-manifest-symlink", "manifest.json is a symlink to /etc/passwd",
        entry("manifest.json", SYMLINK, link="/etc/passwd") + END)
    legacy_archive()


def legacy_archive():
    """What `docker save` wrote for years: equal layers are symlinks."""
    name = "legit-old-docker-save"
    first, second = ("%064x" % i for i in (1, 2))
    config = make_config([sha256(GOOD)] * 2)
    body = b""
    for ident, parent in ((first, None), (second, first)):
        body += entry(ident + "/", DIR) + entry(ident + "/VERSION", data=b"1.0")
        body += entry(ident + "/json", data=dumps({"id": ident, **({"parent": parent} if parent else {})}))
    body += entry(first + "/layer.tar", data=GOOD) + entry(second + "/layer.tar", SYMLINK, link=f"../{first}/layer.tar")
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    body += entry(config_name, data=config) + entry("manifest.json", data=dumps([{
        "Config": config_name, "RepoTags": [f"localhost/bad-{name}:latest"],
        "Layers": [f"{first}/layer.tar", f"{second}/layer.tar"]}]))
    body += entry("repositories", data=dumps({f"localhost/bad-{name}": {"latest": second}}))
    add(name, "a layer.tar that is a symlink to another layer.tar", body + END, "ok", present=["hello"])


def compression():
    """Layers whose compression is broken or hostile."""
    packed = gz(GOOD)
    def case(name, wrong, stored, media, expect="error"):
        add(name, wrong, oci(name, stored, media, diff_ids=[sha256(GOOD)]) + END, expect)
    flipped = packed[:30] + bytes([packed[30] ^ 0xFF]) + packed[31:]
    case("gzip-corrupt", "a byte of the gzip layer is flipped, the blob's digest is right", flipped, GZIP)
    case("gzip-truncated", "the gzip layer ends early, the blob's digest is right", packed[:-12], GZIP)
    case("gzip-bad-crc", "the gzip layer's checksum is wrong", packed[:-8] + bytes(4) + packed[-4:], GZIP)
    case("gzip-garbage-after", "bytes that are not gzip follow the gzip layer", packed + b"garbage" * 10, GZIP, "either")
    case("gzip-says-plain", "the media type says plain, the layer is gzip", packed, PLAIN, "either")
    case("plain-says-gzip", "the media type says gzip, the layer is plain", GOOD, GZIP, "either")
    case("legit-gzip-members", "a gzip layer of two members", gz(GOOD[:700]) + gz(GOOD[700:]), GZIP, "ok")
    frame = zstd_frame((RAW, len(GOOD), GOOD))
    case("legit-zstd", "a zstd layer made by hand", frame, ZSTD, "ok")
    case("zstd-corrupt", "the zstd layer has a block of the reserved type", zstd_frame((RESERVED, 10, bytes(10))), ZSTD)
    case("zstd-truncated", "the zstd layer ends early", frame[:-100], ZSTD)
    case("zstd-huge-window", "the zstd frame wants a window of 3.75 TiB", zstd_frame((RAW, len(GOOD), GOOD), window=0xFF), ZSTD)
    bombs()


# The bomb's tar is one file of 6 GiB of zeros. Its digest is right, so that only a limit can
# refuse it; hashing it again for every run would take longer than all other cases together.
BOMB = 6 * GIB
BOMB_DIFF_ID = "sha256:c8409e9d62245251c2124f113588d8f6498802cb696eb4717873f3902f3bb012"


def bombs():
    head = entry("zeros", size=BOMB)
    chunk = gz(bytes(64 * MIB))
    packed = gz(head) + chunk * (BOMB // (64 * MIB)) + gz(END)
    add("bomb-gzip", "6 GiB of zeros in 6 MB of gzip; all digests are right",
        oci("bomb-gzip", packed, GZIP, diff_ids=[BOMB_DIFF_ID]) + END)
    blocks = [(RAW, len(head), head), *[(RLE, 128 * 1024, b"\0")] * (BOMB // (128 * 1024)), (RLE, len(END), b"\0")]
    add("bomb-zstd", "6 GiB of zeros in 200 KB of zstd; all digests are right",
        oci("bomb-zstd", zstd_frame(*blocks), ZSTD, diff_ids=[BOMB_DIFF_ID]) + END)
    outer = gz(entry("padding", size=BOMB)) + chunk * (BOMB // (64 * MIB)) + gz(docker("bomb-outer") + END)
    add("bomb-outer", "the archive is gzip, with 6 GiB of zeros in a member that is not needed", outer, "either")


def digests():
    """What is stored is not what is promised."""
    other = entry("other", data=b"other\n") + END
    config = make_config([sha256(GOOD)])
    manifest = oci_manifest(config, [descriptor(PLAIN, GOOD)])
    pointer = descriptor(OCI + "manifest.v1+json", manifest)
    def swapped(name, **replace):
        blobs = {"layer": GOOD, "config": config, "manifest": manifest}
        body = b"".join(blob(replace.get(key, data), sha256(data)) for key, data in blobs.items())
        return oci_outer(body, index(name, dict(pointer))) + END
    add("digest-layer", "the layer's content does not have the digest of its name", swapped("digest-layer", layer=other))
    add("digest-config", "the config's content does not have the digest of its name",
        swapped("digest-config", config=config.replace(b"amd64", b"arm64")))
    add("digest-manifest", "the manifest's content does not have the digest of its name",
        swapped("digest-manifest", manifest=manifest + b" "))
    wrong = "sha256:" + "0" * 64
    add("diff-id-oci", "the config's diff_id is not that of the layer", oci("diff-id-oci", diff_ids=[wrong]) + END)
    add("diff-id-docker", "the config's diff_id is not that of the layer (docker archive)",
        docker("diff-id-docker", config=make_config([wrong])) + END)
    add("diff-id-of-compressed", "the diff_id is the digest of the compressed layer",
        oci("diff-id-of-compressed", gz(GOOD), GZIP) + END)
    add("diff-ids-fewer", "two layers, one diff_id", docker("diff-ids-fewer", (GOOD, other), config=config) + END)
    add("diff-ids-more", "one layer, two diff_ids", docker("diff-ids-more", config=make_config([sha256(GOOD)] * 2)) + END)
    add("diff-ids-missing", "a config without rootfs", docker("diff-ids-missing", config=dumps({"os": "linux"})) + END)
    add("size-mismatch", "the layer's descriptor gives another size than the blob has",
        oci("size-mismatch", layers=[{**descriptor(PLAIN, GOOD), "size": len(GOOD) - 512}]) + END)
    add("size-negative", "the layer's descriptor gives a negative size",
        oci("size-negative", layers=[{**descriptor(PLAIN, GOOD), "size": -1}]) + END)
    for name, digest in (("digest-climbs", "sha256:../../../../etc/passwd"), ("digest-md5", "md5:" + "0" * 32),
                         ("digest-short", "sha256:abc"), ("digest-upper", sha256(GOOD).upper()), ("digest-empty", "")):
        add(name, f"the layer's digest is {digest[:40]!r}", oci(name, layers=[{**descriptor(PLAIN, GOOD), "digest": digest}]) + END)


def manifests():
    """Manifests and indexes."""
    add("blob-missing-oci", "the manifest names a layer the archive does not have",
        oci("blob-missing-oci", layers=[descriptor(PLAIN, GOOD + b"x")]) + END)
    add("blob-missing-docker", "manifest.json names a layer the archive does not have",
        docker("blob-missing-docker", paths=["nowhere.tar"]) + END)
    add("config-missing", "manifest.json names a config the archive does not have",
        docker("config-missing", manifest=dumps([{"Config": "nowhere.json", "RepoTags": None, "Layers": []}])) + END)
    add("zero-layers-oci", "no layers", oci("zero-layers-oci", b"", layers=[], diff_ids=[]) + END)
    add("zero-layers-docker", "no layers (docker archive)", docker("zero-layers-docker", ()) + END)
    add("zero-images", "manifest.json is an empty list", docker("zero-images", manifest=b"[]") + END)
    add("layer-media-type", "a layer of an unknown media type", oci("layer-media-type", GOOD, "application/x-unknown") + END)
    add("layer-encrypted", "a layer that is encrypted", oci("layer-encrypted", GOOD, GZIP + "+encrypted") + END)
    add("manifest-media-type", "a manifest of an unknown media type",
        oci("manifest-media-type", manifest_type="application/x-unknown") + END)
    add("manifest-schema-1", "a manifest of Docker's first schema",
        oci("manifest-schema-1", manifest_type="application/vnd.docker.distribution.manifest.v1+prettyjws") + END)
    add("layers-10000-docker", "one layer 10,000 times (docker archive)", docker("layers-10000-docker", (GOOD,) * 10_000) + END)
    add("layers-10000-oci", "one layer 10,000 times",
        oci("layers-10000-oci", diff_ids=[sha256(GOOD)] * 10_000, layers=[descriptor(PLAIN, GOOD)] * 10_000) + END)
    indexes()
    hostile_json()


def indexes():
    config = make_config([sha256(GOOD)])
    manifest = oci_manifest(config, [descriptor(PLAIN, GOOD)])
    pointer = descriptor(OCI + "manifest.v1+json", manifest)
    body = blob(GOOD) + blob(config) + blob(manifest)
    def nested(name, *manifests):
        inner = dumps({"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": list(manifests)})
        return oci_outer(body + blob(inner), index(name, descriptor(OCI + "index.v1+json", inner))) + END
    amd64 = {**pointer, "platform": {"os": "linux", "architecture": "amd64"}}
    gone = {**pointer, "digest": "sha256:" + "1" * 64}
    attestation = {**gone, "platform": {"os": "unknown", "architecture": "unknown"}}
    add("legit-nested-index", "an index in the index, with an attestation that is not in the archive",
        nested("legit-nested-index", attestation, amd64), "ok", present=["hello"])
    add("platform-missing", "an index that has other platforms only",
        nested("platform-missing", {**gone, "platform": {"os": "windows", "architecture": "amd64"}}))
    add("index-empty", "index.json without manifests", oci_outer(body, index("index-empty")) + END)
    chain, inner = body, pointer
    for _ in range(200):
        data = dumps({"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": [inner]})
        chain, inner = chain + blob(data), descriptor(OCI + "index.v1+json", data)
    add("index-chain", "an index in an index, 200 deep", oci_outer(chain, index("index-chain", inner)) + END)
    add("layout-version", "oci-layout gives version 9.0.0",
        oci_start("9.0.0") + body + entry("index.json", data=index("layout-version", dict(pointer))) + END)


def hostile_json():
    add("json-not", "manifest.json is not JSON", docker("json-not", manifest=b"{nonsense") + END)
    add("json-wrong-shape", "manifest.json is an object of numbers", docker("json-wrong-shape", manifest=b'{"Config": 1, "Layers": 2}') + END)
    add("json-not-utf8", "manifest.json is not UTF-8", docker("json-not-utf8", manifest=b'[{"Config": "\xff\xfe"}]') + END)
    deep = b"[" * 200_000
    add("json-deep-manifest", "manifest.json is 200,000 brackets", docker("json-deep-manifest", manifest=deep + b"]" * 200_000) + END)
    nested = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    add("json-deep-config", "the config is nested 100,000 deep", oci("json-deep-config", config=nested) + END)
    def sparse(file):
        file.write(header("manifest.json", size=100 * MIB))
        file.seek(100 * MIB, os.SEEK_CUR)
        file.write(END)
    add("json-100-mb", "manifest.json has 100 MiB (a hole in the file)", sparse)
    spaces = gz(header("manifest.json", size=100 * MIB + 2 * BLOCK)) + gz(b" " * MIB) * 100
    add("json-100-mb-gzip", "manifest.json is 100 MiB of spaces in a small gzip", spaces + gz(b"[]" + b" " * (2 * BLOCK - 2) + END))


def configs():
    """Configurations that no container can start with."""
    def case(name, wrong, expect="error", stage="run", top=None, **config):
        data = make_config([sha256(GOOD)], config, **(top or {}))
        add(name, wrong, docker(name, config=data) + END, expect, stage)
    for name, user in (("user-too-big", "4294967296"), ("user-minus-one", "4294967295"), ("user-negative", "-1"),
                       ("group-too-big", "0:4294967296"), ("user-unknown", "nobody-has-this-name"), ("user-empty-group", "0:"),
                       ("user-huge", "9" * 40)):
        case(name, f"USER {user}", "either" if name == "user-empty-group" else "error", User=user)
    rootfs = {"rootfs": {"type": "zfs", "diff_ids": [sha256(GOOD)]}}
    case("rootfs-type", "the config's rootfs.type is unknown", stage="load", top=rootfs)
    case("other-os", "the image is for Windows", top={"os": "windows"})
    case("other-architecture", "the image is for arm64", top={"architecture": "arm64"})
    case("no-command", "neither CMD nor ENTRYPOINT", Cmd=None)
    case("cmd-is-text", "Cmd is a string, not a list", stage="load", Cmd="/hello")
    case("cmd-with-nul", "an argument holds a NUL", Cmd=["/hello", "a\0b"])
    case("env-without-equals", "an environment variable without =", "either", Env=["NOTHING"])
    case("env-with-nul", "an environment variable holds a NUL", Env=["A=b\0c"])
    case("workdir-relative", "a working directory that climbs", "either", WorkingDir="../../etc")
    case("stop-signal", "an unknown stop signal", StopSignal="SIGNOSUCH")


def sizes():
    """Sizes and numbers in a layer's headers."""
    layer("size-8-eib", "a header claims 8 EiB", header("x", size=1 << 63))
    layer("size-max", "a header claims 2^64-1 bytes", header("x", size=(1 << 64) - 1))
    layer("size-overflow", "a header's base-256 size has 80 bits", header("x", size=1 << 80))
    layer("size-negative-base-256", "a header's size is -512", header("x", size=-512))
    layer("size-negative-octal", "a header's size is the text -1", header("x", size=b"-0000000001"))
    layer("size-not-octal", "a header's size has the digit 9", header("x", size=b"00000000009"))
    layer("size-beyond-end", "a header claims 8 GiB that do not follow", header("x", size=b"77777777777"))
    layer("pax-size-huge", "a PAX header claims 16 EiB for its file", pax({"size": str(1 << 64)}), header("x"))
    layer("pax-size-negative", "a PAX header claims -1 for its file", pax({"size": "-1"}), header("x"))
    layer("pax-size-text", "a PAX header claims a size of 'many'", pax({"size": "many"}), header("x"))
    inner = header("smuggled") + header("smuggled-too")
    layer("pax-size-hides", "the PAX size covers what would be entries if the header's 0 counted",
          pax({"size": str(len(inner))}), header("outer", size=0), inner, expect="ok", present=["outer"], absent=["smuggled"])
    layer("pax-size-shows", "the header's size covers what are entries as the PAX size is 0",
          pax({"size": "0"}), header("outer", size=len(inner)), inner, expect="either")
    layer("hardlink-with-size", "a hard link whose header claims a size",
          header("link", HARDLINK, link="hello", size=len(inner)), inner, expect="either")
    layer("uid-too-big", "an owner beyond 32 bits", entry("x", uid=1 << 32))
    layer("uid-minus-one", "an owner of 2^32-1, which chown takes for 'leave it'", entry("x", uid=(1 << 32) - 1), expect="either")
    layer("uid-negative", "an owner of -1", entry("x", uid=-1))
    layer("mtime-beyond", "a time of 2^80", entry("x", mtime=1 << 80), expect="either")
    layer("mtime-text", "a PAX time that is no number", entry("x", records={"mtime": "yesterday"}), expect="either")
    layer("device-major", "a device whose major number is beyond 12 bits", entry("x", CHAR, major=2_097_151, minor=0))
    layer("device-minor", "a device whose minor number is beyond 20 bits", entry("x", CHAR, major=1, minor=2_097_151))
    layer("checksum", "an entry's header checksum is wrong", header("x", checksum=0))
    layer("type-unknown", "an entry of the unknown type Z", entry("x", b"Z"), expect="either")


def pax_faults():
    """Extended headers."""
    def raw(data, kind=PAX):
        return header("x", kind, size=len(data)) + data + pad(len(data))
    layer("xattr-1-mb", "an extended attribute of 1 MiB", entry("x", records={xattr("user.big"): b"x" * MIB}))
    layer("xattr-65537", "an extended attribute one byte beyond Linux's 64 KiB", entry("x", records={xattr("user.big"): b"x" * 65_537}))
    layer("xattr-name-256", "an extended attribute's name one byte beyond Linux's 255", entry("x", records={xattr("user." + "k" * 251): "v"}))
    layer("xattr-no-name", "an extended attribute without a name", entry("x", records={xattr(""): "v"}), expect="either")
    layer("xattr-no-namespace", "an extended attribute of no namespace", entry("x", records={xattr("nonsense"): "v"}), expect="either")
    layer("xattr-10000", "10,000 extended attributes on one file", entry("x", records={xattr(f"user.{i}"): "v" for i in range(10_000)}))
    layer("pax-duplicate-keys", "a PAX header with path twice: the last one counts",
          entry("x", records=[("path", "first"), ("path", "second")]), expect="ok", present=["second"], absent=["first", "x"])
    layer("pax-record-length-0", "a PAX record of length 0", raw(b"0 path=x\n"), header("x"))
    layer("pax-record-too-long", "a PAX record that claims more than there is", raw(b"999 path=x\n"), header("x"))
    layer("pax-record-huge", "a PAX record's length has 40 digits", raw(b"9" * 40 + b" path=x\n"), header("x"))
    layer("pax-record-no-equals", "a PAX record without =", raw(b"8 pathx\n"), header("x"))
    layer("pax-record-no-newline", "a PAX record without its newline", raw(b"10 path=xyz"), header("x"))
    layer("pax-claims-1-gib", "a PAX header that claims 1 GiB", header("x", PAX, size=GIB))
    layer("pax-at-end", "a PAX header that nothing follows", pax({"path": "x"}), expect="either")
    layer("pax-nul-in-path", "a PAX path with a NUL", entry("x", records={"path": b"a\0b"}))
    layer("pax-empty-path", "a PAX path that is empty", entry("kept", records={"path": ""}), expect="either")
    layer("pax-global", "a global PAX header, as git archive writes it", pax({"comment": "0" * 40}, PAX_GLOBAL), entry("x"),
          expect="ok", present=["x"], absent=["pax_global_header"])
    layer("pax-global-path", "a global PAX header that renames every entry", pax({"path": "all"}, PAX_GLOBAL), entry("x"), expect="either")
    layer("gnu-long-claims-1-gib", "a GNU long name that claims 1 GiB", header("././@LongLink", GNU_LONGNAME, size=GIB))
    layer("gnu-long-1-mb", "a GNU long name of 1 MiB", gnu_long("n/" * (MIB // 2), GNU_LONGNAME), entry("x"))
    layer("gnu-long-at-end", "a GNU long name that nothing follows", gnu_long("n" * 200, GNU_LONGNAME), expect="either")


def sparse_faults():
    """Maps of sparse files."""
    def old(name, wrong, islands, real, size=512):
        table = b"".join(number(a, 12) + number(b, 12) for a, b in islands)
        tail = bytes(41) + table.ljust(96, b"\0") + b"\0" + number(real, 12)
        layer(name, wrong, header("x", GNU_SPARSE, size=size, magic=b"ustar  \0", tail=tail), bytes(size))
    old("sparse-overlap", "the islands of a sparse file overlap", ((0, 512), (256, 512)), 2048, 1024)
    old("sparse-backwards", "the islands of a sparse file go backwards", ((4096, 512), (0, 512)), 8192, 1024)
    old("sparse-beyond", "an island lies beyond the file's size", ((1 << 40, 512),), 4096)
    old("sparse-overflow", "an island's end is beyond 2^63", (((1 << 63) - 256, 512),), (1 << 63) - 1)
    old("sparse-too-little", "the islands have more than is stored", ((0, 4096),), 8192)
    old("sparse-8-eib", "a sparse file of 8 EiB that is all hole but 512 bytes", ((0, 512),), (1 << 63) - 1)
    records = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x", "GNU.sparse.realsize": "1024"}
    layer("sparse-map-count", "a sparse map claims 10^18 islands", entry("x", data=b"1" + b"0" * 18 + b"\n" + bytes(492), records=records))
    layer("sparse-map-text", "a sparse map that is no numbers", entry("x", data=b"many\n".ljust(512, b"x"), records=records))
    layer("sparse-map-endless", "a sparse map without a newline", entry("x", data=b"1" * 2 * MIB, records=records))


def paths():
    """Names in a layer."""
    layer("dotdot", "an entry ../../escape", entry("../../moat-bad-escape", data=b"x"))
    layer("dotdot-inside", "an entry a/../../escape", entry("a/../../moat-bad-escape", data=b"x"))
    layer("dotdot-only", "an entry called ..", entry("..", DIR))
    layer("legit-absolute", "an entry with an absolute name", entry("/absolute", data=b"x"), expect="ok", present=["absolute"])
    layer("root-symlink", "the root directory becomes a symlink", entry("./", SYMLINK, link="/etc"))
    layer("root-file", "the root directory becomes a file", entry(".", FILE, b"x"))
    layer("name-empty", "an entry without a name", entry("", data=b"x"))
    deep = "/".join(["d"] * 5000)
    layer("path-5000-deep", "a path of 5,000 components", entry("x", data=b"x", records={"path": deep}))
    layer("name-300", "a name of 300 bytes", entry("x", data=b"x", records={"path": "n" * 300}))
    layer("path-1-mb", "a path of 1 MiB", entry("x", data=b"x", records={"path": ("p" * 200 + "/") * (MIB // 201)}))
    layer("link-5000", "a symlink's target is beyond 4,095 bytes", entry("x", SYMLINK, records={"linkpath": "t" * 5000}))
    layer("link-empty", "a symlink without a target", entry("x", SYMLINK))
    layer("ancestor-file", "a file is the directory of another entry", entry("hello/below", data=b"x"))
    layer("ancestor-file-below", "a file of a lower layer is the directory of an entry", entry("file/below", data=b"x"),
          below=(entry("file", data=b"x") + END,), expect="either")
    layer("ancestor-device", "a device is the directory of another entry", entry("dev", CHAR, major=1, minor=3), entry("dev/below"))
    layer("ancestor-loop", "a symlink to itself is the directory of another entry", entry("loop", SYMLINK, link="loop"), entry("loop/x"))
    layer("ancestor-loop-below", "two symlinks of a lower layer that go round are a directory", entry("a/x"),
          below=(entry("a", SYMLINK, link="b") + entry("b", SYMLINK, link="a") + END,), expect="either")
    chain = [entry(f"l{i}", SYMLINK, link=f"l{i + 1}") for i in range(300)]
    layer("ancestor-chain", "a chain of 300 symlinks is a directory (Linux follows 40)", *chain, entry("l300/", DIR), entry("l0/x"))
    layer("ancestor-climbs", "a symlink out of the root is a directory: it ends at the root",
          entry("up", SYMLINK, link="../../../.."), entry("up/moat-bad-escape"), expect="either", present=["up"])
    layer("slash-file", "a regular file whose name ends in a slash", entry("x/", data=b"x"), expect="either")


def links_and_whiteouts():
    """Hard links to what cannot be linked to, whiteouts of what cannot go."""
    layer("hardlink-missing", "a hard link to nothing", entry("x", HARDLINK, link="nowhere"))
    layer("hardlink-later", "a hard link to an entry that comes later", entry("x", HARDLINK, link="y"), entry("y"))
    layer("hardlink-directory", "a hard link to a directory", entry("d/", DIR), entry("x", HARDLINK, link="d"))
    layer("hardlink-self", "a hard link to itself", entry("x", HARDLINK, link="x"))
    layer("hardlink-climbs", "a hard link to ../../../../etc/passwd", entry("x", HARDLINK, link="../../../../etc/passwd"))
    layer("hardlink-host", "a hard link to a file the host has and the image has not", entry("x", HARDLINK, link="/etc/passwd"))
    layer("hardlink-removed", "a hard link to a file this layer has removed", entry(".wh.gone"), entry("x", HARDLINK, link="gone"),
          below=(entry("gone") + END,))
    layer("hardlink-whiteout", "a whiteout that is a hard link", entry(".wh.gone", HARDLINK, link="hello"), expect="either",
          below=(entry("gone") + END,))
    below = (entry("a/", DIR) + entry("a/kept") + END,)
    layer("whiteout-dot", "a whiteout of the directory it is in (.wh..)", entry("a/.wh.."), below=below)
    layer("whiteout-root", "a whiteout of the root (.wh..)", entry(".wh.."), below=below)
    layer("whiteout-dotdot", "a whiteout of the parent (.wh...)", entry("a/.wh..."), below=below)
    layer("whiteout-empty", "a whiteout without a name (.wh.)", entry("a/.wh."), below=below)
    layer("whiteout-as-directory", "a whiteout that has a child", entry(".wh.a/", DIR), entry(".wh.a/x"), below=below, expect="either")
    layer("whiteout-aufs", "aufs's own .wh..wh.plnk", entry(".wh..wh.plnk/", DIR), below=below, expect="either", present=["a/kept"])


def main():
    """Writes every case."""
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    for part in (archives, outer_names, compression, digests, manifests, configs, sizes, pax_faults, sparse_faults,
                 paths, links_and_whiteouts):
        part()
    for case, content in CASES:
        with open(f"{out}/{case['file']}", "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
    with open(f"{out}/cases.json", "w", encoding="utf-8") as file:
        json.dump([case for case, _ in CASES], file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
