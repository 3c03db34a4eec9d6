//! Values as people read them.

use std::fmt::{Display, Write};
use std::io::IsTerminal;

use datamesh_core::{NodeId, Timestamp};

/// Text from elsewhere, with what could steer a terminal or reorder the line written out.
pub(crate) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            // Marks that change the direction of writing or take no room.
            '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}' => out.extend(c.escape_unicode()),
            c if c.is_control() => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// Most characters of a line that says what is wrong; what somebody gave may be of any length.
const LINE_MAX: usize = 1000;

/// Characters that are left at the end of a longer one.
const LINE_TAIL: usize = 200;

/// A line with what could steer a terminal written out, and without its middle where it is very long.
pub(crate) fn told(line: &str) -> String {
    let shown = visible(line);
    let count = shown.chars().count();
    if count <= LINE_MAX {
        return shown;
    }
    let head: String = shown.chars().take(LINE_MAX - LINE_TAIL).collect();
    let tail: String = shown.chars().skip(count - LINE_TAIL).collect();
    format!("{head} \u{2026} {tail}")
}

/// Bytes in units of 1024.
pub(crate) fn size(bytes: u64) -> String {
    bytesize::ByteSize::b(bytes).display().iec().to_string()
}

/// Bytes a second; decimal, as links and disks are rated.
pub(crate) fn rate(bytes_per_second: f64) -> String {
    format!("{:.1} MB/s", bytes_per_second / 1e6)
}

/// A number and its noun.
pub(crate) fn plural(count: u64, noun: &str) -> String {
    let digits = count.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let ending = if count == 1 { "" } else { "s" };
    format!("{grouped} {noun}{ending}")
}

/// The part of an id that tells it from others: node ids all begin alike.
pub(crate) fn short(id: &impl Display) -> String {
    let text = id.to_string();
    match text.strip_prefix(NodeId::TEXT_PREFIX) {
        Some(rest) => rest.chars().take(8).collect(),
        None => text.chars().take(12).collect(),
    }
}

/// A time in this machine's zone; nothing for 0.
pub(crate) fn time(at: Timestamp) -> String {
    let milliseconds = i64::try_from(at).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_millisecond(milliseconds) {
        Ok(time) if at != 0 => {
            time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string()
        }
        _ => "-".to_owned(),
    }
}

/// How long ago a time was.
pub(crate) fn ago(at: Timestamp) -> String {
    let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0);
    let seconds = now.saturating_sub(at) / 1000;
    match seconds {
        _ if at == 0 => "never".to_owned(),
        0..=1 => "now".to_owned(),
        2..=119 => format!("{seconds} s ago"),
        120..=7_199 => format!("{} min ago", seconds / 60),
        7_200..=172_799 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// Colours for standard error, where they are seen and wanted.
pub(super) fn coloured(text: &str, code: &str) -> String {
    let mut out = String::new();
    if super::is_plain()
        || !std::io::stderr().is_terminal()
        || write!(out, "\x1b[{code}m{text}\x1b[0m").is_err()
    {
        return text.to_owned();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_elsewhere_cannot_steer_a_terminal() {
        assert_eq!(visible("plain é 漢 'quoted'"), "plain é 漢 'quoted'");
        assert_eq!(visible("a\x1b[2Jb\n\u{9b}c"), "a\\u{1b}[2Jb\\n\\u{9b}c");
        assert_eq!(visible("exe.\u{202e}gpj"), "exe.\\u{202e}gpj");
    }

    #[test]
    fn of_what_is_very_long_beginning_and_end_are_told() {
        assert_eq!(told("short\u{7}"), "short\\u{7}");
        let long = told(&format!("no file \"{}\" is there", "漢".repeat(70_000)));
        assert!(long.starts_with("no file \"漢") && long.ends_with("漢\" is there"), "{long}");
        assert_eq!(long.chars().count(), LINE_MAX + 3);
    }

    #[test]
    fn counts_are_grouped_and_agree_with_their_noun() {
        assert_eq!(plural(1, "file"), "1 file");
        assert_eq!(plural(0, "file"), "0 files");
        assert_eq!(plural(1_234_567, "file"), "1,234,567 files");
        assert_eq!(plural(100, "file"), "100 files");
    }

    #[test]
    fn node_ids_are_told_apart_by_what_follows_their_common_start() {
        let id = datamesh_core::NodeId([7; 32]);
        assert_eq!(short(&id).len(), 8);
        assert!(!short(&id).starts_with("12D3"));
    }
}
