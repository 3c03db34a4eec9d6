//! What the names in an archive may be.
//!
//! Nothing is laid on a disk by an import, and a name on the mesh cannot leave its folder. What is
//! refused here is refused because it is meant to lead somewhere else, or means different things to
//! different programs; somebody who unpacks the files later shall not be the one to find out.

/// What a name is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// A path without `.` parts and slashes that say nothing.
    Path(String),
    /// The folder that all is in.
    Root,
    /// Ordinary on one system and something else on another; the reason. Taken as it is where that is
    /// asked for.
    Odd(&'static str),
    /// It cannot be a name here, and does no harm; the reason.
    Unfit(&'static str),
    /// It is made to do harm, or nobody can tell; the reason.
    Hostile(&'static str),
}

impl Name {
    /// Judges a name. `odd` takes odd ones as they are.
    pub fn judge(name: &[u8], odd: bool) -> Self {
        if name.contains(&0) {
            return Self::Hostile("its name holds a NUL byte");
        }
        let Ok(text) = std::str::from_utf8(name) else {
            // Its bytes are looked at all the same.
            return match hostile(&String::from_utf8_lossy(name), odd) {
                Some(reason) => Self::Hostile(reason),
                None => Self::Unfit("its name is not Unicode"),
            };
        };
        if let Some(reason) = hostile(text, odd) {
            return Self::Hostile(reason);
        }
        if !odd && let Some(reason) = strange(text) {
            return Self::Odd(reason);
        }
        let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        if parts.is_empty() { Self::Root } else { Self::Path(parts.join("/")) }
    }
}

/// Where odd names are taken as they are, a backslash separates nothing.
fn hostile(text: &str, odd: bool) -> Option<&'static str> {
    let separates = |c: char| c == '/' || !odd && c == '\\';
    if text.is_empty() {
        return Some("it has no name");
    }
    // A slash alone is how some name the folder that all is in.
    if text.starts_with(separates) && text.contains(|c| c != '/') {
        return Some("its name is absolute");
    }
    if text.split(separates).any(|part| part == "..") {
        return Some("its name leads out of its folder by \"..\"");
    }
    None
}

fn strange(text: &str) -> Option<&'static str> {
    if matches!(text.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic()) {
        return Some("its name begins with a drive letter");
    }
    if text.contains('\\') {
        return Some("its name has a backslash, which separates folders on some systems");
    }
    if text.chars().any(char::is_control) {
        return Some("its name has control characters");
    }
    None
}
