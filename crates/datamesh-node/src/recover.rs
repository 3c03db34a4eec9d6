//! From 24 words to everything the account has.
//!
//! Needs one node that answers: it tells the mesh and its members; the account's heads on them tell
//! the rest. The home becomes a device of its own with a log of its own; nothing that other devices
//! hold is touched. The keystore is written last, so a home that was cut off here has no account
//! and can be tried again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datamesh_api::{ErrorKind, OperationError};
use datamesh_catalog::Totals;
use datamesh_client::{Client, ClientParts, Publication, derive_epochs, find_grant};
use datamesh_core::message::{Reply, Request};
use datamesh_core::{AccountId, Clock, Genesis, MeshId, NodeId, Transport};
use datamesh_crypto::{DeviceKeys, SigningKey, Words};
use datamesh_engine::{Engine, ask};
use datamesh_net::{Network, NetworkConfig, NetworkError};
use zeroize::Zeroizing;

use crate::audit_log::AuditLog;
use crate::home::Home;
use crate::mesh::{self, LateService};
use crate::operations::engine_over;
use crate::system::{SystemClock, SystemEntropy};
use crate::{account, convert};

/// How long the first node may take to answer.
const DEADLINE: Duration = Duration::from_secs(15);

/// Nodes that are asked for the membership view.
const VIEW_TRIES: usize = 8;

/// Further members that the view is compared with.
const VIEW_CHECKS: usize = 4;

/// What was recovered.
pub struct RecoveredAccount {
    /// The account.
    pub account: AccountId,
    /// The mesh.
    pub mesh: MeshId,
    /// What its catalog has.
    pub files: u64,
    /// Versions of all files.
    pub versions: u64,
    /// Bytes of the files' current versions.
    pub bytes: u64,
}

/// Whether these are 24 words of an account, by their checksum.
///
/// # Errors
/// [`ErrorKind::Usage`] where they are not.
pub fn check_words(words: &str) -> Result<(), OperationError> {
    parsed(words).map(drop)
}

fn parsed(words: &str) -> Result<Words, OperationError> {
    Words::parse(words).map_err(|error| OperationError::usage(error.to_string()))
}

/// Restores an account in a home that has none. `peer` is the multiaddr of any live node of the
/// mesh; a home that has joined one with a ticket needs none.
///
/// # Errors
/// [`ErrorKind::Usage`] for words that are none, a home that has an account, or no address;
/// [`ErrorKind::Network`] where too few nodes answer; [`ErrorKind::NotFound`] where the mesh has
/// nothing of this account.
pub async fn recover_account(
    home: &Home,
    words: &str,
    password: Zeroizing<String>,
    peer: Option<&str>,
) -> Result<RecoveredAccount, OperationError> {
    let words = parsed(words)?;
    let Some(_lock) = home.try_lock()? else {
        return Err(OperationError::usage(format!(
            "another process works in {}",
            home.path().display()
        )));
    };
    if account::has_account(home) {
        let message = format!("{} has an account already", home.path().display());
        return Err(OperationError::usage(message).hint("recover into another home: --home FOLDER"));
    }
    let secret = SigningKey::draw(&SystemEntropy).secret();
    let network = Network::start(NetworkConfig::new(secret, Arc::new(LateService::default())))
        .await
        .map_err(|error| OperationError::of(ErrorKind::Failed, &error))?;
    let (genesis, first) = find_mesh(home, &network, peer).await?;
    let transport: Arc<dyn Transport> = Arc::new(network.clone());
    let (engine, db) = engine_over(home, transport, genesis.clone())?;
    let mut peers = first;
    peers.extend(engine.peers().iter().map(|peer| peer.member.advert.node()));
    peers.dedup();
    peers.truncate(VIEW_TRIES);
    engine.fetch_view(&peers).await;
    // One node alone decides what the mesh looks like only where nobody else answers.
    engine.gossip(VIEW_CHECKS).await;

    let keys = Arc::new(DeviceKeys::set_up(&words, &SystemEntropy, SystemClock.now()));
    let totals = restore(home, &engine, &keys, &words).await?;

    let adverts: Vec<_> = engine.peers().into_iter().map(|peer| peer.member.advert).collect();
    db.save_adverts(&adverts).map_err(|error| account::catalog_error(&error))?;
    mesh::keep_genesis(home, &genesis)?;
    account::write_keys(home, &keys, password).await?;
    network.shutdown().await;
    AuditLog::of(home).record("account.recover", &[("account", keys.account().to_string())]);
    Ok(RecoveredAccount {
        account: keys.account(),
        mesh: genesis.mesh_id(),
        files: totals.files,
        versions: totals.versions,
        bytes: totals.bytes,
    })
}

