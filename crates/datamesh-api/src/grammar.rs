//! How people write sizes, dates and types of files where they look for some: the same in every face.

use std::str::FromStr;

use datamesh_core::Timestamp;
use jiff::civil::Date;
use jiff::{Span, ToSpan, Unit, Zoned};

/// Whether a name means files by a pattern: one of `*`, `?`, `[` and `{` stands in it. Else it is a path.
pub fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?', '[', '{'])
}

/// A bound and what stands on which side of it.
struct Compared<'a> {
    sign: &'a str,
    value: &'a str,
}

/// Splits `>=1MB` into its sign and its value; no sign at all where there is none.
fn compared(text: &str) -> Compared<'_> {
    let signs = [">=", "<=", ">", "<", "="];
    let sign = signs.into_iter().find(|sign| text.starts_with(sign)).unwrap_or("");
    Compared { sign, value: text[sign.len()..].trim() }
}

/// A number of bytes: `8GiB`, `500MB`, `1048576`; nothing where it is none, or 2⁶³ and more.
pub fn bytes(text: &str) -> Option<u64> {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let bytes = bytesize::ByteSize::from_str(text).ok().filter(|_| digits)?.as_u64();
    // Beyond this the parser has rounded.
    (bytes < 1 << 63).then_some(bytes)
}

/// Sizes in bytes, from the first up to and with the second: `>1MB`, `<=2GiB`, `=500`, `1MB-10MB`.
///
/// # Errors
/// With what was expected.
pub fn sizes(text: &str) -> Result<(u64, u64), String> {
    let text = text.trim();
    let wrong =
        || format!("\"{text}\" is no size: write \">1MB\", \"<=2GiB\", \"=500\" or \"1MB-10MB\"");
    let Compared { sign, value } = compared(text);
    if sign.is_empty()
        && let Some((from, to)) = value.split_once('-')
    {
        let (from, to) =
            (bytes(from.trim()).ok_or_else(wrong)?, bytes(to.trim()).ok_or_else(wrong)?);
        let reversed = || format!("\"{text}\" ends before it begins: the smaller size comes first");
        return if from <= to { Ok((from, to)) } else { Err(reversed()) };
    }
    let value = bytes(value).ok_or_else(wrong)?;
    Ok(match sign {
        ">" => (value.saturating_add(1), u64::MAX),
        ">=" => (value, u64::MAX),
        "<" => (0, value.checked_sub(1).ok_or_else(wrong)?),
        "<=" => (0, value),
        _ => (value, value),
    })
}

/// Times in ms since 1970, from the first up to and with the second, in the zone of `now`: a day
/// (`2026-01-31`), days from one to another (`2026-01-01:2026-06-30`), `>2026-01-01` for later days,
/// `<2026-01-01` for earlier ones, `today`, `yesterday`, `this week`, `this month`, `this year`, `last week` for
/// the last seven days, `last month`, `last year`, `last 12 hours`, `last 3 days`.
///
/// # Errors
/// With what was expected.
pub fn dates(text: &str, now: &Zoned) -> Result<(Timestamp, Timestamp), String> {
    let found = read_dates(text.trim(), now);
    if found.is_some_and(|(from, to)| from > to) {
        return Err(format!("\"{text}\" ends before it begins: the earlier date comes first"));
    }
    found.ok_or_else(|| {
        format!(
            "\"{text}\" is no date: write 2026-01-31, 2026-01-01:2026-06-30, \">2026-01-01\", today, \
             \"last week\" or \"last 3 days\""
        )
    })
}

