//! What strangers publish as shares and contacts, and what is sealed in a share that opens.

use datamesh_core::share::{Contact, SealedShare, Share, ShareLock, Unshare};
use datamesh_core::wire::decode;
use datamesh_core::{MeshId, PublicKey};
use datamesh_crypto::share::open_by_link;
use datamesh_crypto::{Secret, ShareBody};

use crate::records::one;

pub(crate) fn share(bytes: &[u8]) {
    one::<Contact>(bytes);
    one::<SealedShare>(bytes);
    one::<Share>(bytes);
    one::<Unshare>(bytes);
    one::<ShareBody>(bytes);
    let Ok(sealed) = decode::<SealedShare>(bytes) else { return };
    // What a password's costs would take is not paid here.
    if sealed.lock == ShareLock::Link {
        let secret = Secret::new([1; 32]);
        let place = (&MeshId([1; 32]), &PublicKey([1; 32]), 1);
        assert!(open_by_link(&secret, None, place, &sealed).is_err(), "a share of foreign bytes");
    }
}
