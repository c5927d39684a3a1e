"""exits.py DIST ARCHIVE: exits of the guest until its agent's first message, from KVM's tracepoints.

The first message is the vsock thread's first write after it has handed the connection over (sendmsg), both seen by
system call tracepoints. Everything counted before it belongs to the boot.
"""

import collections
import os
import re
import sys

import common
import tracepoints

EVENTS = ("kvm/kvm_userspace_exit", "kvm/kvm_exit", "kvm/kvm_pio", "kvm/kvm_mmio",
          "syscalls/sys_enter_sendmsg", "syscalls/sys_enter_write", "syscalls/sys_enter_writev",
          "syscalls/sys_enter_sendto")


def count(events):
    """Counters of the exits to user space and of all, and of the accesses to device memory and to ports."""
    user, kvm, mmio, pio = (collections.Counter() for _ in range(4))
    handed_over = None
    for _, task, pid, event, rest in events:
        if event == "kvm_userspace_exit":
            user[re.search(r"reason (\S+)", rest)[1]] += 1
        elif event == "kvm_exit":
            kvm[re.search(r"reason (\S+)", rest)[1]] += 1
        elif event == "kvm_mmio":
            if address := re.search(r"mmio (\w+) len \d+ gpa (0x[0-9a-f]+)", rest):
                mmio[(int(address[2], 16) >> 12 << 12, int(address[2], 16) & 0xfff, address[1])] += 1
        elif event == "kvm_pio":
            if address := re.search(r"pio_(\w+) at (0x[0-9a-f]+)", rest):
                pio[(int(address[2], 16), address[1])] += 1
        elif "vsock" in task and event == "sys_sendmsg":
            handed_over = pid
        elif handed_over == pid and event in ("sys_write", "sys_writev", "sys_sendto", "sys_sendmsg"):
            return user, kvm, mmio, pio
    raise SystemExit("the agent's first message was not seen in the trace")


def show(network, user, kvm, mmio, pio):
    print(f"From the first instruction to the agent's first message, --network {network}:\n")
    common.table(("what", "count"), [
        ("exits to user space", sum(user.values())),
        *((f"... {reason}", times) for reason, times in user.most_common()),
        ("KVM exits in all", sum(kvm.values())),
        *((f"... {reason}", times) for reason, times in kvm.most_common(6)),
    ])
    if os.environ.get("DETAILS"):
        print("MMIO accesses by page, register and direction; ports:\n")
        for (page, register, direction), times in sorted(mmio.items()):
            print(f"  {page:#x} {register:#05x} {direction:5} {times}")
        for (port, direction), times in sorted(pio.items()):
            print(f"  port {port:#x} {direction} {times}")


def main():
    dist, archive = sys.argv[1:]
    with common.Moat(dist, archive) as moat:
        for network in ("none", "bridge"):
            moat.run("run", "--rm", "--network", network, "localhost/busybox", "true")
            command = ("run", "--rm", "--memory", "128m", "--network", network, "localhost/busybox", "true")
            show(network, *count(tracepoints.record(EVENTS, lambda: moat.run(*command))))


main()
