//! Wrapping a key to a device or a person: HPKE (RFC 9180), base mode, with X-Wing, HKDF-SHA256 and AES-256-GCM.
//!
//! `encapsulated key (1120) ‖ ciphertext of the key (32) ‖ tag (16)`. A device's X-Wing key follows from
//! its log key, so that it needs no room in the keystore and is as much the device's own; a person's from the
//! account's words.

use std::convert::Infallible;

use datamesh_core::catalog::EncapsulationKey;
use datamesh_core::epochs::WRAP_BYTES;
use datamesh_core::{DeviceId, Entropy};
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use zeroize::Zeroizing;

use crate::Secret;
use crate::content::SealError;
use crate::tree;

const KEY_SALT: &[u8] = b"datamesh device encapsulation v1";

/// Bytes of an encapsulated key.
const ENCAPSULATED_BYTES: usize = 1120;

/// Chance for HPKE.
struct Chance<'a>(&'a dyn Entropy);

impl TryRng for Chance<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(datamesh_core::seam::random(self.0)))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(datamesh_core::seam::random(self.0)))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Chance<'_> {}

/// The secret half of an X-Wing key.
pub(crate) struct UnwrappingKey(<XWing as Kem>::PrivateKey);

impl UnwrappingKey {
    /// The key of the device with this log key.
    pub(crate) fn of_device(log_key: &Secret, device: &DeviceId) -> Self {
        Self::from_seed(&tree::derive(KEY_SALT, &**log_key, &[&device.0]))
    }

    /// The key that follows from a seed.
    pub(crate) fn from_seed(seed: &Secret) -> Self {
        Self(XWing::derive_keypair(&**seed).0)
    }

    /// The public half.
    pub(crate) fn public(&self) -> EncapsulationKey {
        EncapsulationKey(Box::new(XWing::sk_to_pk(&self.0).to_bytes().into()))
    }

    /// Unwraps what [`wrap`] made for this key, purpose and context.
    pub(crate) fn unwrap_key(
        &self,
        purpose: &'static [u8],
        context: &[u8],
        wrapped: &[u8; WRAP_BYTES],
    ) -> Result<Secret, SealError> {
        let what = "wrapped key";
        let wrong = SealError::Open { what };
        let (encapsulated, sealed) = wrapped.split_at(ENCAPSULATED_BYTES);
        let encapsulated = <XWing as Kem>::EncappedKey::from_bytes(encapsulated);
        let plain = hpke::single_shot_open::<AesGcm256, HkdfSha256, XWing>(
            &OpModeR::Base,
            &self.0,
            &encapsulated.map_err(|_| wrong)?,
            purpose,
            sealed,
            context,
        );
        let plain = Zeroizing::new(plain.map_err(|_| wrong)?);
        let key: [u8; 32] = plain.as_slice().try_into().map_err(|_| wrong)?;
        Ok(Secret::new(key))
    }
}

/// Wraps a key to a public key, for one purpose and context.
pub(crate) fn wrap(
    to: &EncapsulationKey,
    entropy: &dyn Entropy,
    purpose: &'static [u8],
    context: &[u8],
    key: &Secret,
) -> Result<Box<[u8; WRAP_BYTES]>, SealError> {
    let to = <XWing as Kem>::PublicKey::from_bytes(&*to.0).map_err(|_| SealError::Seal)?;
    let (encapsulated, sealed) = hpke::single_shot_seal_with_rng::<AesGcm256, HkdfSha256, XWing>(
        &OpModeS::Base,
        &to,
        purpose,
        &**key,
        context,
        &mut Chance(entropy),
    )
    .map_err(|_| SealError::Seal)?;
    let mut wrapped = Box::new([0; WRAP_BYTES]);
    if encapsulated.to_bytes().len() + sealed.len() != WRAP_BYTES {
        return Err(SealError::Seal);
    }
    wrapped[..ENCAPSULATED_BYTES].copy_from_slice(&encapsulated.to_bytes());
    wrapped[ENCAPSULATED_BYTES..].copy_from_slice(&sealed);
    Ok(wrapped)
}
