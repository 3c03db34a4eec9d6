//! What an export with metadata says of each file beside its content: JSON, in a pax record of a tar
//! and in the comment of a zip's entry (`docs/archives.md`).
//!
//! Other programs pass it over. Whoever wrote the archive chose it, so an import takes it as a wish:
//! tags and notes are checked as those that a person types, and the hash must fit the content.

use datamesh_api::FileVersion;
use datamesh_core::catalog::{NOTE_BYTES_MAX, TAG_BYTES_MAX, TAGS_MAX};
use datamesh_core::{Hash, Timestamp};
use serde::{Deserialize, Serialize};

/// Longest text of it: what a zip's comment can hold.
pub const METADATA_BYTES_MAX: usize = u16::MAX as usize;

/// The form that is written.
const FORM: u32 = 1;

/// What is known of a file beside its content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The form of this record.
    pub datamesh: u32,
    /// BLAKE3 of the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<Hash>,
    /// Its tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Its note; empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// The number that the version had.
    #[serde(default)]
    pub version: u64,
    /// When the version was stored, in ms since 1970.
    #[serde(default)]
    pub stored: Timestamp,
    /// When the source was last changed, in ms since 1970; 0 where unknown.
    #[serde(default)]
    pub modified: Timestamp,
}

impl Metadata {
    /// What a version has.
    pub fn of(version: &FileVersion) -> Self {
        Self {
            datamesh: FORM,
            hash: version.hash,
            tags: version.tags.clone(),
            note: version.note.clone(),
            version: version.number,
            stored: version.created,
            modified: version.modified,
        }
    }

    /// The text, if it is no longer than [`METADATA_BYTES_MAX`].
    pub fn to_text(&self) -> Option<String> {
        let text = serde_json::to_string(self).ok()?;
        (text.len() <= METADATA_BYTES_MAX).then_some(text)
    }

    /// Reads the text. Nothing where it is of another form or has what no file can have: then it is
    /// somebody else's.
    pub fn read(text: &[u8]) -> Option<Self> {
        if text.len() > METADATA_BYTES_MAX {
            return None;
        }
        let read: Self = serde_json::from_slice(text).ok()?;
        let tag = |tag: &String| {
            (1..=TAG_BYTES_MAX).contains(&tag.len()) && tag.trim() == tag && !tag.contains('\0')
        };
        let sound = read.datamesh == FORM
            && read.tags.len() <= TAGS_MAX
            && read.tags.iter().all(tag)
            && read.note.len() <= NOTE_BYTES_MAX;
        sound.then_some(read)
    }
}
