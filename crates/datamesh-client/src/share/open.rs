//! Finding a share or a person's key on the mesh, and opening the share.

use std::sync::Arc;

use datamesh_core::catalog::EncapsulationKey;
use datamesh_core::share::{CONTACT_LOG, SHARE_LOG, SealedShare, ShareLock};
use datamesh_core::{BoxFuture, PublicKey, wire};
use datamesh_crypto::share::{contact_key, open_by_link};
use datamesh_crypto::{DeviceKeys, Secret, ShareBody, ShareError};
use datamesh_engine::{Engine, block};
use zeroize::Zeroizing;

use super::error::SharingError;
use crate::error::ClientError;

/// A share as nodes show it, its signature checked; not yet opened.
#[derive(Debug, Clone)]
pub struct FoundShare {
    share: PublicKey,
    revision: u64,
    sealed: SealedShare,
}

/// Looks for a share on a quorum of the nodes that keep it.
///
/// # Errors
/// [`SharingError::Revoked`], [`SharingError::Expired`] and [`SharingError::Gone`];
/// [`SharingError::MayBeOld`] where too few nodes answer to know that it was not revoked.
pub fn find_share<'a>(
    engine: &'a Engine,
    share: &'a PublicKey,
) -> BoxFuture<'a, Result<FoundShare, ClientError>> {
    Box::pin(async move {
        let mut read = engine.read_heads(share, &[]).await;
        let reached = read.reached();
        let head = read.heads.remove(&SHARE_LOG);
        // Its end is signed, and final whoever shows it.
        if head.as_ref().is_some_and(|head| head.ended) {
            return Err(SharingError::Revoked.into());
        }
        if read.needed == 0 {
            return Err(ClientError::NoNodes);
        }
        if !reached {
            return Err(SharingError::MayBeOld.into());
        }
        let head = head.ok_or(SharingError::Gone)?;
        if head.has_expired(engine.now()) {
            return Err(SharingError::Expired { expiry: head.expiry }.into());
        }
        let sealed = wire::decode(&head.sealed);
        let sealed = sealed.map_err(|_| SharingError::Share(ShareError::Damaged))?;
        Ok(FoundShare { share: *share, revision: head.revision, sealed })
    })
}

impl FoundShare {
    /// Whether a password is needed.
    pub fn has_password(&self) -> bool {
        matches!(self.sealed.lock, ShareLock::Password(_))
    }

    /// Opens it by the secret of its link.
    ///
    /// # Errors
    /// [`SharingError::Share`] says why it does not open.
    pub fn open_by_link<'a>(
        &'a self,
        engine: &'a Engine,
        secret: &'a Secret,
        password: Option<Zeroizing<String>>,
    ) -> BoxFuture<'a, Result<ShareBody, ClientError>> {
        Box::pin(async move {
            let (found, secret, mesh) = (self.clone(), secret.clone(), engine.mesh());
            let executor = Arc::clone(engine.executor());
            let opened = block(&*executor, move || {
                let password = password.as_ref().map(|password| password.as_str());
                open_by_link(
                    &secret,
                    password,
                    (&mesh, &found.share, found.revision),
                    &found.sealed,
                )
            });
            let opened = opened.await.ok_or(ClientError::Shutdown)?;
            Ok(opened.map_err(SharingError::from)?)
        })
    }

    /// Opens it as the person whom it is for.
    ///
    /// # Errors
    /// [`SharingError::Share`] says why it does not open.
    pub fn open_as(&self, engine: &Engine, keys: &DeviceKeys) -> Result<ShareBody, ClientError> {
        let opened = keys.open_share((&engine.mesh(), &self.share, self.revision), &self.sealed);
        Ok(opened.map_err(SharingError::from)?)
    }
}

/// The key that shares for a person are wrapped to.
///
/// # Errors
/// [`SharingError::NoContact`] where nodes have none, [`SharingError::MayBeOld`] where too few answer to
/// know that.
pub fn find_contact<'a>(
    engine: &'a Engine,
    contact: &'a PublicKey,
) -> BoxFuture<'a, Result<EncapsulationKey, ClientError>> {
    Box::pin(async move {
        let mut read = engine.read_heads(contact, &[]).await;
        match read.heads.remove(&CONTACT_LOG) {
            // There is only ever one, so any node's will do.
            Some(head) => Ok(contact_key(&head)?),
            None if read.reached() => Err(SharingError::NoContact.into()),
            None => Err(SharingError::MayBeOld.into()),
        }
    })
}
