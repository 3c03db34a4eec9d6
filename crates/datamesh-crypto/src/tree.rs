//! The key tree: every key of an account from the entropy behind its words.
//!
//! `key = HKDF-SHA256(salt = "datamesh key tree v1", secret = entropy, info = label)` (RFC 5869),
//! 32 bytes each. The labels are part of the format (`docs/specs/keystore.md`) and never change.

use aws_lc_rs::hkdf;
use zeroize::Zeroizing;

use crate::Secret;

const SALT: &[u8] = b"datamesh key tree v1";

/// The names of the tree's branches.
pub mod label {
    /// Ed25519: the account itself; certifies log keys.
    pub const IDENTITY: &str = "identity";
    /// Ed25519: the authority of a mesh that this account founds.
    pub const AUTHORITY: &str = "authority";
    /// Ed25519: signs store tickets.
    pub const GRANT: &str = "grant";
    /// The catalog's sealing key; the epoch's number follows after a slash.
    pub const CATALOG: &str = "catalog";
    /// Heads of logs.
    pub const HEAD: &str = "head";
    /// Root of the lease keys.
    pub const LEASE: &str = "lease";
    /// Keyed hash for finding equal content inside the account.
    pub const DEDUP: &str = "dedup";
    /// Seed of the key that others wrap to.
    pub const ENCAPSULATION: &str = "encapsulation";
}

struct Bytes32;

impl hkdf::KeyType for Bytes32 {
    fn len(&self) -> usize {
        32
    }
}

/// One key from a secret: HKDF with the given salt and the joined parts of `info`.
pub(crate) fn derive(salt: &[u8], secret: &[u8], info: &[&[u8]]) -> Secret {
    let mut key = Zeroizing::new([0; 32]);
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    // HKDF refuses only outputs above 255 hashes; 32 bytes are one. Should it fail all the same,
    // no key may come out.
    let filled = prk.expand(info, Bytes32).and_then(|okm| okm.fill(&mut *key));
    assert!(filled.is_ok(), "HKDF gives 32 bytes");
    key
}

/// The key of one branch of the tree.
pub(crate) fn branch(entropy: &Secret, label: &str) -> Secret {
    derive(SALT, &**entropy, &[label.as_bytes()])
}

/// The catalog key of an epoch.
pub(crate) fn catalog_branch(entropy: &Secret, epoch: u32) -> Secret {
    branch(entropy, &format!("{}/{epoch}", label::CATALOG))
}
