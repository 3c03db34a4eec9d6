//! A world checks each signature once, and every node is told what its own check would have said.

use datamesh_core::signature::checked;
use datamesh_core::{Context, MeshId, NodeId, Signature, Signer};
use datamesh_crypto::SigningKey;
use datamesh_testkit::sim;

const MESH: MeshId = MeshId([7; 32]);

#[test]
fn what_was_checked_before_is_not_checked_again() {
    sim::run(1, |world| async move {
        let signer = SigningKey::draw(&*world.entropy(NodeId([1; 32])));
        let (key, signature) = (signer.public_key(), signer.sign(Context::Advert, &MESH, b"body"));
        for _ in 0..3 {
            key.verify(Context::Advert, &MESH, b"body", &signature).unwrap();
            assert_eq!(checked::count(), Some(1));
        }
    });
    assert_eq!(checked::count(), None, "it ended with the world");
}

#[test]
fn nothing_that_differs_is_taken_for_what_holds() {
    sim::run(1, |world| async move {
        let entropy = world.entropy(NodeId([1; 32]));
        let (signer, other) = (SigningKey::draw(&*entropy), SigningKey::draw(&*entropy));
        let (key, signature) = (signer.public_key(), signer.sign(Context::Advert, &MESH, b"body"));
        key.verify(Context::Advert, &MESH, b"body", &signature).unwrap();
        let mut flipped = signature.0;
        flipped[40] ^= 1;
        // The second time each is known to be wrong.
        for _ in 0..2 {
            let wrong = [
                key.verify(Context::Head, &MESH, b"body", &signature),
                key.verify(Context::Advert, &MeshId([8; 32]), b"body", &signature),
                key.verify(Context::Advert, &MESH, b"bodx", &signature),
                key.verify(Context::Advert, &MESH, b"body", &Signature(flipped)),
                other.public_key().verify(Context::Advert, &MESH, b"body", &signature),
            ];
            assert!(wrong.iter().all(Result::is_err), "{wrong:?}");
            assert_eq!(checked::count(), Some(6));
        }
        key.verify(Context::Advert, &MESH, b"body", &signature).unwrap();
    });
}
