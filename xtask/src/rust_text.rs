//! Rust source seen as three layers of the same length: code, comments, strings.
//!
//! Checks look for words where they mean something: a marker in a comment, a call in code. The
//! scanner knows comments (nested ones too), strings (raw ones too) and characters, and nothing
//! else of the language. Each layer keeps the line breaks, so that line numbers agree.

/// One source text, taken apart.
pub(crate) struct Layers {
    /// Everything that is neither comment nor string; those are blank.
    pub(crate) code: String,
    /// The comments; all else is blank.
    pub(crate) comments: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Code,
    Comment,
    Text,
}

impl Layers {
    /// Takes `source` apart.
    pub(crate) fn of(source: &str) -> Self {
        let bytes = source.as_bytes();
        let mut kinds = vec![Kind::Code; bytes.len()];
        let mut at = 0;
        while at < bytes.len() {
            let (kind, end) = token(bytes, at);
            kinds[at..end].fill(kind);
            at = end;
        }
        let layer = |wanted: Kind| {
            let keep = |(&byte, &kind): (&u8, &Kind)| {
                if byte == b'\n' || kind == wanted { byte } else { b' ' }
            };
            // Blanking leaves whole characters alone or makes each of their bytes a space.
            String::from_utf8_lossy(&bytes.iter().zip(&kinds).map(keep).collect::<Vec<_>>())
                .into_owned()
        };
        Self { code: layer(Kind::Code), comments: layer(Kind::Comment) }
    }
}

/// The kind of the token that starts at `at`, and where it ends. Code comes a byte at a time, but
/// for names, which come whole so that the `r` of a name does not start a raw string.
fn token(bytes: &[u8], at: usize) -> (Kind, usize) {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        return (Kind::Comment, at + rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len()));
    }
    if rest.starts_with(b"/*") {
        return (Kind::Comment, at + block_comment(rest));
    }
    if let Some(length) = raw_string(rest) {
        return (Kind::Text, at + length);
    }
    match rest[0] {
        b'"' => (Kind::Text, at + quoted(rest, b'"')),
        b'\'' if is_character(rest) => (Kind::Text, at + quoted(rest, b'\'')),
        first if is_word(first) => {
            let length = rest.iter().position(|&b| !is_word(b)).unwrap_or(rest.len());
            (Kind::Code, at + length)
        }
        _ => (Kind::Code, at + 1),
    }
}

/// Whether a byte can be part of a name. Bytes of characters outside ASCII count.
pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// Length of the raw string that `rest` starts with (`r"…"`, `br#"…"#`, …).
fn raw_string(rest: &[u8]) -> Option<usize> {
    let mark = rest.iter().take(2).position(|&b| b == b'r')?;
    if mark == 1 && !matches!(rest[0], b'b' | b'c') {
        return None;
    }
    let hashes = rest[mark + 1..].iter().take_while(|&&b| b == b'#').count();
    let open = mark + 1 + hashes;
    if rest.get(open) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.resize(1 + hashes, b'#');
    let end = rest[open + 1..].windows(close.len()).position(|window| window == close);
    Some(end.map_or(rest.len(), |end| open + 1 + end + close.len()))
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// A quote starts a character and not a lifetime where an escape follows it, or a quote follows the
/// one character after it.
fn is_character(rest: &[u8]) -> bool {
    let Some(&first) = rest.get(1) else { return false };
    let width = match first {
        b'\\' => return true,
        0xF0.. => 4,
        0xE0.. => 3,
        0xC0.. => 2,
        _ => 1,
    };
    rest.get(1 + width) == Some(&b'\'')
}

/// The lines, counted from 1, on which `word` stands with nothing of a name beside it.
pub(crate) fn lines_with(layer: &str, word: &str) -> Vec<usize> {
    let holds = |line: &str| {
        line.match_indices(word).any(|(at, _)| {
            let before = at.checked_sub(1).map(|at| line.as_bytes()[at]);
            let after = line.as_bytes().get(at + word.len()).copied();
            let open = |edge: Option<u8>, inner: Option<&u8>| {
                !(edge.is_some_and(is_word) && inner.is_some_and(|&byte| is_word(byte)))
            };
            open(before, word.as_bytes().first()) && open(after, word.as_bytes().last())
        })
    };
    layer.lines().enumerate().filter(|(_, line)| holds(line)).map(|(at, _)| at + 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_hold_what_they_say() {
        let source = "let a = \"// no\"; // yes \"quoted\"\nlet b = r#\"x \" /* */\"#; /* c /* d */ e */ f();\n";
        let layers = Layers::of(source);
        assert_eq!(
            layers.code.split_whitespace().collect::<Vec<_>>().join(" "),
            "let a = ; let b = ; f();"
        );
        assert_eq!(
            layers.comments.split_whitespace().collect::<Vec<_>>().join(" "),
            "// yes \"quoted\" /* c /* d */ e */"
        );
        assert_eq!(layers.code.lines().count(), source.lines().count());
    }

    #[test]
    fn lifetimes_and_characters_are_told_apart() {
        let source = "fn f<'a>(x: &'a str) { g('\"', '\\'', 'é', b'\\n'); h(\"s\") } // end";
        let layers = Layers::of(source);
        assert!(layers.code.contains("<'a>") && layers.code.contains("&'a str"));
        assert!(layers.code.contains("h("));
        assert!(!layers.code.contains('"') && !layers.code.contains("end"));
    }

    #[test]
    fn a_name_that_ends_in_r_starts_no_raw_string() {
        assert_eq!(Layers::of("for\"a\";x").code, "for   ;x");
        assert_eq!(Layers::of("br\"a\\\";x").code, "      ;x");
    }

    #[test]
    fn words_are_found_whole() {
        let text = "dbg!(x)\nmy_dbg!(x)\nstd::fs::read\nstd::fsx\n";
        assert_eq!(lines_with(text, "dbg!"), [1]);
        assert_eq!(lines_with(text, "std::fs"), [3]);
        assert!(lines_with("eprintln!()", "println!").is_empty());
    }
}
