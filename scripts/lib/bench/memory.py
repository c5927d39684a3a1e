"""memory.py DIST ARCHIVE: what an idle container costs the host."""

import os
import sys
import time

import common

MEMORY_MIB = 128
# What is freed at the end of a boot is reported in batches some seconds apart.
SETTLE = 20


def kib(value):
    return f"{value / 1024:.0f} KiB"


def process(arguments):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if all(any(word.endswith(argument.encode()) for word in words) for argument in arguments):
            return pid
    raise SystemExit(f"no process with {arguments}")


def total(mappings, key):
    return sum(m.get(key, 0) for m in mappings)


def private(mappings):
    return total(mappings, "Private_Clean") + total(mappings, "Private_Dirty")


def look(moat, network):
    """The mappings of the VM's process that are its own, those that are the guest's memory, and the monitor's."""
    run = ("run", "-d", "--network", network, "--memory", f"{MEMORY_MIB}m", "localhost/busybox", "sleep", "100000")
    container = moat.run(*run).strip()
    time.sleep(SETTLE)
    with open(f"/sys/fs/cgroup/moat/{container}/cgroup.procs") as file:
        vmm = common.smaps(file.read().split()[0])
    monitor = common.smaps(process(["moat-monitor", container]))
    moat.run("rm", "-f", container)
    # The guest's memory is by far the largest mapping; it may be split where pages went back.
    guest = [m for m in vmm if m["name"] == "" and m["Size"] >= MEMORY_MIB << 19]
    return [m for m in vmm if m not in guest], guest, monitor


def main():
    dist, archive = sys.argv[1:]
    print(f"An idle container (`sleep`) with {MEMORY_MIB} MiB, {SETTLE} s after its start:\n")
    rows = []
    with common.Moat(dist, archive) as moat:
        for network in ("none", "bridge"):
            own, guest, monitor = look(moat, network)
            parts = (("moat-vmm without the guest's pages", own), ("monitor", monitor), ("the guest's own pages", guest))
            rows += [(f"{what}, --network {network}", kib(total(maps, "Rss")), kib(private(maps))) for what, maps in parts]
    common.table(("what", "resident", "private"), rows)


main()
