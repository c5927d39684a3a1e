"""Gives the tests that need KVM to two testbeds, each of which takes the next call when it is done with one.

A call is one run of a test program in a testbed. What it prints is shown whole when it is over. No call is made twice.
The exit status is 0 if every call succeeded, 1 if one failed, and 128 + N after signal N.
"""

import argparse
import collections
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

# The values of MOAT_TESTBED_MACHINE: the usual machine, and one beside it that is taken down at the end.
MACHINES = ("", "second")
# How many tests one call of a grouped program runs: those of one call share the images that they load.
GROUP = 4
# How long an interrupted call may take to end, in seconds. `testbed run` gives up on its machine before.
GRACE = 30
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """A signal asks this program to end."""


class Calls:
    """The calls that are still to be made, and those that are being made."""

    def __init__(self, testbed, calls):
        self.testbed = testbed
        self.waiting = collections.deque(calls)
        self.running = set()
        self.failed = False
        self.stopped = False
        # Held for changing any of the above, and while output is written.
        self.lock = threading.Lock()

    def start(self, machine, *words, **streams):
        """Starts the testbed's script in a process group of its own, so that only this program passes signals on."""
        environment = {**os.environ, "MOAT_TESTBED_MACHINE": machine}
        return subprocess.Popen(
            [self.testbed, *words], env=environment, stdin=subprocess.DEVNULL, start_new_session=True, **streams
        )

    def begin(self, machine, *words):
        """As `start`, for what an interruption ends; nothing after an interruption."""
        with self.lock:
            if self.stopped:
                return None
            process = self.start(machine, *words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.running.add(process)
            return process

    def make(self, machine, *words):
        """Runs the testbed's script to its end and shows what it printed; whether it succeeded."""
        process = self.begin(machine, *words)
        if process is None:
            return False
        output, _ = process.communicate()
        with self.lock:
            self.running.remove(process)
            sys.stdout.buffer.write(output)
            if process.returncode != 0:
                self.failed = True
                print(f"testbeds: exit status {process.returncode}: testbed {' '.join(words)}")
            sys.stdout.flush()
        return process.returncode == 0

    def next(self):
        with self.lock:
            return self.waiting.popleft() if self.waiting and not self.stopped else None

    def serve(self, machine):
        """Makes the calls that the other machine does not make. A machine that does not start makes none."""
        if not self.make(machine, "up"):
            return
        while (call := self.next()) is not None:
            self.make(machine, "run", "--", *call)

    def stop(self, threads):
        """Ends what is running, and lets nothing more start."""
        with self.lock:
            self.stopped = True
        started = [thread for thread in threads if thread.ident is not None]
        self.kill(signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        for thread in started:
            thread.join(max(0, deadline - time.monotonic()))
        self.kill(signal.SIGKILL)
        for thread in started:
            thread.join()

    def kill(self, number):
        with self.lock:
            for process in self.running:
                # The group may have ended by itself, and its thread not noticed yet.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)

    def down(self, machine):
        return self.start(machine, "down").wait() == 0


def tests_of(program, words=()):
    listed = subprocess.run([program, *words, "--list"], check=False, stdout=subprocess.PIPE, text=True).stdout
    names = [line.removesuffix(": test") for line in listed.splitlines() if line.endswith(": test")]
    if not names:
        sys.exit(f"testbeds: {program} lists no test" + (f" for: {' '.join(words)}" if words else ""))
    return names


def calls_of(arguments):
    for program in arguments.single:
        yield from ([program, "--exact", name] for name in tests_of(program))
    names = tests_of(arguments.grouped, arguments.words)
    options = [word for word in arguments.words if word == "--include-ignored"]
    for start in range(0, len(names), GROUP):
        yield [arguments.grouped, *options, "--exact", *names[start : start + GROUP]]


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--testbed", required=True, help="the script that runs a command in a testbed")
    parser.add_argument("--single", action="append", default=[], metavar="PROGRAM", help="one test in each call")
    parser.add_argument("--grouped", required=True, metavar="PROGRAM", help="a few tests in each call")
    parser.add_argument("words", nargs="*", help="filters and options of the grouped program")
    return parser.parse_args()


def interrupt(number, _frame):
    # Once is enough: what follows ends by itself. What is started from now on has the default again.
    for other in SIGNALS:
        signal.signal(other, lambda *_: None)
    raise Interrupted(number)


def main():
    arguments = parse()
    calls = Calls(arguments.testbed, calls_of(arguments))
    threads = [threading.Thread(target=calls.serve, args=[machine]) for machine in MACHINES]
    status = 0
    for number in SIGNALS:
        signal.signal(number, interrupt)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except Interrupted as interruption:
        calls.stop(threads)
        status = 128 + interruption.args[0]
    is_down = calls.down(MACHINES[1])
    return status or int(calls.failed or not is_down)


if __name__ == "__main__":
    sys.exit(main())