fn read_dates(text: &str, now: &Zoned) -> Option<(Timestamp, Timestamp)> {
    let begin = |date: Date| ms(&date.to_zoned(now.time_zone().clone()).ok()?);
    // The last moment before the next day begins: days differ in length.
    let end = |date: Date| begin(date.tomorrow().ok()?).map(|next| next - 1);
    let today = now.date();
    let since = |date: Date| Some((begin(date)?, end(today)?));
    match text {
        "today" => return since(today),
        "yesterday" => {
            let date = today.yesterday().ok()?;
            return Some((begin(date)?, end(date)?));
        }
        "this week" => {
            let days = i64::from(today.weekday().to_monday_zero_offset());
            return since(today.checked_sub(days.days()).ok()?);
        }
        "this month" => return since(today.first_of_month()),
        "this year" => return since(today.first_of_year()),
        _ => {}
    }
    if let Some(length) = text.strip_prefix("last ") {
        return Some((ms(&now.checked_sub(span(length.trim())?).ok()?)?, ms(now)?));
    }
    let Compared { sign, value } = compared(text);
    if sign.is_empty()
        && let Some((from, to)) = value.split_once(':')
    {
        let (from, to) = (begin(date(from)?)?, end(date(to)?)?);
        return Some((from, to));
    }
    let date = date(value)?;
    Some(match sign {
        ">" => (end(date)?.saturating_add(1), Timestamp::MAX),
        ">=" => (begin(date)?, Timestamp::MAX),
        "<" => (0, begin(date)?.checked_sub(1)?),
        "<=" => (0, end(date)?),
        _ => (begin(date)?, end(date)?),
    })
}

fn date(text: &str) -> Option<Date> {
    let text = text.trim();
    // Longer forms have a time in them, which would be passed over.
    (text.len() == "2026-01-31".len()).then(|| text.parse().ok())?
}

/// `week`, `3 days`, `12 hours`.
fn span(text: &str) -> Option<Span> {
    let (count, unit) = text.split_once(' ').unwrap_or(("1", text));
    let count: i64 = count.parse().ok().filter(|count| (1..=10_000).contains(count))?;
    let unit = match unit.trim().trim_end_matches('s') {
        "hour" => Unit::Hour,
        "day" => Unit::Day,
        "week" => Unit::Week,
        "month" => Unit::Month,
        "year" => Unit::Year,
        _ => return None,
    };
    match unit {
        Unit::Hour => Span::new().try_hours(count),
        Unit::Day => Span::new().try_days(count),
        Unit::Week => Span::new().try_weeks(count),
        Unit::Month => Span::new().try_months(count),
        _ => Span::new().try_years(count),
    }
    .ok()
}

fn ms(at: &Zoned) -> Option<Timestamp> {
    Timestamp::try_from(at.timestamp().as_millisecond()).ok()
}

/// Kinds of files that have a name of their own, and their extensions.
const KINDS: [(&str, &[&str]); 6] = [
    (
        "image",
        &[
            "jpg", "jpeg", "png", "gif", "webp", "heic", "avif", "tif", "tiff", "bmp", "svg",
            "raw", "cr2", "nef", "dng",
        ],
    ),
    ("video", &["mp4", "mkv", "mov", "avi", "webm", "m4v", "mpg", "mpeg", "wmv", "ts"]),
    ("audio", &["mp3", "flac", "ogg", "opus", "wav", "m4a", "aac", "wma", "aiff"]),
    (
        "document",
        &[
            "pdf", "doc", "docx", "odt", "rtf", "txt", "md", "tex", "epub", "xls", "xlsx", "ods",
            "csv", "ppt", "pptx", "odp",
        ],
    ),
    ("archive", &["zip", "tar", "gz", "tgz", "bz2", "xz", "zst", "7z", "rar"]),
    (
        "code",
        &[
            "rs", "c", "h", "cpp", "hpp", "py", "js", "ts", "go", "java", "rb", "sh", "html",
            "css", "json", "toml", "yaml", "yml", "xml", "sql",
        ],
    ),
];

