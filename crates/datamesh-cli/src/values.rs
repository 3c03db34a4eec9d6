//! Values that a user types: sizes, times, ranges, names.

use std::str::FromStr;
use std::time::Duration;

use datamesh_api::{OperationError, grammar};
use datamesh_core::MeshPath;

use crate::error::usage;

/// Bytes: `8GiB`, `500MB`, `1048576`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("\"{text}\" is not a size: write 8GiB, 500MB or a number of bytes");
    grammar::bytes(text).ok_or_else(wrong)
}

/// Bytes that a node offers: as its setting.
pub(crate) fn offer(text: &str) -> Result<u64, String> {
    datamesh_node::config::check("service.storage", text)?;
    size(text)
}

/// A length of time that is not none.
pub(crate) fn some_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("0 is no length of time".to_owned()),
        time => Ok(time),
    }
}

/// A length of time: `90s`, `15min`, `12h`, `7d`; a number alone is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text)
        .map_err(|_| format!("\"{text}\" is not a length of time: write 90s, 15min, 12h or 7d"))
}

/// Bytes of a file from the first up to, not including, the second; to the end where there is no
/// second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByteRange {
    pub(crate) start: u64,
    pub(crate) end: Option<u64>,
}

impl FromStr for ByteRange {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "\"{text}\" is not a range: write A-B for the bytes from A up to, not including, B, or A- for all from A on"
            )
        };
        let (start, end) = text.split_once('-').ok_or_else(wrong)?;
        let start = start.parse().map_err(|_| wrong())?;
        let end = match end {
            "" => None,
            end => Some(end.parse().map_err(|_| wrong())?),
        };
        if end.is_some_and(|end| end < start) {
            return Err(wrong());
        }
        Ok(Self { start, end })
    }
}

/// The name of a file in the account.
pub(crate) fn mesh_path(text: &str) -> Result<MeshPath, OperationError> {
    text.parse().map_err(usage)
}

/// The name of a folder in the account: `photos` and `photos/` are the same, `/` is all of it.
pub(crate) fn mesh_folder(text: &str) -> Result<Option<MeshPath>, OperationError> {
    match text.trim_end_matches('/') {
        "" if text.is_empty() => Err(usage("the name is empty").hint("\"/\" stands for all files")),
        "" => Ok(None),
        folder => mesh_path(folder).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        assert_eq!(size("8GiB"), Ok(8 << 30));
        assert_eq!(size("8 GiB"), Ok(8 << 30));
        assert_eq!(size("1MB"), Ok(1_000_000));
        assert_eq!(size("4096"), Ok(4096));
        for text in ["", "GiB", "-1", "1XB", "8 gigs", "99999999999EiB", "1e400", "nan"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lengths_of_time_are_read() {
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1500ms"), Ok(Duration::from_millis(1500)));
        for text in ["", "soon", "-1s", "7 fortnights", "999999999999999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_are_read() {
        let range = |text: &str| text.parse::<ByteRange>().ok().map(|r| (r.start, r.end));
        assert_eq!(range("0-10"), Some((0, Some(10))));
        assert_eq!(range("5-"), Some((5, None)));
        assert_eq!(range("5-5"), Some((5, Some(5))));
        for text in ["", "-", "-5", "7", "9-3", "a-b", "1-2-3", "1.5-2"] {
            assert_eq!(range(text), None, "{text}");
        }
    }

    #[test]
    fn folders_may_be_written_with_a_slash_at_their_end() {
        let folder = |text: &str| mesh_folder(text).map(|found| found.map(String::from)).ok();
        assert_eq!(folder("a/b/"), Some(Some("a/b".to_owned())));
        assert_eq!(folder("/"), Some(None));
        assert_eq!(folder(""), None);
        assert_eq!(folder("../x"), None);
    }
}
