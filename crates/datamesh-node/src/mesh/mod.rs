//! What a home keeps of its mesh, and how it got there.

mod found;
mod invites;
mod join;
mod late;

pub(crate) use found::found;
pub(crate) use invites::{InviteLedger, InviteTerms};
pub(crate) use join::{join, redeem_node};
pub(crate) use late::LateService;

use datamesh_api::{ErrorKind, OperationError};
use datamesh_core::certificate::Delegation;
use datamesh_core::wire::{self, Decode, Encode};
use datamesh_core::{Genesis, Grant, InviteTicket, MeshId, NodeCertificate};
use datamesh_crypto::{IssuingKey, Secret, SigningKey};

use crate::home::Home;
use crate::system::SystemEntropy;

const GENESIS: &str = "mesh/genesis";
const GRANT: &str = "mesh/grant";
const CERTIFICATE: &str = "mesh/certificate";
const TICKET: &str = "mesh/ticket";
const REDEEMER: &str = "mesh/redeemer";
const DELEGATE_KEY: &str = "mesh/delegate.key";
const DELEGATION: &str = "mesh/delegation";
const NODE_KEY: &str = "node/key";

/// Reads a record of the home; damage is an error that names the file.
fn load<T: Decode>(home: &Home, name: &str) -> Result<Option<T>, OperationError> {
    let Some(bytes) = home.read(name)? else { return Ok(None) };
    wire::decode(&bytes).map(Some).map_err(|error| {
        let message = format!("{} is damaged: {error}", home.file(name).display());
        OperationError::new(ErrorKind::Failed, message).hint("put a copy of it back")
    })
}

fn store(home: &Home, name: &str, record: &impl Encode) -> Result<(), OperationError> {
    home.write(name, &record.to_bytes())
}

/// Reads a secret key of the home, or draws it on first use.
fn secret_key(home: &Home, name: &str) -> Result<SigningKey, OperationError> {
    if let Some(bytes) = home.read(name)? {
        let bytes = zeroize::Zeroizing::new(bytes);
        let secret: [u8; 32] = bytes.as_slice().try_into().map_err(|_| {
            let message = format!("{} is damaged", home.file(name).display());
            OperationError::new(ErrorKind::Failed, message).hint("put a copy of it back")
        })?;
        return Ok(SigningKey::from_secret(&Secret::new(secret)));
    }
    let key = SigningKey::draw(&SystemEntropy);
    home.write(name, &*key.secret())?;
    Ok(key)
}

/// The key of the home's node, drawn on first use.
pub(crate) fn node_key(home: &Home) -> Result<SigningKey, OperationError> {
    secret_key(home, NODE_KEY)
}

/// The mesh's first record; nothing in a home that has joined none.
pub(crate) fn genesis(home: &Home) -> Result<Option<Genesis>, OperationError> {
    load(home, GENESIS)
}

/// The account's permission to store.
pub(crate) fn grant(home: &Home) -> Result<Option<Grant>, OperationError> {
    load(home, GRANT)
}

/// The node's admission.
pub(crate) fn certificate(home: &Home) -> Result<Option<NodeCertificate>, OperationError> {
    load(home, CERTIFICATE)
}

/// The ticket that the home joined with.
pub(crate) fn ticket(home: &Home) -> Result<Option<InviteTicket>, OperationError> {
    load(home, TICKET)
}

/// The key with which this home's service admits others; nothing in homes that cannot.
pub(crate) fn issuing_key(home: &Home, mesh: MeshId) -> Result<Option<IssuingKey>, OperationError> {
    let Some(delegation) = load::<Delegation>(home, DELEGATION)? else { return Ok(None) };
    Ok(Some(IssuingKey::delegate(mesh, secret_key(home, DELEGATE_KEY)?, delegation)))
}

/// The error of a home that is in no mesh.
pub(crate) fn no_mesh(home: &Home) -> OperationError {
    let message = format!("{} has joined no mesh", home.path().display());
    OperationError::new(ErrorKind::Usage, message)
        .hint("join one with: datamesh join <ticket>, or found one with: datamesh service")
}
