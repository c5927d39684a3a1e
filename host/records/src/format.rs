//! Which format a record is in, so that one release reads what another wrote, or says that it cannot.

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A record of Moat's own on disk. A release reads the formats up to its own; a record without a format was written before
/// there were any.
pub trait Record: Serialize + DeserializeOwned {
    /// The format in which this release writes it.
    const FORMAT: u32;
}

/// The field of a record that says its format: `#[serde(default)] format: Format<N>`, where N is [`Record::FORMAT`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Format<const CURRENT: u32>;

impl<const CURRENT: u32> Serialize for Format<CURRENT> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(CURRENT)
    }
}

impl<'de, const CURRENT: u32> Deserialize<'de> for Format<CURRENT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = u32::deserialize(deserializer)?;
        if (1..=CURRENT).contains(&found) {
            Ok(Self)
        } else {
            Err(D::Error::custom(format_args!("its format is {found}")))
        }
    }
}

/// What is read of a record that cannot be read otherwise.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    format: u64,
}

/// The format that `text` says it has; 0 where it says none.
pub(crate) fn of(text: &[u8]) -> u64 {
    serde_json::from_slice::<Head>(text).map_or(0, |head| head.format)
}
