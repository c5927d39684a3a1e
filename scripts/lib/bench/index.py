"""index.py PROGRAM LAYOUT MANY_FILES_LAYOUT RUNS: from layer to mountable disk.

The layers are uncompressed first: all three tools would do the same inflating. mkfs.erofs of Debian 12 cannot read tars,
so it gets the tree that umoci unpacked.
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


def concatenated(paths, directory, wanted):
    """One layer of at least `wanted` bytes: the same tree several times over, each below a directory of its own."""
    path = os.path.join(directory, "large.tar")
    tree = os.path.join(directory, "tree")
    for copy in range(64):
        target = os.path.join(tree, f"copy-{copy}")
        os.makedirs(target)
        for layer in paths:
            subprocess.run(["tar", "-xf", layer, "-C", target, "--exclude=./dev/*", "--exclude=dev/*"], check=True)
        subprocess.run(["tar", "-cf", path, "-C", tree, "."], check=True)
        if os.path.getsize(path) >= wanted:
            break
    return path, tree


def case(program, name, tars, tree, directory, runs):
    out = os.path.join(directory, "index")
    flat = os.path.join(directory, "flat.erofs")
    layout = os.path.join(directory, "oci")
    subprocess.run(["umoci", "init", "--layout", layout], check=True)
    subprocess.run(["umoci", "new", "--image", f"{layout}:x"], check=True)
    for tar in tars:
        subprocess.run(["umoci", "raw", "add-layer", "--compress", "none", "--image", f"{layout}:x", tar],
                       check=False, stderr=subprocess.DEVNULL).returncode == 0 or \
            subprocess.run(["umoci", "raw", "add-layer", "--image", f"{layout}:x", tar], check=True)
    bundle = os.path.join(directory, "bundle")
    size = sum(map(os.path.getsize, tars))
    times = common.interleaved({
        "index of the layer in place": [program, *tars, "-o", out],
        "`mkfs.erofs` of the unpacked tree": ["sh", "-c", 'rm -f "$1"; mkfs.erofs "$1" "$2"', "sh", flat, tree],
        "`umoci unpack`":
            ["sh", "-c", 'rm -rf "$1"; umoci unpack --image "$2" "$1"', "sh", bundle, f"{layout}:x"],
    }, runs)
    print(f"{name}: {size / 1e6:.0f} MB, index {os.path.getsize(out) / 1e3:.0f} kB, {runs} runs each, in turn:\n")
    common.compare(times)


def main():
    program, layout, many, runs = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="moat-bench-") as directory:
        first = os.path.join(directory, "first")
        os.mkdir(first)
        large, tree = concatenated(layers(layout, first), first, 350_000_000)
        case(program, "A large layer", [large], tree, first, int(runs))
    with tempfile.TemporaryDirectory(prefix="moat-bench-") as directory:
        tars = layers(many, directory)
        tree = os.path.join(directory, "tree")
        os.mkdir(tree)
        for tar in tars:
            subprocess.run(["tar", "-xf", tar, "-C", tree], check=True)
        case(program, "100,000 small files", tars, tree, directory, int(runs))


main()
