//! What a home keeps of its mesh, and how it got there.

mod found;
mod invites;
mod join;
mod late;
mod loopback;

pub(crate) use found::{found, found_again, is_authority};
pub(crate) use invites::{InviteLedger, InviteTerms, is_one_ledger};
pub(crate) use join::{join, redeem_node};
pub(crate) use late::LateService;
pub(crate) use loopback::Loopback;

use datamesh_api::{ErrorKind, OperationError};
use datamesh_core::certificate::{AdmissionError, Delegation};
use datamesh_core::wire::{self, Decode, Encode};
use datamesh_core::{Clock, Genesis, Grant, InviteTicket, NodeCertificate, NodeId, Signer};
use datamesh_crypto::{IssuingKey, Secret, SigningKey};

use crate::home::Home;
use crate::system::{SystemClock, SystemEntropy};

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
    wire::decode(&bytes).map(Some).map_err(|error| damaged(home, name, &error))
}

fn damaged(home: &Home, name: &str, why: &dyn std::error::Error) -> OperationError {
    let message = format!("{} is damaged: {why}", home.file(name).display());
    OperationError::new(ErrorKind::Failed, message).hint("put a copy of it back")
}

/// What a signed record of the home is worth now: one whose signature does not hold is damaged,
/// as it was checked when it came.
fn held<T>(
    home: &Home,
    name: &str,
    record: T,
    checked: Result<(), AdmissionError>,
) -> Result<T, OperationError> {
    match checked {
        Ok(()) => Ok(record),
        Err(error @ AdmissionError::Signature(_)) => Err(damaged(home, name, &error)),
        Err(error @ AdmissionError::Expired { .. }) => {
            let message = format!("{}: {error}", home.file(name).display());
            Err(OperationError::new(ErrorKind::Failed, message)
                .hint("ask for a fresh ticket: datamesh invite, on the node that issues them"))
        }
    }
}

/// Writes a record of the home. What the next start could not read is not written.
fn store<T: Encode + Decode + PartialEq>(
    home: &Home,
    name: &'static str,
    record: &T,
) -> Result<(), OperationError> {
    let bytes = wire::encode_readable(name, record).map_err(|error| {
        let message = format!("{} cannot be written: {error}", home.file(name).display());
        OperationError::new(ErrorKind::Failed, message)
    })?;
    home.write(name, &bytes)
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

/// Whether the home belongs to a mesh, or has a ticket for one.
pub fn has_mesh(home: &Home) -> bool {
    home.has(GENESIS) || home.has(TICKET)
}

/// The mesh's first record; nothing in a home that has joined none.
pub(crate) fn genesis(home: &Home) -> Result<Option<Genesis>, OperationError> {
    let Some(genesis) = load::<Genesis>(home, GENESIS)? else { return Ok(None) };
    match genesis.verify() {
        Ok(()) => Ok(Some(genesis)),
        Err(error) => Err(damaged(home, GENESIS, &error)),
    }
}

/// The account's permission to store in this mesh.
pub(crate) fn grant(home: &Home, genesis: &Genesis) -> Result<Option<Grant>, OperationError> {
    let Some(grant) = load::<Grant>(home, GRANT)? else { return Ok(None) };
    let now = SystemClock.now();
    let checked = grant.verify(&genesis.authority, &genesis.mesh_id(), now);
    held(home, GRANT, grant, checked).map(Some)
}

/// The admission of this home's node with its key.
pub(crate) fn admission(
    home: &Home,
    genesis: &Genesis,
    node: NodeId,
) -> Result<Option<NodeCertificate>, OperationError> {
    let Some(certificate) = certificate(home)? else { return Ok(None) };
    let now = SystemClock.now();
    let checked = certificate.verify(&genesis.authority, &genesis.mesh_id(), now);
    let certificate = held(home, CERTIFICATE, certificate, checked)?;
    if certificate.claim.node != node {
        let message = format!(
            "{} is not the key that the mesh admitted: it is that of {node}, and the certificate \
             is for {}",
            home.file(NODE_KEY).display(),
            certificate.claim.node
        );
        return Err(OperationError::new(ErrorKind::Failed, message).hint("put a copy of it back"));
    }
    Ok(Some(certificate))
}

/// The node's admission, as it lies in the home.
pub(crate) fn certificate(home: &Home) -> Result<Option<NodeCertificate>, OperationError> {
    load(home, CERTIFICATE)
}

/// The ticket that the home joined with.
pub(crate) fn ticket(home: &Home) -> Result<Option<InviteTicket>, OperationError> {
    load(home, TICKET)
}

/// The key with which this home's service admits others; nothing in homes that cannot.
pub(crate) fn issuing_key(
    home: &Home,
    genesis: &Genesis,
) -> Result<Option<IssuingKey>, OperationError> {
    let Some(delegation) = load::<Delegation>(home, DELEGATION)? else { return Ok(None) };
    let mesh = genesis.mesh_id();
    let checked = delegation.verify(&genesis.authority, &mesh, SystemClock.now());
    let delegation = held(home, DELEGATION, delegation, checked)?;
    let key = secret_key(home, DELEGATE_KEY)?;
    if key.public_key() != delegation.delegate {
        let message = format!(
            "{} is not the key that the mesh's authority empowered",
            home.file(DELEGATE_KEY).display()
        );
        return Err(OperationError::new(ErrorKind::Failed, message).hint("put a copy of it back"));
    }
    Ok(Some(IssuingKey::delegate(mesh, key, delegation)))
}

/// Remembers the mesh's first record, which was checked. From here on the home is in the mesh.
pub(crate) fn keep_genesis(home: &Home, genesis: &Genesis) -> Result<(), OperationError> {
    store(home, GENESIS, genesis)
}

/// Keeps the account's permission to store, which must hold.
pub(crate) fn keep_grant(
    home: &Home,
    genesis: &Genesis,
    grant: &Grant,
) -> Result<(), OperationError> {
    let checked = grant.verify(&genesis.authority, &genesis.mesh_id(), SystemClock.now());
    checked.map_err(|error| {
        OperationError::new(ErrorKind::Failed, format!("the account's grant: {error}"))
    })?;
    store(home, GRANT, grant)
}

/// The error of a home that is in no mesh.
pub(crate) fn no_mesh(home: &Home) -> OperationError {
    let message = format!("{} has joined no mesh", home.path().display());
    OperationError::usage(message)
        .hint("join one with: datamesh join <ticket>, or found one with: datamesh service")
}
