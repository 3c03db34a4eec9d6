//! Founding a mesh: the first `service` in a home that has an account and has joined none.

use datamesh_api::OperationError;
use datamesh_core::certificate::NodeClaim;
use datamesh_core::{Clock, Domain, NodeCertificate, Signer, seam};
use datamesh_crypto::{DeviceKeys, IssuingKey, authority};

use super::{CERTIFICATE, DELEGATE_KEY, DELEGATION, GENESIS, GRANT};
use crate::home::Home;
use crate::system::{SystemClock, SystemEntropy};

/// Founds a mesh whose authority is the home's account, and admits the home's node and account.
/// Genesis is written last: without it there is no mesh, and founding begins anew.
pub(crate) fn found(
    home: &Home,
    keys: &DeviceKeys,
    operator: String,
    domain: Domain,
    capacity_cap: u64,
) -> Result<NodeCertificate, OperationError> {
    let node = super::node_key(home)?.node_id();
    let delegate = super::secret_key(home, DELEGATE_KEY)?;
    let nonce = seam::random(&SystemEntropy);
    let genesis = authority::found(keys.authority(), SystemClock.now(), 0, nonce);
    let mesh = genesis.mesh_id();
    let delegation = authority::delegate(keys.authority(), &mesh, delegate.public_key(), 1, 0);
    let issuing = IssuingKey::delegate(mesh, delegate, delegation.clone());
    let claim = NodeClaim { node, operator, domain, capacity_cap, serial: 1, expiry: 0 };
    let certificate = issuing.certify(claim);
    let grant = issuing.grant(keys.grant().public_key(), u64::MAX, 1, 0);
    super::store(home, DELEGATION, &delegation)?;
    super::store(home, CERTIFICATE, &certificate)?;
    super::store(home, GRANT, &grant)?;
    super::store(home, GENESIS, &genesis)?;
    Ok(certificate)
}
