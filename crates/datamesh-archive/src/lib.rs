//! Archives: files of an account taken out into one file that other programs open, and archives from
//! anywhere brought in.
//!
//! [`export`] writes and [`import`] reads, through the [`Operations`](datamesh_api::Operations) of a
//! daemon or of this process. The formats are tar, tar.zst and zip ([`tar`], [`zip`]), under a password
//! in the format of age. What an archive says is believed of nobody: names ([`Name`]), sizes
//! ([`Limits`]) and what its parts say of each other are checked before anything is stored
//! (`docs/archives.md`). No SQL is here, and no path of this machine but the archive's own.
#![allow(clippy::disallowed_methods, reason = "archives are read and written on real threads")]

mod entry;
mod error;
pub mod export;
mod format;
pub mod import;
mod layers;
mod limits;
mod metadata;
mod names;
mod open;
pub mod parsers;
mod paths;
mod sealed;
pub mod tar;
pub mod zip;

pub use entry::{Entry, Found, Kind, Pen, Walk};
pub use error::ArchiveError;
pub use export::{ExportOptions, ExportReport, PASSWORD_WORK, Target, export};
pub use format::Format;
pub use import::{ImportOptions, ImportReport, import};
pub use layers::{Bottom, Layer};
pub use limits::Limits;
pub use metadata::{METADATA_BYTES_MAX, Metadata};
pub use names::Name;
pub use open::{Archive, AskPassword};
