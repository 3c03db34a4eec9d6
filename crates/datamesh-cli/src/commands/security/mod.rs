//! Commands on keys and on what protects the account.

mod keys;

pub(crate) use keys::KeysArgs;
