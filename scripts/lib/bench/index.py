"""index.py PROGRAM LAYOUT MANY_FILES_LAYOUT RUNS: from layer to mountable disk.

Ours reads the plain tars that the store keeps. mkfs.erofs of Debian 12 cannot read tars, so it gets the tree that umoci
unpacked. umoci reads the layout with its gzip layers, so its time has an inflating in it that the others are spared.
"""

import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile

import common


def blob(layout, digest):
    return os.path.join(layout, "blobs", *digest.split(":"))


def layers(layout, directory):
    """The image's layers as plain tars."""
    with open(os.path.join(layout, "index.json")) as file:
        index = json.load(file)
    with open(blob(layout, index["manifests"][0]["digest"])) as file:
        manifest = json.load(file)
    paths = []
    for number, layer in enumerate(manifest["layers"]):
        path = os.path.join(directory, f"layer-{number}.tar")
        opener = gzip.open if layer["mediaType"].endswith("gzip") else open
        with opener(blob(layout, layer["digest"]), "rb") as source, open(path, "wb") as target:
            shutil.copyfileobj(source, target)
        paths.append(path)
    return paths


def case(program, name, layout, runs):
    with tempfile.TemporaryDirectory(prefix="moat-bench-") as directory:
        tars = layers(layout, directory)
        out, flat, bundle = (os.path.join(directory, part) for part in ("index", "flat.erofs", "bundle"))
        unpack = ["sh", "-c", 'rm -rf "$1"; umoci unpack --image "$2:latest" "$1"', "sh", bundle, layout]
        subprocess.run(unpack, check=True, stderr=subprocess.DEVNULL)
        tree = os.path.join(bundle, "rootfs")
        times = common.interleaved({
            "index of the layers in place": [program, *tars, "-o", out],
            "`mkfs.erofs` of the unpacked tree": ["sh", "-c", 'rm -f "$1"; mkfs.erofs "$1" "$2"', "sh", flat, tree],
            "`umoci unpack`": unpack,
        }, runs)
        size = sum(map(os.path.getsize, tars))
        print(f"{name}: {size / 1e6:.0f} MB, index {os.path.getsize(out) / 1e3:.0f} kB, {runs} runs each, in turn:\n")
        common.compare(times)


def main():
    program, layout, many, runs = sys.argv[1:]
    case(program, "PostgreSQL on Debian, one layer", layout, int(runs))
    case(program, "100,000 small files", many, int(runs))


main()