/// Extensions of a type: one of its own (`pdf`, `.pdf`), or those of `image`, `video`, `audio`, `document`,
/// `archive` or `code`.
///
/// # Errors
/// With what was expected.
pub fn extensions(text: &str) -> Result<Vec<String>, String> {
    let name = text.trim().trim_start_matches('.').to_lowercase();
    if let Some((_, extensions)) = KINDS.iter().find(|(kind, _)| *kind == name) {
        return Ok(extensions.iter().map(|&extension| extension.to_owned()).collect());
    }
    if name.is_empty() || name.contains(['/', '.', ' ']) {
        let kinds = KINDS.map(|(kind, _)| kind).join(", ");
        return Err(format!(
            "\"{text}\" is no type: write an extension, for instance pdf, or one of {kinds}"
        ));
    }
    Ok(vec![name])
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use jiff::civil::date;
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, expected) in [
            (">1MB", (1_000_001, u64::MAX)),
            (">= 1MiB", (1 << 20, u64::MAX)),
            ("<1kB", (0, 999)),
            ("<=0", (0, 0)),
            ("=2GB", (2_000_000_000, 2_000_000_000)),
            ("500", (500, 500)),
            ("1MB-10MB", (1_000_000, 10_000_000)),
            ("0 - 1", (0, 1)),
        ] {
            assert_eq!(sizes(text), Ok(expected), "{text}");
        }
        for text in ["", "big", ">", "<0", "10MB-1MB", "1MB-", "-1", ">1MB-2MB", "9999999999GB"] {
            assert!(sizes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn dates_are_read() {
        // A Friday, an hour after midnight.
        let now = date(2026, 3, 6).at(1, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap();
        let day = |y, m, d| ms(&date(y, m, d).to_zoned(TimeZone::UTC).unwrap()).unwrap();
        let at = ms(&now).unwrap();
        let end = day(2026, 3, 7) - 1;
        const HOUR: u64 = 3_600_000;
        for (text, expected) in [
            ("2026-01-31", (day(2026, 1, 31), day(2026, 2, 1) - 1)),
            ("2026-01-01:2026-06-30", (day(2026, 1, 1), day(2026, 7, 1) - 1)),
            (">2026-01-01", (day(2026, 1, 2), u64::MAX)),
            (">=2026-01-01", (day(2026, 1, 1), u64::MAX)),
            ("<2026-01-01", (0, day(2026, 1, 1) - 1)),
            ("<= 2026-01-01", (0, day(2026, 1, 2) - 1)),
            ("today", (day(2026, 3, 6), end)),
            ("yesterday", (day(2026, 3, 5), day(2026, 3, 6) - 1)),
            ("this week", (day(2026, 3, 2), end)),
            ("this month", (day(2026, 3, 1), end)),
            ("this year", (day(2026, 1, 1), end)),
            ("last 12 hours", (at - 12 * HOUR, at)),
            ("last week", (at - 7 * 24 * HOUR, at)),
            ("last month", (day(2026, 2, 6) + HOUR, at)),
            ("last 2 years", (day(2024, 3, 6) + HOUR, at)),
        ] {
            assert_eq!(dates(text, &now), Ok(expected), "{text}");
        }
        for text in [
            "",
            "soon",
            "2026-13-01",
            "2026-02-30",
            "2026-06-30:2026-01-01",
            "last",
            "last 0 days",
            "last 99999 years",
            "last 3 fortnights",
            ">2026-01-01T00:00:00Z",
            "2026-01-01:",
            "26-01-01",
        ] {
            assert!(dates(text, &now).is_err(), "{text}");
        }
    }

    #[test]
    fn days_have_the_length_that_they_have_there() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let now = date(2026, 3, 29).at(12, 0, 0, 0).to_zoned(zone).unwrap();
        let (from, to) = dates("today", &now).unwrap();
        assert_eq!(to + 1 - from, 23 * 3_600_000, "the day on which summer time begins");
    }

    #[test]
    fn types_are_read() {
        assert_eq!(extensions("PDF"), Ok(vec!["pdf".to_owned()]));
        assert_eq!(extensions(".tar"), Ok(vec!["tar".to_owned()]));
        assert!(extensions("image").unwrap().contains(&"jpeg".to_owned()));
        for text in ["", ".", "a/b", "tar.gz", "a b"] {
            assert!(extensions(text).is_err(), "{text}");
        }
    }
}
