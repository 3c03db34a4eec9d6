//! Commands on keys and on what protects the account.

mod audit;
mod keys;
mod security;
mod transport;

pub(crate) use audit::AuditArgs;
pub(crate) use keys::KeysArgs;
pub(crate) use security::SecurityArgs;
pub(crate) use transport::TransportArgs;
