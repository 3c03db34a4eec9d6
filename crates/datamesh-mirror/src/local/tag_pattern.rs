//! Tags that are made of what a file is called, where it lies and when it was changed.

use std::str::FromStr;

use datamesh_core::{MeshPath, Timestamp};
use jiff::tz::TimeZone;

/// What can stand in braces.
const PLACEHOLDERS: &str = "{name}, {ext}, {dir}, {year}, {month}, {day}";

/// A tag with placeholders, for instance `{ext}-{year}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagPattern(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The name without its extension.
    Stem,
    /// The extension, in small letters.
    Extension,
    /// The name of the folder that the file is stored in.
    Folder,
    /// Of the last change, in UTC.
    Year,
    Month,
    Day,
}

impl FromStr for TagPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let (word, after) = behind
                .split_once('}')
                .ok_or_else(|| format!("\"{text}\" has a brace that is not closed"))?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(match word {
                "name" => Part::Stem,
                "ext" => Part::Extension,
                "dir" => Part::Folder,
                "year" => Part::Year,
                "month" => Part::Month,
                "day" => Part::Day,
                _ => return Err(format!("{{{word}}} is not known: there are {PLACEHOLDERS}")),
            });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        if parts.is_empty() {
            return Err("a tag cannot be empty".to_owned());
        }
        Ok(Self(parts))
    }
}

impl TagPattern {
    /// The tag of a file that is stored at `path` and was changed then, in milliseconds since 1970. Nothing where
    /// something in braces has nothing to stand for: no extension, no folder, no time.
    pub fn tag(&self, path: &MeshPath, modified: Timestamp) -> Option<String> {
        let changed = i64::try_from(modified).ok().filter(|at| *at > 0);
        let changed = changed.and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
        let date =
            |format: &str| Some(changed?.to_zoned(TimeZone::UTC).strftime(format).to_string());
        let extension = path.extension();
        let mut tag = String::new();
        for part in &self.0 {
            tag.push_str(&match part {
                Part::Text(text) => text.clone(),
                Part::Stem => {
                    let ending = extension.map_or(0, |extension| extension.len() + 1);
                    path.name()[..path.name().len() - ending].to_owned()
                }
                Part::Extension => extension?.to_lowercase(),
                Part::Folder => {
                    let (folder, _) = path.as_str().rsplit_once('/')?;
                    folder.rsplit('/').next()?.to_owned()
                }
                Part::Year => date("%Y")?,
                Part::Month => date("%m")?,
                Part::Day => date("%d")?,
            });
        }
        Some(tag)
    }
}
