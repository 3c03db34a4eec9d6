//! Names that a file system takes for one and the same.

use unicode_normalization::UnicodeNormalization;

/// What the names of a file system do not tell apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Folding {
    /// Upper and lower case.
    pub case: bool,
    /// A letter with its accent, and the letter followed by the accent.
    pub form: bool,
}

impl Folding {
    /// Whether any two different names can be the same.
    pub fn folds(&self) -> bool {
        self.case || self.form
    }

    /// What all names have in common that are the same to the file system.
    pub fn key(&self, name: &str) -> String {
        let composed: String = if self.form { name.nfc().collect() } else { name.to_owned() };
        if self.case { composed.to_lowercase() } else { composed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fold_as_the_file_system_does() {
        let (case, form) = (true, true);
        let both = Folding { case, form };
        assert_eq!(both.key("Caf\u{e9}"), both.key("CAFE\u{301}"));
        let neither = Folding::default();
        assert_ne!(neither.key("a"), neither.key("A"));
        let form = Folding { case: false, form };
        assert_eq!(form.key("\u{e9}"), form.key("e\u{301}"));
        assert_ne!(form.key("a"), form.key("A"));
    }
}
