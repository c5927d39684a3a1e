"""store.py DIST RUNS: what commands cost when there are many images, and many containers.

The images are tiny and all different; they share their lowest layer, as images do in practice. No VM is started.
"""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile

import common

COUNTS = (1, 300, 2000)
CONTAINERS = 1000
# The most images that Moat takes from one archive.
IN_AN_ARCHIVE = 1000
# What is measured belongs to this image; the others are there.
MEASURED = "localhost/measured"
# Is removed in each run, and loaded again.
REMOVED = "localhost/removed"


def member(archive, name, content):
    header = tarfile.TarInfo(name)
    header.size = len(content)
    archive.addfile(header, io.BytesIO(content))


def layer(name, content):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member(archive, name, content)
    return buffer.getvalue()


def write_archive(path, names):
    """An archive as `docker save` writes it, with one image for each name."""
    shared = layer("shared", b"shared")
    with tarfile.open(path, "w") as archive:
        member(archive, "shared/layer.tar", shared)
        manifest = []
        for name in names:
            own = layer("own", name.encode())
            config = json.dumps({
                "architecture": "amd64", "os": "linux", "created": "2024-01-01T00:00:00Z", "config": {"Cmd": ["/own"]},
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"
                                                          for tar in (shared, own)]},
            }).encode()
            file, directory = f"{hashlib.sha256(config).hexdigest()}.json", hashlib.sha256(own).hexdigest()
            member(archive, f"{directory}/layer.tar", own)
            member(archive, file, config)
            layers = ["shared/layer.tar", f"{directory}/layer.tar"]
            manifest.append({"Config": file, "RepoTags": [name], "Layers": layers})
        member(archive, "manifest.json", json.dumps(manifest).encode())


def load_others(moat, directory, count):
    """Makes the store have `count` images."""
    names = [f"localhost/other{number}:1" for number in range(count - 1)]
    for start in range(0, len(names), IN_AN_ARCHIVE):
        path = os.path.join(directory, "others.tar")
        write_archive(path, names[start:start + IN_AN_ARCHIVE])
        moat.run("load", "-q", "-i", path)


def repeated(command, runs, before=None, after=None):
    """The times of a command; what comes before and after it is not measured."""
    times = []
    for _ in range(runs):
        if before:
            subprocess.run(before, check=True, stdout=subprocess.DEVNULL)
        times.append(common.timed(command))
        if after:
            subprocess.run(after, check=True, stdout=subprocess.DEVNULL)
    return times


def measure(moat, removed, runs):
    """The times of each command with the images and containers that there are."""
    create = moat.command("create", "--name", "measured", MEASURED)
    remove = moat.command("rm", "measured")
    return {
        "`image inspect`": repeated(moat.command("image", "inspect", MEASURED), runs),
        "`create`": repeated(create, runs, after=remove),
        "`rm`": repeated(remove, runs, before=create),
        "`rmi`": repeated(moat.command("rmi", REMOVED), runs, before=moat.command("load", "-q", "-i", removed)),
        "`images -q`": repeated(moat.command("images", "-q"), runs),
        "`ps -a`": repeated(moat.command("ps", "-a"), runs),
    }


def median(times):
    middle = sorted(times)[len(times) // 2]
    return f"{middle * 1000:.1f} ms"


def main():
    dist, runs = sys.argv[1], int(sys.argv[2])
    with tempfile.TemporaryDirectory(prefix="moat-bench-") as directory:
        own, removed = (os.path.join(directory, name) for name in ("own.tar", "removed.tar"))
        write_archive(own, [f"{MEASURED}:latest"])
        write_archive(removed, [f"{REMOVED}:latest"])
        columns = {}
        for count in COUNTS:
            with common.Moat(dist, own) as moat:
                load_others(moat, directory, count)
                found = len(moat.run("images", "-q").split())
                assert found == count, f"{found} of {count} images are listed"
                columns[f"{count:,} images"] = measure(moat, removed, runs)
                if count == COUNTS[-1]:
                    for number in range(CONTAINERS):
                        moat.run("create", "--name", f"c{number}", MEASURED)
                    columns[f"and {CONTAINERS:,} containers"] = measure(moat, removed, runs)
    print(f"Medians of {runs} runs:\n")
    first = next(iter(columns.values()))
    common.table(("what", *columns), [(what, *(median(column[what]) for column in columns.values())) for what in first])


main()
