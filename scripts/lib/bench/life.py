"""life.py DIST ARCHIVE RUNS [PART...]: exec and start against podman, listing, memory that comes back, fifty starts at
once; or only some of these: podman, listing, memory, many."""

import concurrent.futures
import os
import shutil
import subprocess
import sys
import tempfile
import time

import common

IMAGE = "localhost/busybox"
LISTED = 1000
AT_ONCE = 50
# What is freed is reported in batches some seconds apart.
SETTLE = 20


class Podman:
    """podman with storage of its own that is removed at the end: no network, no daemon, the same image."""

    def __init__(self, archive):
        self.root = tempfile.mkdtemp(prefix="moat-bench-podman-")
        self.run("load", "-q", "-i", archive)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(self.command("rm", "-fa", "-t", "0"), stdout=subprocess.DEVNULL, check=False)
        subprocess.run(self.command("rmi", "-fa"), stdout=subprocess.DEVNULL, check=False)
        shutil.rmtree(self.root, ignore_errors=True)

    def command(self, *args):
        return ["podman", "--root", f"{self.root}/root", "--runroot", f"{self.root}/run", "--storage-driver", "vfs",
                "--cgroup-manager", "cgroupfs", "--events-backend", "none", *args]

    def run(self, *args):
        return subprocess.run(self.command(*args), check=True, stdout=subprocess.PIPE, text=True).stdout

    def create(self, name, *command):
        self.run("create", "--network", "none", "--name", name, f"{IMAGE}:latest", *command)


def against_podman(moat, podman, runs):
    moat.run("run", "-d", "--name", "box", IMAGE, "sleep", "100000")
    podman.create("box", "sleep", "100000")
    podman.run("start", "box")
    print("`exec box true`, from the command to its exit:\n")
    common.compare(common.interleaved({
        "`moat exec`": moat.command("exec", "box", "true"),
        "`podman exec` (crun, no virtual machine)": podman.command("exec", "box", "true"),
    }, runs))
    moat.run("create", "--name", "job", IMAGE, "true")
    podman.create("job", "true")
    print("`start -a` of a stopped container whose command is `true`:\n")
    common.compare(common.interleaved({
        "`moat start -a`": moat.command("start", "-a", "job"),
        "`podman start -a` (crun, no virtual machine)": podman.command("start", "-a", "job"),
    }, runs))


def listing(moat, runs):
    before = time.monotonic()
    for number in range(LISTED):
        moat.run("create", "--name", f"c{number}", IMAGE)
    created = (time.monotonic() - before) / LISTED
    print(f"With {LISTED} containers ({created * 1000:.1f} ms for each `create`):\n")
    common.compare(common.interleaved({
        "`moat ps -a`": moat.command("ps", "-a"),
        "`moat ps -aq`": moat.command("ps", "-aq"),
        "`moat ps -as`": moat.command("ps", "-as"),
    }, runs))
    listed = len(moat.run("ps", "-aq").split())
    assert listed == LISTED, f"{listed} of {LISTED} are listed"
    moat.run("rm", *(f"c{number}" for number in range(LISTED)))


def wait_for_line(moat, name):
    """`run -d` is done when the process runs: it may not have had the processor yet."""
    deadline = time.monotonic() + 300
    while (said := moat.run("logs", name)) != f"{name}\n":
        assert said == "" and time.monotonic() < deadline, f"the log of {name}: {said!r}"
        time.sleep(0.5)


def many_at_once(moat):
    names = [f"n{number}" for number in range(AT_ONCE)]

    def start(name):
        before = time.monotonic()
        moat.run("run", "-d", "--name", name, "--memory", "96m", IMAGE, "sh", "-c", f"echo {name}; sleep 100000")
        return time.monotonic() - before

    before = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        each = sorted(pool.map(start, names))
    total = time.monotonic() - before
    running = moat.run("ps", "-q").split()
    assert len(running) == AT_ONCE, f"{len(running)} of {AT_ONCE} run"
    for name in names:
        wait_for_line(moat, name)
    resident = sum(resident_of(id) for id in moat.run("ps", "-q", "--no-trunc").split())
    moat.run("rm", "-f", *names)
    print(f"{AT_ONCE} containers with 96 MiB started at once, each seen running and its output read:\n")
    common.table(("what", "figure"), [
        ("all of them run after", f"{total:.1f} s"),
        ("for each", f"{total / AT_ONCE * 1000:.0f} ms"),
        ("slowest `run -d`", f"{each[-1]:.1f} s"),
        ("resident, all VMs", f"{resident / 2**20:.0f} MiB"),
    ])


def resident_of(container):
    with open(f"/sys/fs/cgroup/moat/{container}/cgroup.procs") as file:
        return sum(m.get("Rss", 0) for m in common.smaps(file.read().split()[0]))


def memory_comes_back(moat):
    container = moat.run("run", "-d", "--name", "mem", "--memory", "512m", "--shm-size", "400m", IMAGE, "sleep",
                         "100000").strip()
    time.sleep(SETTLE)
    idle = resident_of(container)
    moat.run("exec", "mem", "dd", "if=/dev/zero", "of=/dev/shm/x", "bs=1M", "count=300")
    full = resident_of(container)
    moat.run("exec", "mem", "rm", "/dev/shm/x")
    time.sleep(SETTLE)
    after = resident_of(container)
    moat.run("rm", "-f", "mem")
    print("Memory of a container with 512 MiB on the host:\n")
    common.table(("when", "resident"), [
        ("idle", f"{idle / 2**20:.0f} MiB"),
        ("300 MiB written to /dev/shm", f"{full / 2**20:.0f} MiB"),
        (f"{SETTLE} s after they were removed", f"{after / 2**20:.0f} MiB"),
    ])


def main():
    dist, archive, runs, *wanted = sys.argv[1:]
    for part in wanted or PARTS:
        # Each in a root of its own.
        with common.Moat(dist, archive) as moat:
            PARTS[part](moat, archive, int(runs))


def with_podman(moat, archive, runs):
    with Podman(archive) as podman:
        against_podman(moat, podman, runs)


PARTS = {
    "podman": with_podman,
    "listing": lambda moat, _, runs: listing(moat, runs),
    "memory": lambda moat, _, __: memory_comes_back(moat),
    "many": lambda moat, _, __: many_at_once(moat),
}


main()
