//! The order in which found files are shown, where it is not that in which they were found.

use clap::ValueEnum;
use datamesh_api::FileVersion;

/// Orders of files that were chosen by something else.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum By {
    Name,
    Size,
    Date,
}

/// Puts what `file` finds in each item in this order.
pub(crate) fn sort<T>(items: &mut [T], by: By, file: impl Fn(&T) -> &FileVersion) {
    items.sort_by(|one, other| {
        let (one, other) = (file(one), file(other));
        match by {
            By::Name => one.path.cmp(&other.path),
            By::Size => one.size.cmp(&other.size).then_with(|| one.path.cmp(&other.path)),
            By::Date => one.created.cmp(&other.created).then_with(|| one.path.cmp(&other.path)),
        }
    });
}
