"""pull.py DIST RUNS NAME=LAYOUT...: from a registry on loopback to something that can run.

`moat pull` ends with a disk, `podman pull` with unpacked layers, `skopeo copy` and `umoci unpack` with a bundle. `curl`
and `gzip` only fetch and inflate the layers, one after the other, and check nothing. Each run begins with nothing.
Memory is the peak of the largest process, disk what du counts afterwards.
"""

import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import common


def registry(directory):
    """Starts docker-registry on a port of its own; the process and its address."""
    config = os.path.join(directory, "config.yml")
    with open(config, "w") as file:
        file.write('version: 0.1\nlog: {level: info, formatter: text}\nhttp: {addr: "127.0.0.1:0"}\n'
                   f"storage: {{filesystem: {{rootdirectory: {directory}/data}}}}\n")
    log = open(os.path.join(directory, "log"), "w+")
    child = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
    while True:
        with open(log.name) as file:
            found = re.search(r"listening on (127\.0\.0\.1:\d+)", file.read())
        if found:
            return child, found[1]
        if child.poll() is not None:
            sys.exit("docker-registry does not start, see " + log.name)
        time.sleep(0.1)


def measure(command):
    """Seconds, and the peak memory of the largest process in bytes."""
    pid = os.fork()
    if pid == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(null, number)
        os.execvp(command[0], command)
    before = time.monotonic()
    _, status, usage = os.wait4(pid, 0)
    took = time.monotonic() - before
    if status:
        sys.exit(f"{command} failed")
    return took, usage.ru_maxrss * 1024


def taken(directory):
    return int(subprocess.run(["du", "-s", "-B1", directory], check=True, stdout=subprocess.PIPE).stdout.split()[0])


def layers(layout):
    """The digests of an image's layers."""
    def blob(descriptor):
        with open(os.path.join(layout, "blobs", *descriptor["digest"].split(":"))) as file:
            return json.load(file)

    with open(os.path.join(layout, "index.json")) as file:
        (manifest,) = json.load(file)["manifests"]
    return [layer["digest"] for layer in blob(manifest)["layers"]]


def case(dist, name, layout, runs):
    with tempfile.TemporaryDirectory(prefix="moat-bench-") as directory:
        child, address = registry(directory)
        try:
            source = f"{address}/{name}:1"
            subprocess.run(["skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{layout}:latest",
                            f"docker://{source}"], check=True)
            place = os.path.join(directory, "place")
            podman = ["podman", "--root", f"{place}/root", "--runroot", f"{place}/run"]
            both = ('skopeo copy -q --src-tls-verify=false "docker://$1" "oci:$2/layout:1" && '
                    'umoci unpack --image "$2/layout:1" "$2/bundle"')
            inflate = 'place=$1 blobs=$2; shift 2; for it; do curl -sf "$blobs/$it" | gzip -dc >"$place/$it" || exit; done'
            commands = {
                "`moat pull`": [os.path.join(dist, "bin", "moat"), "--root", place, "pull", "-q", source],
                "`podman pull`": [*podman, "pull", "-q", "--tls-verify=false", source],
                "`skopeo copy` and `umoci unpack`": ["sh", "-c", both, "sh", source, place],
                "`curl` and `gzip -d`": ["sh", "-c", inflate, "sh", place, f"http://{address}/v2/{name}/blobs",
                                         *layers(layout)],
            }
            results = {what: [] for what in commands}
            for _ in range(runs):
                for what, command in commands.items():
                    os.makedirs(place)
                    seconds, memory = measure(command)
                    results[what].append((seconds, memory, taken(place)))
                    shutil.rmtree(place, ignore_errors=True)
                    subprocess.run(["rm", "-rf", place], check=True)
        finally:
            child.terminate()
            child.wait()
    print(f"{name}, {runs} runs each, in turn:\n")
    base = statistics.median(one[0] for one in results["`moat pull`"])
    rows = []
    for what, values in results.items():
        seconds, memory, disk = (statistics.median(column) for column in zip(*values))
        rows.append((what, f"{seconds * 1000:.0f} ms", f"{seconds / base:.1f}", f"{memory / 1e6:.0f} MB",
                     f"{disk / 1e6:.0f} MB"))
    common.table(("what", "median", "against the first", "peak memory", "on the disk"), rows)


def main():
    dist, runs, *images = sys.argv[1:]
    for image in images:
        name, layout = image.split("=", 1)
        case(dist, name, layout, int(runs))


main()
