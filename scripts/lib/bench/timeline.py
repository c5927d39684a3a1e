"""timeline.py DIST ARCHIVE RUNS: where the time of a cold run goes, without a network and with one.

The steps are told apart by what the kernel sees: processes that begin, fork and end, and the guest's first exits to user
space, which come when its virtio drivers meet their devices.
"""

import statistics
import sys

import common
import tracepoints

EVENTS = ("sched/sched_process_exec", "sched/sched_process_fork", "sched/sched_process_exit", "kvm/kvm_userspace_exit")
STEPS = ("the command line, until it forks the monitor", "the monitor, until moat-vmm begins",
         "moat-vmm, until its processor's thread", "the guest's kernel, until its first driver",
         "drivers, agent, container, until moat-vmm ends", "tidying up, until the command ends")


def marks(events):
    """The end of each step, in seconds from the first event."""
    def first(**wanted):
        for event in events:
            if all(getattr(event, key) == value for key, value in wanted.items()):
                return event.time
        raise SystemExit(f"not seen in the trace: {wanted}")

    vcpu = max(event.time for event in events if event.name == "sched_process_fork" and event.task == "moat-vmm")
    begin = first(task="moat", name="sched_process_exec")
    return [time - begin for time in (
        first(task="moat", name="sched_process_fork"), first(task="moat-vmm", name="sched_process_exec"), vcpu,
        first(name="kvm_userspace_exit"), first(task="moat-vmm", name="sched_process_exit"), events[-1].time)]


def main():
    dist, archive, runs = sys.argv[1:]
    networks = ("none", "bridge")
    seen = {network: [] for network in networks}
    with common.Moat(dist, archive) as moat:
        for network in networks * (int(runs) + 1):
            command = ("run", "--rm", "--memory", "512m", "--network", network, "localhost/busybox", "true")
            ends = marks(tracepoints.record(EVENTS, lambda: moat.run(*command)))
            seen[network].append([end - begin for begin, end in zip([0.0, *ends], ends)])
    # The first of each warms the caches.
    medians = {network: [statistics.median(step) for step in zip(*seen[network][1:])] for network in networks}
    print(f"Where a cold run's time goes, medians of {runs} runs each, in turn:\n")
    rows = zip((*STEPS, "sum"), *([*steps, sum(steps)] for steps in medians.values()))
    common.table(("what", *(f"`--network {network}`" for network in networks)),
                 [(step, *(f"{1000 * time:.0f} ms" for time in times)) for step, *times in rows])


main()
