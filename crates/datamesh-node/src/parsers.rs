//! What a stranger's bytes or a damaged file of the home meet first, as functions of bytes: for the
//! fuzzer, which nothing of this may make panic, hang or allocate without bound.

use crate::{audit_log, bootstrap, config, keys, local, mesh};

/// A frame of the local socket: its kind, then what is in it. Returns whether it could be read.
pub fn local(bytes: &[u8]) -> bool {
    bytes.split_first().is_some_and(|(frame, payload)| local::reads(*frame, payload))
}

/// The configuration file. Returns whether it could be read and each value is one.
pub fn config(bytes: &[u8]) -> bool {
    config::check_bytes(bytes)
}

/// Files of the home and files that people hand around: the ledger of invites, a key file, a line of
/// the audit log, the list of peers to begin with. Returns whether it is any of them.
pub fn home(bytes: &[u8]) -> bool {
    mesh::is_one_ledger(bytes)
        | keys::is_one_key_file(bytes)
        | audit_log::is_entry(bytes)
        | bootstrap::is_list(bytes)
}
