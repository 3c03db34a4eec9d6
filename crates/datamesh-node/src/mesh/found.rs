//! Founding a mesh: the first `service` in a home that has an account and has joined none; and taking
//! a founded mesh up again in another home of the founder.

use datamesh_api::OperationError;
use datamesh_core::certificate::NodeClaim;
use datamesh_core::message::NodeRequest;
use datamesh_core::{Clock, Genesis, NodeCertificate, Signer, seam};
use datamesh_crypto::{DeviceKeys, IssuingKey, authority};

use super::{CERTIFICATE, DELEGATE_KEY, DELEGATION, GENESIS, GRANT};
use crate::home::Home;
use crate::system::{SystemClock, SystemEntropy};

/// Founds a mesh whose authority is the home's account, and admits the home's node and account.
/// Genesis is written last: without it there is no mesh, and founding begins anew.
pub(crate) fn found(
    home: &Home,
    keys: &DeviceKeys,
    request: NodeRequest,
    lease_days: u32,
) -> Result<NodeCertificate, OperationError> {
    let nonce = seam::random(&SystemEntropy);
    let genesis = authority::found(keys.authority(), SystemClock.now(), lease_days, nonce);
    let (issuing, certificate) = empower(home, keys, &genesis, request)?;
    let grant = issuing.grant(keys.grant().public_key(), u64::MAX, 1, 0);
    super::store(home, GRANT, &grant)?;
    super::store(home, GENESIS, &genesis)?;
    Ok(certificate)
}

/// Whether the mesh's authority is this account.
pub(crate) fn is_authority(keys: &DeviceKeys, genesis: &Genesis) -> bool {
    keys.authority().public_key() == genesis.authority
}

/// Makes a home of the founder's account issue invites and admits its node: after the home that did
/// was lost and the account recovered.
pub(crate) fn found_again(
    home: &Home,
    keys: &DeviceKeys,
    genesis: &Genesis,
    request: NodeRequest,
) -> Result<NodeCertificate, OperationError> {
    empower(home, keys, genesis, request).map(|(_, certificate)| certificate)
}

/// Gives a fresh delegate of the authority to this home, and its node a certificate.
fn empower(
    home: &Home,
    keys: &DeviceKeys,
    genesis: &Genesis,
    request: NodeRequest,
) -> Result<(IssuingKey, NodeCertificate), OperationError> {
    let node = super::node_key(home)?.node_id();
    let delegate = super::secret_key(home, DELEGATE_KEY)?;
    let mesh = genesis.mesh_id();
    let delegation = authority::delegate(keys.authority(), &mesh, delegate.public_key(), 1, 0);
    let issuing = IssuingKey::delegate(mesh, delegate, delegation.clone());
    let NodeRequest { operator, domain, capacity } = request;
    let claim = NodeClaim { node, operator, domain, capacity_cap: capacity, serial: 1, expiry: 0 };
    let certificate = issuing.certify(claim);
    super::store(home, DELEGATION, &delegation)?;
    super::store(home, CERTIFICATE, &certificate)?;
    Ok((issuing, certificate))
}
