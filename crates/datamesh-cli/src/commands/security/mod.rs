//! Commands on keys and on what protects the account.

mod audit;
mod keys;
mod protection;
mod transport;

pub(crate) use audit::AuditArgs;
pub(crate) use keys::KeysArgs;
pub(crate) use protection::SecurityArgs;
pub(crate) use transport::TransportArgs;
