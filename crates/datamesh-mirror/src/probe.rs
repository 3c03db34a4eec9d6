//! What names the file system of a folder takes for one.

use std::ffi::OsString;
use std::path::Path;

use crate::folding::Folding;

/// Tries it with a file that is removed at once. Where none can be made, nothing will be written
/// either, and names are taken as they are.
pub(crate) fn folding(folder: &Path) -> Folding {
    let prefix = format!(".datamesh-sync-{}-", std::process::id());
    let made = |name: &str| {
        let path = folder.join(OsString::from(format!("{prefix}{name}")));
        let file = std::fs::File::options().write(true).create_new(true).open(&path);
        file.is_ok().then_some(path)
    };
    let found = |name: &str| folder.join(format!("{prefix}{name}")).symlink_metadata().is_ok();
    // A letter with its accent, in lower case.
    let Some(path) = made("\u{e9}") else { return Folding::default() };
    let folding = Folding { case: found("\u{c9}"), form: found("e\u{301}") };
    if let Err(error) = std::fs::remove_file(&path) {
        tracing::warn!(%error, path = %path.display(), "a file for a trial stays behind");
    }
    folding
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use super::*;

    #[test]
    fn the_trial_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        // Nothing is said of what it finds: that depends on where the tests run.
        let _ = folding(folder.path());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(folding(&folder.path().join("missing")), Folding::default());
    }
}