/// The mesh's first record, and nodes of it that can be asked.
async fn find_mesh(
    home: &Home,
    network: &Network,
    peer: Option<&str>,
) -> Result<(Genesis, Vec<NodeId>), OperationError> {
    let known = mesh::genesis(home)?;
    let mut first = Vec::new();
    if let Some(ticket) = mesh::ticket(home)? {
        network.learn(ticket.issuer, &ticket.addresses);
        first.push(ticket.issuer);
    }
    let Some(address) = peer else {
        return match known {
            Some(genesis) => Ok((genesis, first)),
            None => Err(OperationError::usage(
                "the mesh is not known: this home has joined none, and no node is named",
            )
            .hint("name any live node of the mesh: --peer /ip4/203.0.113.5/tcp/4001")),
        };
    };
    let node = network.meet(address, DEADLINE).await.map_err(|error| {
        let kind = match error {
            NetworkError::Meet { .. } => ErrorKind::Network,
            _ => ErrorKind::Usage,
        };
        OperationError::of(kind, &error)
    })?;
    let mesh = known.as_ref().map_or(MeshId([0; 32]), Genesis::mesh_id);
    let request = Request::Hello { mesh };
    let answer = ask(network, node, &request, Bytes::new(), DEADLINE).await;
    let (reply, _) = answer.map_err(|error| OperationError::of(ErrorKind::Network, &error))?;
    first.insert(0, node);
    match (reply, known) {
        (Reply::Welcome { .. }, Some(genesis)) => Ok((genesis, first)),
        (Reply::Welcome { genesis, .. }, None) if genesis.verify().is_ok() => Ok((genesis, first)),
        _ => {
            let message = format!("the node at {address} does not show a mesh that holds");
            Err(OperationError::new(ErrorKind::Failed, message))
        }
    }
}

/// Fills the home's catalog from the mesh.
async fn restore(
    home: &Home,
    engine: &Arc<Engine>,
    keys: &Arc<DeviceKeys>,
    words: &Words,
) -> Result<Totals, OperationError> {
    let wrap = |error| convert::client_error(&error);
    let newest = derive_epochs(engine, keys, words).await.map_err(wrap)?;
    let (grant, reached) = find_grant(engine, keys).await.map_err(wrap)?;
    if !newest || !reached {
        let message = "too few of the nodes that keep this account's catalog answer";
        return Err(OperationError::new(ErrorKind::Network, message)
            .hint("nothing was restored; start more of the mesh's nodes and try again"));
    }
    let Some(grant) = grant else {
        let message = format!("the mesh has nothing of the account {}", keys.account());
        return Err(OperationError::new(ErrorKind::NotFound, message)
            .hint("check the words, and that the node named belongs to the right mesh"));
    };
    mesh::keep_grant(home, &engine.genesis(), &grant)?;
    let catalog = account::restore_catalog(home, keys.account(), keys.log_certificate().log_key)?;
    let client = Client::new(ClientParts {
        engine: Arc::clone(engine),
        catalog: Arc::clone(&catalog),
        keys: Arc::clone(keys),
        grant: Arc::new(grant),
        entropy: Arc::new(SystemEntropy),
        publication: Arc::new(Publication::default()),
        packs: datamesh_client::Packs::new(),
    });
    let caught = client.catch_up().await.map_err(wrap)?;
    if caught.may_be_old || !catalog.whole() {
        let message = "not all of this account's catalog can be had from the nodes that answer";
        return Err(OperationError::new(ErrorKind::Network, message)
            .hint("start more of the mesh's nodes and try again"));
    }
    // Others wrap the keys of later epochs to devices whose heads they see.
    client.introduce().await.map_err(wrap)?;
    catalog.totals().map_err(|error| account::catalog_error(&error))
}
