//! Reads an image back by the letter of the format, for files of ordinary size.

use std::collections::BTreeMap;

const BLOCK: usize = 512;

/// A file as the image has it.
#[derive(Debug, PartialEq, Eq)]
pub struct Node {
    pub number: u64,
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub links: u32,
    pub mtime: (i64, u32),
    pub rdev: u32,
    /// Of a file or link.
    pub content: Vec<u8>,
    /// Prefix number, rest of the name, value.
    pub xattrs: Vec<(u8, Vec<u8>, Vec<u8>)>,
}

pub struct Image<'a> {
    pub disk: &'a [u8],
}

impl Image<'_> {
    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.disk[at..at + 2].try_into().unwrap())
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.disk[at..at + 4].try_into().unwrap())
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.disk[at..at + 8].try_into().unwrap())
    }

    pub fn uuid(&self) -> &[u8] {
        &self.disk[1024 + 48..1024 + 64]
    }

    /// Every path with what it leads to, `/` for the root.
    pub fn read(&self) -> BTreeMap<Vec<u8>, Node> {
        assert_eq!(self.u32(1024), 0xe0f5_e1e2, "magic");
        assert_eq!(self.disk[1024 + 12], 9, "block size");
        assert_eq!(self.u32(1024 + 36) as usize * BLOCK, self.disk.len(), "length");
        assert_eq!(self.u32(1024 + 40), 0, "metadata start");
        let mut all = BTreeMap::new();
        let root = u64::from(self.u16(1024 + 14));
        let mut todo = vec![(Vec::new(), root, root)];
        while let Some((path, number, parent)) = todo.pop() {
            let node = self.node(number);
            if node.mode & 0o170_000 == 0o040_000 {
                let entries = self.entries(&node.content);
                assert!(entries.is_sorted_by(|a, b| a.0 < b.0), "entries are sorted");
                for (name, below, kind) in entries {
                    match name.as_slice() {
                        b"." => assert_eq!(below, number),
                        b".." => assert_eq!(below, parent),
                        _ => {
                            let path = [path.as_slice(), b"/", &name].concat();
                            let types = [0, 0o10, 0o04, 0o02, 0o06, 0o01, 0o14, 0o12];
                            assert_eq!(self.node(below).mode >> 12, types[usize::from(kind)]);
                            todo.push((path, below, number));
                        }
                    }
                }
            }
            all.insert(if path.is_empty() { b"/".to_vec() } else { path }, node);
        }
        assert_eq!(
            self.u64(1024 + 16),
            all.values().map(|node| node.number).collect::<std::collections::BTreeSet<_>>().len() as u64
        );
        all
    }

    fn node(&self, number: u64) -> Node {
        let at = usize::try_from(number).unwrap() * 32;
        let format = self.u16(at);
        let extended = format & 1 == 1;
        let own = if extended { 64 } else { 32 };
        assert!(at % BLOCK + own <= BLOCK, "an inode crosses a block");
        let count = usize::from(self.u16(at + 2));
        let xattrs_len = if count == 0 { 0 } else { 12 + 4 * (count - 1) };
        let (size, mtime, links, uid, gid) = if extended {
            let mtime = (self.u64(at + 32).cast_signed(), self.u32(at + 40));
            (self.u64(at + 8), mtime, self.u32(at + 44), self.u32(at + 24), self.u32(at + 28))
        } else {
            let mtime = (self.u64(1024 + 24).cast_signed(), self.u32(1024 + 32));
            let ids = (u32::from(self.u16(at + 24)), u32::from(self.u16(at + 26)));
            (u64::from(self.u32(at + 8)), mtime, u32::from(self.u16(at + 6)), ids.0, ids.1)
        };
        let mode = self.u16(at + 4);
        let rdev = if matches!(mode >> 12, 0o2 | 0o6) { self.u32(at + 16) } else { 0 };
        let tail = at + own + xattrs_len;
        let content = if mode >> 12 & 0o1 == 0o1 || rdev != 0 {
            Vec::new()
        } else {
            self.content(format >> 1, self.u32(at + 16), usize::try_from(size).unwrap(), tail)
        };
        let xattrs = self.xattrs(at + own, xattrs_len);
        Node { number, mode, uid, gid, links, mtime, rdev, content, xattrs }
    }

    fn content(&self, layout: u16, union: u32, size: usize, tail: usize) -> Vec<u8> {
        let run = |block: u32, length: usize| {
            let start = block as usize * BLOCK;
            self.disk[start..start + length].to_vec()
        };
        match layout {
            0 => run(union, size),
            2 => {
                assert!(size <= BLOCK && tail % BLOCK + size <= BLOCK, "inline data crosses a block");
                self.disk[tail..tail + size].to_vec()
            }
            4 => {
                let chunk = BLOCK << union;
                let mut content = Vec::new();
                for index in 0..size.div_ceil(chunk) {
                    let length = chunk.min(size - index * chunk);
                    match self.u32(tail + index * 4) {
                        u32::MAX => content.resize(content.len() + length, 0),
                        block => content.extend(run(block, length)),
                    }
                }
                content
            }
            other => panic!("layout {other}"),
        }
    }

    fn xattrs(&self, mut at: usize, length: usize) -> Vec<(u8, Vec<u8>, Vec<u8>)> {
        let end = at + length;
        at += 12.min(length);
        let mut all = Vec::new();
        while at < end {
            let (name, value) = (usize::from(self.disk[at]), usize::from(self.u16(at + 2)));
            let text = &self.disk[at + 4..at + 4 + name + value];
            all.push((self.disk[at + 1], text[..name].to_vec(), text[name..].to_vec()));
            at = (at + 4 + name + value).next_multiple_of(4);
        }
        assert_eq!(at, end);
        all
    }

    fn entries(&self, content: &[u8]) -> Vec<(Vec<u8>, u64, u8)> {
        let mut all = Vec::new();
        for block in content.chunks(BLOCK) {
            let offset = |index: usize| {
                usize::from(u16::from_le_bytes([block[index * 12 + 8], block[index * 12 + 9]]))
            };
            let count = offset(0) / 12;
            for index in 0..count {
                let end = if index + 1 < count { offset(index + 1) } else { block.len() };
                let name: Vec<u8> =
                    block[offset(index)..end].iter().copied().take_while(|byte| *byte != 0).collect();
                assert!(!name.is_empty() && name.len() <= 255);
                let number = u64::from_le_bytes(block[index * 12..index * 12 + 8].try_into().unwrap());
                all.push((name, number, block[index * 12 + 10]));
            }
        }
        all
    }
}
