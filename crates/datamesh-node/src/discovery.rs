//! Looking for members: at bootstrap peers, through the distributed hash table, on the local
//! network. Whoever is found is asked for adverts like any peer; what it says of itself counts for
//! nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use datamesh_api::OperationError;
use datamesh_core::{NodeId, Transport};
use datamesh_engine::{Engine, Standing};
use datamesh_net::{Network, Source};

use crate::bootstrap::Bootstrap;

/// How long a look-up in the hash table may take.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(10);

/// Peers that one round asks for adverts.
const ASKED_MAX: usize = 16;

/// Silent members whose addresses one round looks up.
const LOOKED_UP_MAX: usize = 8;

/// What a round of discovery goes by.
pub(crate) struct Discovery<'a> {
    pub(crate) bootstrap: &'a Bootstrap,
    pub(crate) network: &'a Network,
    /// Nothing in a home that is in no mesh.
    pub(crate) engine: Option<&'a Engine>,
    /// The hash table is on.
    pub(crate) dht: bool,
}

impl Discovery<'_> {
    fn members(&self) -> BTreeSet<NodeId> {
        let peers = self.engine.map(Engine::peers).unwrap_or_default();
        peers.into_iter().map(|peer| peer.member.advert.node()).collect()
    }

    /// Looks once in all the ways there are. Returns how many members were not known before.
    ///
    /// # Errors
    /// Where the list of bootstrap peers cannot be read.
    pub(crate) async fn round(&self) -> Result<usize, OperationError> {
        let before = self.members();
        // Side by side: one bootstrap peer that is silent holds nothing else up.
        let listed = self.bootstrap.start(self.network, self.engine, false);
        let rest = async {
            if let Some(engine) = self.engine {
                self.look(engine, &before).await;
            }
        };
        let (listed, ()) = futures::join!(listed, rest);
        listed?;
        Ok(self.members().difference(&before).count())
    }

    /// Looks in the hash table and nearby.
    async fn look(&self, engine: &Engine, before: &BTreeSet<NodeId>) {
        let (pointed, ()) = futures::join!(self.pointers(engine), self.look_up_silent(engine));
        let fresh: Vec<NodeId> =
            pointed.into_iter().filter(|peer| !before.contains(peer)).take(ASKED_MAX).collect();
        let found = fresh.iter().map(|peer| self.network.find(*peer, LOOKUP_DEADLINE));
        // Who is not found may be known from elsewhere.
        drop(futures::future::join_all(found).await);
        self.ask(engine, fresh, before).await;
        let nearby = self.network.sightings();
        let nearby = nearby.into_iter().filter(|it| it.source == Source::Mdns);
        self.ask(engine, nearby.map(|it| it.peer).collect(), before).await;
    }

    /// Peers that point to this mesh in the hash table.
    async fn pointers(&self, engine: &Engine) -> Vec<NodeId> {
        if !self.dht {
            return Vec::new();
        }
        self.network.refresh().await;
        let found = self.network.pointers(engine.mesh().0, LOOKUP_DEADLINE).await;
        found.unwrap_or_else(|error| {
            tracing::debug!(%error, "no pointer to the mesh was found");
            Vec::new()
        })
    }

    /// Looks up where members are that do not answer where they were.
    async fn look_up_silent(&self, engine: &Engine) {
        if !self.dht {
            return;
        }
        let silent: Vec<NodeId> = engine
            .peers()
            .into_iter()
            .filter(|peer| peer.standing == Standing::Silent)
            .map(|peer| peer.member.advert.node())
            .take(LOOKED_UP_MAX)
            .collect();
        let looked_up = silent.iter().map(|node| async move {
            match self.network.find(*node, LOOKUP_DEADLINE).await {
                Ok(true) => {
                    if let Err(error) = engine.exchange_adverts(*node).await {
                        tracing::debug!(peer = %node, %error, "a silent member stays silent");
                    }
                }
                Ok(false) => {}
                Err(error) => tracing::debug!(peer = %node, %error, "not looked up"),
            }
        });
        futures::future::join_all(looked_up).await;
    }

    /// Asks peers for adverts that are no members as far as it is known.
    async fn ask(&self, engine: &Engine, peers: Vec<NodeId>, known: &BTreeSet<NodeId>) {
        let local = self.network.local();
        let strangers = peers
            .into_iter()
            .filter(|peer| *peer != local && !known.contains(peer))
            .take(ASKED_MAX);
        let asked = strangers.map(|peer| async move {
            if let Err(error) = engine.exchange_adverts(peer).await {
                tracing::debug!(%peer, %error, "a peer that was found tells of no members");
            }
        });
        futures::future::join_all(asked).await;
    }
}
