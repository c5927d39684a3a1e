"""cold.py DIST ARCHIVE LAYOUT RUNS: `run --rm busybox true` against QEMU's microvm and crun.

QEMU boots the same kernel with the same initramfs and the same two disks, and no network. It has no vsock, so its agent
mounts everything, finds no monitor to dial and powers off: QEMU is spared the container. crun runs the same root file
system, unpacked beforehand.
"""

import json
import os
import subprocess
import sys

import common

MEMORY_MIB = 512


def qemu(moat, disk, writable):
    return [
        "qemu-system-x86_64", "-M", "microvm,acpi=off,pic=off,pit=off,rtc=off,isa-serial=off", "-enable-kvm",
        "-cpu", "host", "-smp", "1", "-m", str(MEMORY_MIB), "-nodefaults", "-no-user-config", "-nographic", "-no-reboot",
        "-kernel", moat.artifact("vmlinux"), "-initrd", moat.artifact("initramfs.cpio"),
        "-append", "quiet reboot=k panic=-1 8250.nr_uarts=0",
        # The agent's power-off port.
        "-device", "isa-debug-exit,iobase=0x604,iosize=1",
        "-drive", f"id=image,file={disk},format=raw,if=none,readonly=on", "-device", "virtio-blk-device,drive=image",
        "-drive", f"id=writable,file={writable},format=raw,if=none,snapshot=off",
        "-device", "virtio-blk-device,drive=writable",
        "-device", "virtio-rng-device", "-device", "virtio-balloon-device",
    ]


def disks(moat, directory):
    """The bytes of the image's disk in one file, and a writable disk."""
    index = os.path.join(moat.root, "indexes")
    (name,) = [name for name in os.listdir(index) if name.endswith(".erofs")]
    blobs = os.path.join(moat.root, "images", "blobs", "sha256")
    layers = sorted((os.path.join(blobs, blob) for blob in os.listdir(blobs)), key=os.path.getsize)
    disk = os.path.join(directory, "disk")
    with open(disk, "wb") as out:
        for path in (os.path.join(index, name), layers[-1]):
            with open(path, "rb") as part:
                out.write(part.read())
            out.write(bytes(-out.tell() % 512))
    writable = os.path.join(directory, "writable")
    subprocess.run(["cp", "--sparse=always", os.path.join(moat.root, "template.ext4"), writable], check=True)
    return disk, writable


def bundle(layout, directory):
    """An unpacked bundle whose command is `true`."""
    path = os.path.join(directory, "bundle")
    subprocess.run(["umoci", "unpack", "--image", f"{layout}:latest", path], check=True, stderr=subprocess.DEVNULL)
    config = os.path.join(path, "config.json")
    with open(config) as file:
        spec = json.load(file)
    spec["process"].update(terminal=False, args=["true"])
    with open(config, "w") as file:
        json.dump(spec, file)
    return path


def main():
    dist, archive, layout, runs = sys.argv[1:]
    with common.Moat(dist, archive) as moat:
        moat.run("run", "--rm", "localhost/busybox", "true")
        disk, writable = disks(moat, moat.root)
        shell = 'case $? in 1) exit 0;; *) exit 1;; esac'  # isa-debug-exit answers 2 * value + 1
        run = moat.command("run", "--rm", "--memory", f"{MEMORY_MIB}m")
        commands = {
            "`moat run --rm --network none localhost/busybox true`":
                [*run, "--network", "none", "localhost/busybox", "true"],
            "`moat run --rm localhost/busybox true`": [*run, "localhost/busybox", "true"],
            "QEMU `-M microvm`, same kernel, initramfs, disks":
                ["sh", "-c", f'"$@"; {shell}', "sh", *qemu(moat, disk, writable)],
            "`crun run`, unpacked beforehand (no virtual machine)":
                ["crun", "--cgroup-manager=disabled", "run", "--bundle", bundle(layout, moat.root), "bench"],
        }
        times = common.interleaved(commands, int(runs))
        print(f"Cold start to exit, {runs} runs each, in turn:\n")
        common.compare(times)


main()
