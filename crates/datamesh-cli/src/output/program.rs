//! The program's name in what is said of commands: with `--home` where that was given, so that what is
//! advised can be typed as it stands.

use std::borrow::Cow;
use std::path::Path;
use std::sync::OnceLock;

/// The program with its home.
static PROGRAM: OnceLock<String> = OnceLock::new();

/// What comes before the name of the program where a command is advised.
const BEFORE: [&str; 2] = ["`", ": "];

/// The program as it must be called for this home.
pub(crate) fn for_home(home: &Path) -> String {
    let path = home.display().to_string();
    let path = shlex::try_quote(&path).map_or_else(|_| path.clone(), Into::into);
    format!("datamesh --home {path}")
}

/// Commands are advised for this home from now on.
pub(crate) fn set_home(home: &Path) {
    // A console's own home stays; a line in it that names another one is an exception.
    PROGRAM.get_or_init(|| for_home(home));
}

/// A text with the program in it as it must be called.
pub(super) fn named(text: &str) -> Cow<'_, str> {
    let Some(program) = PROGRAM.get() else { return text.into() };
    replaced(text, program)
}

fn replaced<'a>(text: &'a str, program: &str) -> Cow<'a, str> {
    let mut text = Cow::from(text);
    for before in BEFORE {
        let usual = format!("{before}datamesh ");
        if text.contains(&usual) && !text.contains(&format!("{usual}--home ")) {
            text = text.replace(&usual, &format!("{before}{program} ")).into();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_are_advised_name_the_home() {
        let program = for_home(Path::new("/a b"));
        assert_eq!(
            replaced("make one with: datamesh init", &program),
            "make one with: datamesh --home '/a b' init"
        );
        assert_eq!(
            replaced("next: `datamesh service` founds one", &program),
            "next: `datamesh --home '/a b' service` founds one"
        );
        let there = "`datamesh --home x service` runs the datamesh node";
        assert_eq!(replaced(there, &program), there);
    }
}
