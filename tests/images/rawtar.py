"""Writes tar entries byte by byte.

Python's tarfile refuses or repairs most of what the test images need (numbers that
overflow, doubled PAX keys, names that are not UTF-8), so headers are put together here,
field by field. The layout is that of POSIX.1-2017 pax(1), "ustar Interchange Format",
and of the GNU tar manual, "Basic Tar Format".
"""

import os
import struct

BLOCK = 512
END = bytes(2 * BLOCK)

FILE, HARDLINK, SYMLINK, CHAR, BLOCKDEV, DIR, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
PAX, PAX_GLOBAL, GNU_LONGNAME, GNU_LONGLINK, GNU_SPARSE = b"x", b"g", b"L", b"K", b"S"

# 2023-11-14 22:13:20 UTC. Anything fixed will do: the same recipe must give the same bytes.
EPOCH = 1_700_000_000


def as_bytes(text):
    """A name as it stands in the archive: bytes as they are, text as UTF-8."""
    return text if isinstance(text, bytes) else text.encode()


def pad(length):
    """The zeros that fill `length` bytes up to a whole block."""
    return bytes(-length % BLOCK)


def number(value, width):
    """A numeric field: octal where it fits, else GNU's base-256 (also for negative values)."""
    if isinstance(value, bytes):  # the exact bytes of the field, for broken headers
        return value.ljust(width, b"\0")[:width]
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    raw = bytearray((value % (1 << (8 * width))).to_bytes(width, "big"))
    # The top bit marks base-256; the one below it is the sign.
    raw[0] = 0xFF if value < 0 else raw[0] | 0x80
    return bytes(raw)


def header(name, kind=FILE, *, mode=None, uid=0, gid=0, size=0, mtime=EPOCH, link=b"",
           magic=b"ustar\x0000", uname=b"", gname=b"", major=0, minor=0, tail=b"", checksum=None):
    """One 512-byte header. `tail` is what stands from offset 345 on (the ustar prefix)."""
    if mode is None:
        mode = 0o755 if kind == DIR else 0o777 if kind == SYMLINK else 0o644
    fields = [
        as_bytes(name)[:100].ljust(100, b"\0"), number(mode, 8), number(uid, 8), number(gid, 8),
        number(size, 12), number(mtime, 12), b" " * 8, kind, as_bytes(link)[:100].ljust(100, b"\0"),
        magic, as_bytes(uname).ljust(32, b"\0"), as_bytes(gname).ljust(32, b"\0"),
        number(major, 8), number(minor, 8), tail.ljust(167, b"\0"),
    ]
    raw = b"".join(fields)
    assert len(raw) == BLOCK, len(raw)
    total = sum(raw) if checksum is None else checksum
    return raw[:148] + b"%06o\0 " % total + raw[156:]


def pax_record(key, value):
    """"LENGTH KEY=VALUE\\n", where LENGTH counts itself."""
    body = b" " + as_bytes(key) + b"=" + as_bytes(value) + b"\n"
    length = len(body) + 1
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return str(length).encode() + body


def pax(records, kind=PAX):
    """A PAX extended header for the entry that follows; `records` is a dict or (key, value) pairs."""
    pairs = records.items() if isinstance(records, dict) else records
    data = b"".join(pax_record(key, value) for key, value in pairs)
    return header("./PaxHeaders/x", kind, size=len(data)) + data + pad(len(data))


def entry(name, kind=FILE, data=b"", *, records=None, **fields):
    """A whole entry: PAX header if there are records, header, data."""
    fields.setdefault("size", len(data))
    before = pax(records) if records else b""
    return before + header(name, kind, **fields) + data + pad(len(data))


def gnu_long(text, kind):
    """GNU's ././@LongLink entry, which carries a name or link target of any length."""
    data = as_bytes(text) + b"\0"
    return header("././@LongLink", kind, size=len(data), magic=b"ustar  \0", mtime=0) + data + pad(len(data))


def xattr(name):
    """The PAX key under which every tool keeps an extended attribute."""
    return b"SCHILY.xattr." + as_bytes(name)


def file_capability(permitted, *, effective=True, rootid=None):
    """The value of security.capability: VFS_CAP_REVISION_2, or _3 when a root uid is given."""
    magic = (0x02000000 if rootid is None else 0x03000000) | int(effective)
    value = struct.pack("<IIIII", magic, permitted & 0xFFFFFFFF, 0, permitted >> 32, 0)
    return value if rootid is None else value + struct.pack("<I", rootid)


def posix_acl(*entries):
    """The value of system.posix_acl_access; entries are (tag, permissions, id)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *item) for item in entries)


class Layer:
    """A layer file under construction."""

    def __init__(self, path):
        self.file = open(path, "wb")

    def __enter__(self):
        return self

    def __exit__(self, kind, _value, _trace):
        if kind is None:
            self.raw(END)
        self.file.close()

    def raw(self, data):
        """Bytes of the archive as they are."""
        self.file.write(data)

    def add(self, name, kind=FILE, data=b"", **fields):
        """Any entry; see `entry`."""
        self.raw(entry(name, kind, data, **fields))

    def dir(self, name, **fields):
        """A directory."""
        self.add(name, DIR, **fields)

    def symlink(self, name, target, **fields):
        """A symbolic link."""
        self.add(name, SYMLINK, link=target, **fields)

    def hardlink(self, name, target, **fields):
        """Another name of an earlier entry, of this layer or of one below."""
        self.add(name, HARDLINK, link=target, **fields)

    def hole(self, length):
        """Zeros of the archive itself, without writing them."""
        self.file.seek(length, os.SEEK_CUR)
