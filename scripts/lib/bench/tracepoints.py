"""The kernel's tracepoints (tracefs): what happened while something ran."""

import collections
import os
import re

TRACING = "/sys/kernel/tracing"
LINE = re.compile(r"^\s*(?P<task>.+)-(?P<pid>\d+)\s+\[\d+\].*?\s(?P<time>[\d.]+): (?P<event>\w+)(:|\()\s*(?P<rest>.*)$")

# When, in seconds of a clock of its own; who, by name and number; what, and what is told of it.
Event = collections.namedtuple("Event", "time task pid name rest")


def write(name, value):
    with open(os.path.join(TRACING, name), "w") as file:
        file.write(value)


def record(events, action):
    """Runs `action` with tracepoints such as "kvm/kvm_exit" on, and returns what they saw, in order."""
    write("tracing_on", "0")
    write("trace", "")
    write("buffer_size_kb", "65536")
    for event in events:
        write(f"events/{event}/enable", "1")
    try:
        write("tracing_on", "1")
        action()
        write("tracing_on", "0")
        with open(os.path.join(TRACING, "trace")) as file:
            matches = [LINE.match(line) for line in file]
    finally:
        for event in events:
            write(f"events/{event}/enable", "0")
        write("trace", "")
    return [Event(float(m["time"]), m["task"].strip(), m["pid"], m["event"], m["rest"]) for m in matches if m]
