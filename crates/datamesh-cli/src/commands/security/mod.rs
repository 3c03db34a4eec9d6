//! Commands on keys and on what protects the account.

mod audit;
mod keys;

pub(crate) use audit::AuditArgs;
pub(crate) use keys::KeysArgs;
