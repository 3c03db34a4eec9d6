//! The keystore opens with its password and with nothing else.

use datamesh_core::Signer;
use datamesh_crypto::keystore::{KeystoreError, open, seal};
use datamesh_crypto::{DeviceKeys, Words};

use crate::Counter;

#[test]
fn a_keystore_opens_with_its_password_only_and_damage_is_noticed() {
    let entropy = Counter::new(1);
    let keys = DeviceKeys::set_up(&Words::draw(&entropy), &entropy, 1);
    let file = seal(&keys, "correct horse", &entropy).unwrap();
    let again = open(&file, "correct horse").unwrap();
    assert_eq!((again.account(), again.device()), (keys.account(), keys.device()));
    assert_eq!(again.grant().public_key(), keys.grant().public_key());
    assert_eq!(open(&file, "correct horsf").unwrap_err(), KeystoreError::Password);
    // One byte in each field: magic, version, KDF, costs, salt, nonce, keys, tag.
    for at in [0, 4, 5, 20, 36, 60, file.len() - 1] {
        let mut changed = file.clone();
        changed[at] ^= 1;
        assert!(open(&changed, "correct horse").is_err(), "byte {at}");
    }
    for cut in [0, 3, 10, 45, 60, file.len() - 1] {
        assert!(open(&file[..cut], "correct horse").is_err(), "cut at {cut}");
    }
}

#[test]
fn hostile_costs_are_refused_before_memory_is_taken() {
    let entropy = Counter::new(1);
    let keys = DeviceKeys::set_up(&Words::draw(&entropy), &entropy, 1);
    let mut file = seal(&keys, "correct horse", &entropy).unwrap();
    file[6..10].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(open(&file, "correct horse"), Err(KeystoreError::Damaged(_))));
    assert_eq!(seal(&keys, "short", &entropy).err(), Some(KeystoreError::PasswordShort));
}
