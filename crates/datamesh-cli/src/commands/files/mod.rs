//! Commands about files.

mod duplicate;
mod get;
mod info;
mod list;
mod pin;
mod placed;
mod put;
mod qr;
mod remove;
mod rename;
mod share;
mod sync;
mod versions;

pub(crate) use duplicate::DuplicateArgs;
pub(crate) use get::{GetArgs, merged, tell_fetched};
pub(crate) use info::InfoArgs;
pub(crate) use list::{ListArgs, row};
pub(crate) use pin::{PinArgs, UnpinArgs};
pub(crate) use put::{PutArgs, tell_stored};
pub(crate) use remove::RemoveArgs;
pub(crate) use rename::RenameArgs;
pub(crate) use share::ShareArgs;
pub(crate) use sync::SyncArgs;
pub(crate) use versions::VersionsArgs;

use datamesh_api::FileVersion;
use datamesh_core::catalog::EntryKind;

/// Bytes of a transfer whose rate says something: below, it is the time of a few exchanges.
const RATED_BYTES_MIN: u64 = 1 << 20;

/// How a version is protected, in a word or two.
fn protection(version: &FileVersion) -> String {
    match (version.scheme, version.degraded) {
        (Some(scheme), false) => scheme.to_string(),
        (Some(scheme), true) => format!("{scheme} degraded"),
        (None, _) if version.deleted || version.kind == Some(EntryKind::Folder) => "-".to_owned(),
        (None, _) => "catalog".to_owned(),
    }
}
