//! Opening a link without belonging to its mesh: no account, no home that must be there.
//!
//! A visitor has a key that is drawn for the one visit. It asks whoever answers at one of the addresses in the
//! link for the mesh's first record, whose hash the link names, takes the members from there, and reads like
//! anybody else. Nothing is written but what the link shows.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datamesh_api::{
    Answer, Call, ErrorKind, EventFn, GetReply, GetRequest, OperationError, Operations, PutReply,
    PutRequest, SecretText,
};
use datamesh_client::{find_share, get_shared};
use datamesh_core::message::{Reply, Request};
use datamesh_core::stream::{Sink, Source};
use datamesh_core::{BoxFuture, Clock, Genesis, MeshId, NodeId, Timestamp, Transport};
use datamesh_crypto::{ShareLink, SigningKey};
use datamesh_engine::{Engine, ask};
use datamesh_net::{Network, NetworkConfig};
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::account::PasswordSource;
use crate::config;
use crate::connect::connect;
use crate::convert;
use crate::home::Home;
use crate::mesh::{self, LateService};
use crate::operations::{engine_of, files_progress, share};
use crate::system::{SystemClock, SystemEntropy};

/// How long a node that a link names may take to answer.
const DEADLINE: Duration = Duration::from_secs(15);

/// Members whose view is compared with that of the node that answered first.
const VIEW_CHECKS: usize = 4;

/// What a link says before anything is asked of anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkLook {
    /// It has a password.
    pub password: bool,
    /// It is a code for a person, who opens it with the account's keys.
    pub person: bool,
}

/// Whether text is meant to be a link or a code, whole or not.
pub fn is_link(text: &str) -> bool {
    ShareLink::is_meant(text)
}

/// What a link says.
///
/// # Errors
/// [`ErrorKind::Usage`] where it is damaged, [`ErrorKind::NotFound`] where it has expired.
pub fn look_at_link(text: &SecretText) -> Result<LinkLook, OperationError> {
    let link = unexpired(text)?;
    Ok(LinkLook { password: link.password, person: link.secret.is_none() })
}

fn unexpired(text: &SecretText) -> Result<ShareLink, OperationError> {
    let link = share::link(text)?;
    let expiry: Timestamp = link.expiry;
    if expiry != 0 && expiry <= SystemClock.now() {
        let error = datamesh_client::SharingError::Expired { expiry };
        return Err(convert::client_error(&error.into()));
    }
    Ok(link)
}

/// The operations that a link is fetched with: the home's where it is in the link's mesh, else those of a
/// visitor, who can do nothing else.
///
/// # Errors
/// [`ErrorKind::Usage`] for a code, which only a home of its mesh can open, and for what is no link; and as
/// [`connect`].
pub async fn connect_for_link(
    home: &Home,
    text: &SecretText,
    password: PasswordSource,
) -> Result<Arc<dyn Operations>, OperationError> {
    let link = unexpired(text)?;
    let genesis = mesh::genesis(home)?;
    if genesis.is_some_and(|genesis| genesis.mesh_id() == link.mesh) {
        return connect(home, password, false).await;
    }
    if link.secret.is_none() {
        let message =
            "this is a code for a person, and this home is not in the mesh that it leads into";
        return Err(OperationError::usage(message)
            .hint("open it in the home of the account that it is for: --home FOLDER"));
    }
    Ok(Arc::new(Visitor { home: home.clone() }))
}

/// The operations of whoever has a link and nothing else.
struct Visitor {
    /// For its settings, where there are any.
    home: Home,
}

fn only_links() -> OperationError {
    OperationError::usage("without a home in the mesh only a link can be opened")
}

impl Operations for Visitor {
    fn call(&self, _call: Call) -> BoxFuture<'_, Result<Answer, OperationError>> {
        Box::pin(async { Err(only_links()) })
    }

    fn put<'a>(
        &'a self,
        _request: PutRequest,
        _source: &'a mut dyn Source,
        _events: EventFn,
    ) -> BoxFuture<'a, Result<PutReply, OperationError>> {
        Box::pin(async { Err(only_links()) })
    }

    fn get<'a>(
        &'a self,
        request: GetRequest,
        sink: &'a mut dyn Sink,
        events: EventFn,
    ) -> BoxFuture<'a, Result<GetReply, OperationError>> {
        Box::pin(async move {
            let GetRequest::Shared { link, password } = request else { return Err(only_links()) };
            let link = unexpired(&link)?;
            let secret = SigningKey::draw(&SystemEntropy).secret();
            let service = Arc::new(LateService::default());
            let network = Network::start(NetworkConfig::new(secret, service)).await;
            let network = network.map_err(|error| OperationError::of(ErrorKind::Failed, &error))?;
            let fetched = self.fetch(&network, &link, password, sink, events).await;
            network.shutdown().await;
            fetched
        })
    }
}

impl Visitor {
    async fn fetch(
        &self,
        network: &Network,
        link: &ShareLink,
        password: Option<SecretText>,
        sink: &mut dyn Sink,
        events: EventFn,
    ) -> Result<GetReply, OperationError> {
        let wrap = |error| convert::client_error(&error);
        let Some(secret) = &link.secret else { return Err(only_links()) };
        let (genesis, first) = meet(network, link).await?;
        let transport: Arc<dyn Transport> = Arc::new(network.clone());
        let config = config::load(&self.home)?;
        let engine: Arc<Engine> = Arc::new(engine_of(&config, transport, genesis, None));
        engine.fetch_view(&[first]).await;
        // One node alone decides what the mesh looks like only where nobody else answers.
        engine.gossip(VIEW_CHECKS).await;
        let found = find_share(&engine, &link.share).await.map_err(wrap)?;
        let opened = found.open_by_link(&engine, secret, share::password(password)).await;
        let fetched =
            get_shared(&engine, opened.map_err(wrap)?, sink, Some(files_progress(events))).await;
        share::fetched(fetched.map_err(wrap)?)
    }
}

/// The mesh's first record, and a node of it that answers: the first of those that the link names.
async fn meet(network: &Network, link: &ShareLink) -> Result<(Genesis, NodeId), OperationError> {
    let mut asking: FuturesUnordered<_> =
        link.addresses.iter().map(|address| asked(network, address, &link.mesh)).collect();
    let mut other_mesh = false;
    while let Some(answer) = asking.next().await {
        match answer {
            Some(Ok(found)) => return Ok(found),
            Some(Err(())) => other_mesh = true,
            None => {}
        }
    }
    let message = match (link.addresses.is_empty(), other_mesh) {
        (true, _) => "the link names no node of its mesh",
        (false, true) => "who answers at the addresses in the link belongs to another mesh",
        (false, false) => "nobody answers at the addresses in the link",
    };
    Err(OperationError::new(ErrorKind::Network, message)
        .hint("ask whoever shared it for a fresh link: datamesh share list --links"))
}

/// The first record that a node at an address shows; nothing where nobody answers, and an error where it is
/// of another mesh.
async fn asked(
    network: &Network,
    address: &str,
    mesh: &MeshId,
) -> Option<Result<(Genesis, NodeId), ()>> {
    let node = network.meet(address, DEADLINE).await.ok()?;
    let request = Request::Hello { mesh: *mesh };
    let (reply, _) = ask(network, node, &request, Bytes::new(), DEADLINE).await.ok()?;
    let Reply::Welcome { genesis, .. } = reply else { return Some(Err(())) };
    let is_it = genesis.mesh_id() == *mesh && genesis.verify().is_ok();
    Some(if is_it { Ok((genesis, node)) } else { Err(()) })
}
