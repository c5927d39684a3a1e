"""What the measuring programs share: running moat in a root of its own, and printing tables."""

import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time


DEFAULT_ROOT = "/var/lib/moat"


class Moat:
    """The moat program with a root directory that is removed at the end. The testbed's usual one is empty and can be used:
    its default network keeps its bridge, as people's does, while that of another root has one only as long as it is used.
    """

    def __init__(self, dist, archive):
        self.dist = dist
        self.program = os.path.join(dist, "bin", "moat")
        self.root = DEFAULT_ROOT if "MOAT_IN_TESTBED" in os.environ else tempfile.mkdtemp(prefix="moat-bench-")
        self.run("load", "-q", "-i", archive)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        ids = self.run("ps", "-aq").split()
        if ids:
            self.run("rm", "-f", *ids)
        for name in os.listdir(self.root):
            path = os.path.join(self.root, name)
            shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.remove(path)
        if self.root != DEFAULT_ROOT:
            os.rmdir(self.root)

    def command(self, *args):
        return [self.program, "--root", self.root, *args]

    def run(self, *args):
        return subprocess.run(self.command(*args), check=True, stdout=subprocess.PIPE, text=True).stdout

    def artifact(self, name):
        return os.path.join(self.dist, "libexec", "moat", name)


def timed(command):
    """Runs a command to its end and returns the seconds it took; a failure is no measurement."""
    before = time.monotonic()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return time.monotonic() - before


def interleaved(commands, runs):
    """Times several commands in turn, so that a machine whose speed drifts slows all of them alike; each turn is in another
    order (the same in every call), because the kernel goes on tidying up after a command that has ended."""
    times = {name: [] for name in commands}
    for command in commands.values():
        timed(command)
    order, chance = list(commands), random.Random(1)
    for _ in range(runs):
        chance.shuffle(order)
        for name in order:
            times[name].append(timed(commands[name]))
    return times


def table(header, rows):
    """Prints a Markdown table."""
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print()


def compare(times, unit="ms", scale=1000.0):
    """A table of medians, with ratios to the first of them taken run by run."""
    first = next(iter(times.values()))
    rows = []
    for name, values in times.items():
        ratios = [value / base for value, base in zip(values, first)]
        rows.append((
            name,
            f"{statistics.median(values) * scale:.1f} {unit}",
            f"{min(values) * scale:.1f} to {max(values) * scale:.1f}",
            f"{statistics.median(ratios):.2f}",
        ))
    table(("what", "median", "range", "against the first"), rows)


def smaps(pid):
    """The mappings of a process: (size, resident, private) in bytes and the name of each."""
    mappings = []
    with open(f"/proc/{pid}/smaps") as file:
        for line in file:
            words = line.split()
            if not words[0].endswith(":"):
                mappings.append({"name": " ".join(words[5:])})
            elif words[-1] == "kB":
                mappings[-1][words[0][:-1]] = int(words[1]) * 1024
    return mappings
