//! What whoever a file is shared with is told: one version of it, and who shares it.

use datamesh_core::catalog::{Content, LogCertificate};
use datamesh_core::wire::{Decode, Encode, Reader, WireError, Writer};
use datamesh_core::{
    AccountId, Context, Hash, MeshId, MeshPath, PublicKey, Signature, Timestamp, VersionId,
};
use zeroize::Zeroizing;

use super::ShareError;
use crate::content::VersionKey;

/// The account that shares a file, as it says to the person that it is shared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sharer {
    /// The account's statement for the device that signed.
    pub certificate: LogCertificate,
    /// The device's signature over share and contact, so that it is worth nothing to anybody else.
    pub signature: Signature,
}

impl Sharer {
    /// The bytes that the device signs.
    pub fn signed_part(share: &PublicKey, contact: &PublicKey) -> Vec<u8> {
        [share.0, contact.0].concat()
    }

    /// The account.
    pub fn account(&self) -> AccountId {
        self.certificate.account
    }

    /// Checks that the account certified the device and the device signed this.
    ///
    /// # Errors
    /// [`ShareError::Sharer`].
    pub fn verify(
        &self,
        mesh: &MeshId,
        share: &PublicKey,
        contact: &PublicKey,
    ) -> Result<(), ShareError> {
        let body = Self::signed_part(share, contact);
        let key = &self.certificate.log_key;
        let holds = self.certificate.verify().is_ok()
            && key.verify(Context::Share, mesh, &body, &self.signature).is_ok();
        if holds { Ok(()) } else { Err(ShareError::Sharer) }
    }
}

/// What is sealed in a share: a version of the file, whole, and nothing of what shares segments with it.
pub struct ShareBody {
    /// The file's own name: one component, without the folders that it lies in.
    pub name: MeshPath,
    /// POSIX permission bits; 0 where unknown.
    pub mode: u32,
    /// When the source was last changed; 0 where unknown.
    pub modified: Timestamp,
    /// Bytes of plaintext.
    pub size: u64,
    /// BLAKE3 of the plaintext.
    pub hash: Hash,
    /// The version.
    pub version: VersionId,
    /// The key that its content is sealed under.
    pub key: VersionKey,
    /// The sealed content or manifest, as the catalog has it.
    pub content: Content,
    /// Who shares it; nothing in a share by link.
    pub sharer: Option<Sharer>,
}

impl std::fmt::Debug for ShareBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ShareBody({}, {} bytes)", self.version, self.size)
    }
}

impl ShareBody {
    /// Newest version of the layout.
    pub const VERSION: u8 = 1;

    fn encode_version(&self, out: &mut Writer) {
        out.u8(Self::VERSION).text(self.name.as_str());
        out.u32(self.mode).u64(self.modified).u64(self.size).raw(&self.hash.0);
        out.raw(&self.version.0).raw(&**self.key.secret());
        self.content.encode(out);
    }

    /// All but the sharer, which is another for each device.
    pub(super) fn unsigned_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Writer::new();
        self.encode_version(&mut out);
        Zeroizing::new(out.into_vec())
    }
}

impl Encode for ShareBody {
    fn encode(&self, out: &mut Writer) {
        self.encode_version(out);
        out.flag(self.sharer.is_some());
        if let Some(sharer) = &self.sharer {
            sharer.certificate.encode(out);
            sharer.signature.encode(out);
        }
    }
}

impl Decode for ShareBody {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.version("share body", Self::VERSION)?;
        let name = from.text("name", MeshPath::COMPONENT_BYTES_MAX)?;
        let name: MeshPath = name.parse().map_err(|_| WireError::Invalid { field: "name" })?;
        if name.components().count() != 1 {
            return Err(WireError::Invalid { field: "name" });
        }
        let (mode, modified, size) = (from.u32()?, from.u64()?, from.u64()?);
        let (hash, version) = (Hash::decode(from)?, VersionId::decode(from)?);
        let key = VersionKey::from_secret(crate::Secret::new(from.array()?));
        let content = Content::decode(from)?;
        let sharer = match from.flag("sharer")? {
            true => Some(Sharer {
                certificate: LogCertificate::decode(from)?,
                signature: Signature::decode(from)?,
            }),
            false => None,
        };
        Ok(Self { name, mode, modified, size, hash, version, key, content, sharer })
    }
}
