//! What can be wrong with an index, and where.

/// Why an index is not one that a writer can have made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// The superblock is not one, or not of an index.
    #[error("the superblock {0}")]
    Superblock(&'static str),
    /// An inode that was asked for by its number.
    #[error("inode {number}: {flaw}")]
    Inode {
        /// The number.
        number: u64,
        /// What is wrong with it.
        flaw: Flaw,
    },
    /// The same, of a file whose path is known.
    #[error("file {path:?}: {flaw}")]
    Path {
        /// From the root; what is not UTF-8 is replaced, and very long paths are cut.
        path: String,
        /// What is wrong with it.
        flaw: Flaw,
    },
    /// The superblock counts other inodes than the directories lead to.
    #[error("it should have {expected} inodes and has {found}")]
    Inodes {
        /// What the superblock says.
        expected: u64,
        /// How many the directories lead to.
        found: u64,
    },
}

/// What is wrong with a file in an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The number leads past the end.
    #[error("the inode lies outside the index")]
    Outside,
    /// Not a layout for data, not one for this type, or an inode that crosses a block.
    #[error("the inode's layout is not known")]
    Layout,
    /// Type bits without a meaning.
    #[error("the inode's type is not known")]
    Mode,
    /// Attributes past the end, of an unknown prefix, or of wrong lengths.
    #[error("its attributes are malformed")]
    Attributes,
    /// Content, target or table past the end of the index or, where it cannot, across a block.
    #[error("its content lies outside the index")]
    Content,
    /// Data past the end of the disk.
    #[error("its data lies outside the disk")]
    Data,
    /// A symbolic link that Linux would not follow as it is written.
    #[error("its target is empty, too long, or contains a NUL byte")]
    Target,
    /// Entries and names of a block that do not fit together.
    #[error("the directory's entries are malformed")]
    Entries,
    /// Entries out of order, or twice the same.
    #[error("the directory's entries are not sorted")]
    Unsorted,
    /// No entry for the directory itself or the one above, or one that leads elsewhere.
    #[error("the directory's entries . and .. are wrong")]
    Dots,
    /// An entry that a lookup does not find, or finds as another one.
    #[error("it is listed and cannot be opened")]
    Lookup,
    /// The entry has another type than the inode.
    #[error("its directory gives it another type")]
    Type,
    /// A directory with two names.
    #[error("the directory has a second name")]
    SecondName,
    /// More or fewer names than the inode's link count.
    #[error("its link count is wrong")]
    Links,
    /// Inodes and their content that together are more than the index: some of them overlap.
    #[error("the index has no room for it beside the other files")]
    Room,
}
