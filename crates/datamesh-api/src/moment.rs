//! Moments in answers: milliseconds since 1970 between programs of one version, RFC 3339 in UTC where they are read
//! as text. One that is unknown, which is 0 in memory, is null there.

use std::fmt;

use datamesh_core::Timestamp;
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserializer, Serializer};

/// Writes a moment.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    if !serializer.is_human_readable() {
        return serializer.serialize_u64(*at);
    }
    match text(*at) {
        Some(text) => serializer.serialize_str(&text),
        None => serializer.serialize_none(),
    }
}

/// Reads a moment in either form.
///
/// # Errors
/// Where it is neither.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    // A tagged enumeration reads its fields from memory and no longer knows which form they had.
    deserializer.deserialize_any(Moment)
}

/// A moment as text; nothing for 0, and for what no calendar reaches.
pub fn text(at: Timestamp) -> Option<String> {
    let milliseconds = i64::try_from(at).ok().filter(|at| *at != 0)?;
    let moment = jiff::Timestamp::from_millisecond(milliseconds).ok()?;
    Some(format!("{moment:.3}"))
}

struct Moment;

impl<'de> Visitor<'de> for Moment {
    type Value = Timestamp;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a moment: milliseconds since 1970, RFC 3339, or null")
    }

    fn visit_u64<E: Error>(self, at: u64) -> Result<Timestamp, E> {
        Ok(at)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Timestamp, E> {
        let wrong = || E::invalid_value(Unexpected::Str(text), &self);
        let moment: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
        u64::try_from(moment.as_millisecond()).map_err(|_| wrong())
    }

    fn visit_none<E: Error>(self) -> Result<Timestamp, E> {
        Ok(0)
    }

    fn visit_unit<E: Error>(self) -> Result<Timestamp, E> {
        Ok(0)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Timestamp, D::Error> {
        deserialize(deserializer)
    }
}

/// The same for a moment that may be missing.
pub mod option {
    use datamesh_core::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    struct Told(#[serde(with = "crate::moment")] Timestamp);

    /// Writes a moment, or that there is none.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(
        at: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => super::serialize(at, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads a moment in either form, or that there is none.
    ///
    /// # Errors
    /// Where it is neither.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::<Told>::deserialize(deserializer)?.map(|told| told.0))
    }
}
