//! Container ids and names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The first user id that a VM can have. The range of 2^28 ids from here on lies above what distributions give to
/// people, services and `/etc/subuid`.
const FIRST_UID: u32 = 0x4000_0000;

/// How many hexadecimal digits of an id choose the user id.
const UID_DIGITS: usize = 7;

/// A type of ids: 64 lower-case hexadecimal digits, and the ways from text and back.
macro_rules! id {
    ($(#[$documentation:meta])* $name:ident) => {
        $(#[$documentation])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// All 64 digits.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The 12 digits that people see.
            pub fn short(&self) -> &str {
                &self.0[..12]
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadId;

            fn try_from(text: String) -> Result<Self, BadId> {
                if is_id(&text) { Ok(Self(text)) } else { Err(BadId) }
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                Self::try_from(text.to_owned())
            }
        }
    };
}

id!(
    /// A container's id: 64 lower-case hexadecimal digits, random.
    ContainerId
);

id!(
    /// A network's id: 64 lower-case hexadecimal digits, random.
    NetworkId
);

id!(
    /// The id of a process that was started beside a container's first one: 64 lower-case hexadecimal digits. The first 16
    /// are those of the container's id, so that an exec is found without looking into every container; the others are
    /// random.
    ExecId
);

impl ContainerId {
    /// A new random id.
    ///
    /// # Errors
    /// When the kernel has no randomness to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        Ok(Self(random_hex(32)?))
    }

    /// The user and group id of the container's VM process. Ids that share it are never given out twice.
    pub fn uid(&self) -> u32 {
        // The digits were checked, so they parse; 7 of them stay below 2^28.
        FIRST_UID + u32::from_str_radix(&self.0[..UID_DIGITS], 16).unwrap_or(0)
    }

    /// Whether two containers would share a user id.
    pub fn shares_uid_with(&self, other: &Self) -> bool {
        self.0[..UID_DIGITS] == other.0[..UID_DIGITS]
    }
}

/// How many digits of a container's id begin the ids of its execs.
const CONTAINER_DIGITS: usize = 16;

impl NetworkId {
    /// A new random id.
    ///
    /// # Errors
    /// When the kernel has no randomness to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        Ok(Self(random_hex(32)?))
    }
}

impl ExecId {
    /// A new random id for an exec in `container`.
    ///
    /// # Errors
    /// When the kernel has no randomness to give.
    pub fn random(container: &ContainerId) -> Result<Self, getrandom::Error> {
        let random = random_hex(32 - CONTAINER_DIGITS / 2)?;
        Ok(Self(format!("{}{random}", &container.as_str()[..CONTAINER_DIGITS])))
    }

    /// Whether an exec of this id can be `container`'s.
    pub fn may_be_of(&self, container: &ContainerId) -> bool {
        self.0[..CONTAINER_DIGITS] == container.as_str()[..CONTAINER_DIGITS]
    }
}

/// Whether `text` is 64 lower-case hexadecimal digits, as every id is.
pub fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// `bytes` random bytes as hexadecimal digits.
///
/// # Errors
/// When the kernel has no randomness to give.
pub fn random_hex(bytes: usize) -> Result<String, getrandom::Error> {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Not 64 lower-case hexadecimal digits.
#[derive(Debug, Error)]
#[error("an id has 64 lower-case hexadecimal digits")]
pub struct BadId;

/// The longest name, in bytes; a name is a file name on disk.
const MAX_NAME: usize = 128;

/// Whether `name` can be a container's name: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, as Docker has it.
pub fn is_valid_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && (2..=MAX_NAME).contains(&name.len())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

const ADJECTIVES: [&str; 32] = [
    "amber", "bold", "brisk", "calm", "clever", "copper", "crisp", "deep", "early", "fair", "fleet",
    "gentle", "golden", "green", "hardy", "honest", "keen", "lively", "lucid", "mellow", "merry", "mossy",
    "noble", "quiet", "rapid", "silver", "sober", "steady", "sunny", "swift", "tidy", "warm",
];

const NOUNS: [&str; 32] = [
    "arch",
    "bailey",
    "banner",
    "bastion",
    "beacon",
    "bridge",
    "castle",
    "causeway",
    "citadel",
    "drawbridge",
    "garden",
    "gate",
    "hall",
    "harbour",
    "heron",
    "keep",
    "lantern",
    "lily",
    "meadow",
    "mill",
    "otter",
    "parapet",
    "pike",
    "rampart",
    "reed",
    "spire",
    "stair",
    "swan",
    "tower",
    "vault",
    "wall",
    "willow",
];

/// A name for a container that was given none, of words and a number.
///
/// # Errors
/// When the kernel has no randomness to give.
pub fn random_name() -> Result<String, getrandom::Error> {
    let mut random = [0; 4];
    getrandom::fill(&mut random)?;
    let adjective = ADJECTIVES[usize::from(random[0]) % ADJECTIVES.len()];
    let noun = NOUNS[usize::from(random[1]) % NOUNS.len()];
    let number = u16::from_le_bytes([random[2], random[3]]) % 1000;
    Ok(format!("{adjective}_{noun}{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_random_and_checked() {
        let id = ContainerId::random().unwrap();
        assert_ne!(id, ContainerId::random().unwrap());
        assert_eq!(id.as_str().parse::<ContainerId>().unwrap(), id);
        assert!((FIRST_UID..FIRST_UID + (1 << 28)).contains(&id.uid()));
        for bad in ["", "abc", &"g".repeat(64), &"A".repeat(64), &"0".repeat(65), "../../../../etc/passwd"] {
            assert!(bad.parse::<ContainerId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_execs_id_tells_whose_it_is() {
        let (mine, other) = (ContainerId::random().unwrap(), ContainerId::random().unwrap());
        let exec = ExecId::random(&mine).unwrap();
        assert_ne!(exec, ExecId::random(&mine).unwrap());
        assert!(exec.may_be_of(&mine) && !exec.may_be_of(&other));
        assert_eq!(exec.as_str().parse::<ExecId>().unwrap(), exec);
        assert!("0".parse::<ExecId>().is_err() && "G".repeat(64).parse::<ExecId>().is_err());
    }

    #[test]
    fn names_are_safe_file_names() {
        for good in ["web", "my-web_server.1", "0a", &random_name().unwrap()] {
            assert!(is_valid_name(good), "{good}");
        }
        for bad in ["", "a", ".hidden", "-x", "a/b", "..", "a b", "ä1", &"x".repeat(129)] {
            assert!(!is_valid_name(bad), "{bad}");
        }
    }
}
