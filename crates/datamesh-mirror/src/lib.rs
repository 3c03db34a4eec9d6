//! The files of this machine, and their mirror on the mesh.
//!
//! [`local`] reads the files that are stored and writes those that are fetched, for every command.
//! [`Mirror`] keeps a local folder and a mesh folder alike, through the
//! [`Operations`](datamesh_api::Operations) of a daemon or of this process: it looks at both
//! ([`scan`]), compares them with what both had the last time ([`Base`]), decides ([`plan`]), and
//! does it. No key and no SQL is here.
#![allow(
    clippy::disallowed_methods,
    reason = "local files live in real time and are read on real threads"
)]

mod base;
mod cover;
mod fingerprint;
mod folding;
pub mod local;
mod mirror;
pub mod parsers;
pub mod plan;
mod probe;
mod remote;
mod report;
mod rules;
mod run;
pub mod scan;
pub mod tree;
mod watch;

pub use base::{Base, BaseError, Found};
pub use fingerprint::Fingerprint;
pub use folding::Folding;
pub use mirror::{Mirror, Options};
pub use report::{Amount, Report};
pub use rules::{IGNORE_FILE, PatternError, Rules};
pub use watch::Changes;
