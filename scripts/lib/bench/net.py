"""net.py DIST ARCHIVE SECONDS RUNS: iperf3 against a container and against QEMU's virtio-net, and 100 published ports.

Both guests run the same kernel with one processor and 256 MiB, and each has a tap with a virtio-net header on a bridge
of the host; QEMU serves its queues itself (vhost=off), as moat-vmm does. moat's tap passes the firewall, QEMU's does not.
QEMU's guest has its root file system in memory: iperf3 does not touch a disk. The two take turns.
"""

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

import common

MEMORY_MIB = 256
BRIDGE, TAP = "bench0", "bench-tap"
HOST, GUEST, MAC = "10.213.7.1", "10.213.7.2", "02:42:0a:d5:07:02"

INIT = f"""#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t tmpfs tmp /tmp
/bin/busybox ip link set lo up
/bin/busybox ip addr add {GUEST}/24 dev eth0
/bin/busybox ip link set eth0 up
exec /usr/bin/iperf3 -s >/dev/null
"""

WAYS = {
    "TCP, host to guest": [],
    "TCP, guest to host": ["-R"],
    "UDP, 64 bytes each, host to guest": ["-u", "-b", "0", "-l", "64"],
    "UDP, 64 bytes each, guest to host": ["-u", "-b", "0", "-l", "64", "-R"],
}


def run(*words):
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def initramfs(path, directory):
    """A root with busybox, and iperf3 with what it is linked to."""
    root = os.path.join(directory, "root")
    for name in ("bin", "dev", "tmp", "usr/bin"):
        os.makedirs(os.path.join(root, name))
    shutil.copy("/bin/busybox", os.path.join(root, "bin"))
    shutil.copy("/usr/bin/iperf3", os.path.join(root, "usr/bin"))
    linked = subprocess.run(["ldd", "/usr/bin/iperf3"], check=True, stdout=subprocess.PIPE, text=True).stdout
    for library in {word for word in linked.split() if word.startswith("/")}:
        os.makedirs(root + os.path.dirname(library), exist_ok=True)
        shutil.copy(library, root + library)
    init = os.path.join(root, "init")
    with open(init, "w") as file:
        file.write(INIT)
    os.chmod(init, 0o755)
    with open(path, "wb") as out:
        subprocess.run("find . | cpio --quiet -o -H newc", shell=True, cwd=root, check=True, stdout=out)


@contextlib.contextmanager
def bridge():
    run("ip", "link", "add", BRIDGE, "type", "bridge")
    try:
        run("ip", "addr", "add", f"{HOST}/24", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")
        run("ip", "tuntap", "add", "dev", TAP, "mode", "tap", "vnet_hdr")
        run("ip", "link", "set", TAP, "master", BRIDGE, "up")
        yield
    finally:
        subprocess.run(["ip", "link", "del", TAP], stderr=subprocess.DEVNULL)
        run("ip", "link", "del", BRIDGE)


@contextlib.contextmanager
def qemu(moat):
    """Yields the guest's address."""
    root = os.path.join(moat.root, "initramfs")
    initramfs(root, moat.root)
    command = [
        "qemu-system-x86_64", "-M", "microvm,acpi=off,pic=off,pit=off,rtc=off,isa-serial=off", "-enable-kvm",
        "-cpu", "host", "-smp", "1", "-m", str(MEMORY_MIB), "-nodefaults", "-no-user-config", "-nographic", "-no-reboot",
        "-kernel", moat.artifact("vmlinux"), "-initrd", root, "-append", "quiet reboot=k panic=-1 8250.nr_uarts=0 rdinit=/init",
        "-netdev", f"tap,id=net,ifname={TAP},script=no,downscript=no,vhost=off,vnet_hdr=on",
        "-device", f"virtio-net-device,netdev=net,mac={MAC}", "-device", "virtio-rng-device",
    ]
    with bridge():
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        try:
            yield GUEST
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def container(moat):
    """Yields the container's address."""
    moat.run("run", "-d", "--name", "bench", "--memory", f"{MEMORY_MIB}m", "localhost/iperf")
    yield moat.run("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "bench").strip()
    moat.run("rm", "-f", "bench")


def iperf(address, seconds, words):
    """Bits a second that arrived, or datagrams."""
    command = ["iperf3", "-J", "-t", str(seconds), "-c", address, *words]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    end = report["end"]
    if "-u" not in words:
        return end["sum_received"]["bits_per_second"]
    total = end["sum"]
    return (total["packets"] - total["lost_packets"]) / total["seconds"]


def wait_for(address):
    deadline = time.monotonic() + 120
    while subprocess.run(["iperf3", "-n", "1", "-c", address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
        if time.monotonic() > deadline:
            sys.exit(f"net: no server answers at {address}")
        time.sleep(0.5)


def throughput(moat, seconds, runs):
    rows = []
    with qemu(moat) as qemus, container(moat) as containers:
        for address in (qemus, containers):
            wait_for(address)
        for name, words in WAYS.items():
            pairs = [(iperf(containers, seconds, words), iperf(qemus, seconds, words)) for _ in range(runs)]
            ours, theirs = (statistics.median(values) for values in zip(*pairs))
            ratio = statistics.median(a / b for a, b in pairs)
            unit, scale = ("packets/s", 1) if "-u" in words else ("Mbit/s", 1e6)
            rows.append((name, f"{ours / scale:,.0f} {unit}", f"{theirs / scale:,.0f} {unit}", f"{ratio:.2f}"))
    print(f"What arrives, {runs} times {seconds} s each, in turn:\n")
    common.table(("what", "container", "QEMU", "container / QEMU"), rows)


def ports(moat, runs):
    """Start to exit, with 100 published ports and with none."""
    command = moat.command("run", "--rm", "--memory", f"{MEMORY_MIB}m")
    image = ["--entrypoint", "true", "localhost/iperf"]
    times = common.interleaved({
        "`run --rm true`": [*command, *image],
        "`run --rm -p 20000-20099:20000-20099 true`": [*command, "-p", "20000-20099:20000-20099", *image],
    }, runs)
    print(f"100 published ports, {runs} runs each, in turn:\n")
    common.compare(times)


def main():
    dist, archive, seconds, runs = sys.argv[1:]
    with common.Moat(dist, archive) as moat:
        throughput(moat, int(seconds), int(runs))
        ports(moat, int(runs))


main()
