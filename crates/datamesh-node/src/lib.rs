//! Composition: what makes crates into a running node.
//!
//! A [`Home`] is the folder with all state of one node, one account, or both. [`run_service`] is
//! the daemon: one readable place where everything is wired, started and stopped. [`connect`] gives
//! a command its [`Operations`](datamesh_api::Operations): the daemon's, over its socket, or the
//! same ones in this process.
#![allow(
    clippy::disallowed_methods,
    reason = "this crate implements the seams for time, chance, tasks and blocking work"
)]

mod account;
mod audit_log;
mod bandwidth;
mod bootstrap;
mod completion;
pub mod config;
mod connect;
mod convert;
mod discovery;
mod doctor;
mod home;
mod keys;
mod local;
mod mesh;
mod operations;
#[doc(hidden)]
pub mod parsers;
mod presets;
mod recover;
mod service;
mod system;
mod visit;
mod workers;

pub use account::{DrawnAccount, PasswordSource, has_account};
pub use audit_log::{
    AuditEntry, AuditFilter, AuditLogChecked, AuditLogProblem, RecordedEntry, list_audit_log,
    verify_audit_log,
};
pub use completion::{
    Candidate, addresses_beginning, names_beginning, peers_beginning, shares_beginning,
};
pub use connect::{connect, is_served};
pub use datamesh_net::check_dial;
pub use doctor::doctor;
pub use home::{Home, Status, read_status};
pub use keys::{KEY_FILE_BYTES_MAX, add_device, export_keys, import_keys, recovery_kit};
pub use mesh::has_mesh;
pub use presets::{PRESETS, Preset};
pub use recover::{RecoveredAccount, check_words, recover_account};
pub use service::{ServiceOptions, counts_at_once, run_service, usual_operator};
pub use system::SystemEntropy;
pub use visit::{LinkLook, connect_for_link, is_link, look_at_link};
