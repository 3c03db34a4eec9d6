//! The operations of a home, the same whether a daemon or a single command does them.

mod benchmark;
mod collect;
mod files;
mod find;
mod internals;
mod journal;
mod keys;
mod leases;
mod membership;
mod noted;
mod optimize;
mod patterns;
mod pins;
mod reach;
mod repair;
mod security;
pub(crate) mod share;
mod state;
mod term;
mod upkeep;
mod ways;

use std::sync::{Arc, Mutex};

use datamesh_api::{
    Answer, Call, ErrorKind, EventFn, GetReply, GetRequest, OperationError, Operations, PutReply,
    PutRequest,
};
use datamesh_catalog::{AccountDb, CatalogError, NodeDb, NodeLimits, SearchDb};
use datamesh_client::{Client, ClientParts, Packs, Publication};
use datamesh_core::stream::{Sink, Source};
use datamesh_core::{BoxFuture, Genesis, NodeId, Transport};
use datamesh_crypto::DeviceKeys;
use datamesh_engine::repair::Repairer;
use datamesh_engine::{Collector, Engine, EngineParts};
use datamesh_net::Network;
use datamesh_store::{Store, Usage};
use tokio::sync::OnceCell;

use crate::account::{self, PasswordSource, PublicAccount};
use crate::audit_log::AuditLog;
use crate::bootstrap::Bootstrap;
use crate::config::{self, Config};
use crate::home::{Home, HomeLock};
use crate::mesh;
use crate::mesh::InviteLedger;
use crate::system::{SystemClock, SystemEntropy, TokioExecutor};
use crate::workers::{Upkeep, Workers};

pub(crate) use files::progress as files_progress;
pub(crate) use leases::LeaseWatch;

/// What a running service has and a single command lacks.
pub(crate) struct NodeParts {
    pub(crate) node: NodeId,
    pub(crate) store: Arc<Store>,
    pub(crate) upkeep: Upkeep,
    pub(crate) repairer: Arc<Repairer>,
    pub(crate) workers: Arc<Workers>,
    pub(crate) collector: Arc<Collector>,
}

impl NodeParts {
    /// What the store has, counted away from the tasks.
    pub(crate) async fn usage(&self) -> Result<Usage, OperationError> {
        let store = Arc::clone(&self.store);
        match tokio::task::spawn_blocking(move || store.usage()).await {
            Ok(usage) => usage.map_err(|error| OperationError::of(ErrorKind::Failed, &error)),
            Err(_) => {
                Err(OperationError::new(ErrorKind::Failed, "counting what the store has broke off"))
            }
        }
    }
}

/// What all operations of one process share.
pub(crate) struct Shared {
    pub(crate) home: Home,
    /// As they were when the process started.
    pub(crate) settings: Config,
    pub(crate) bootstrap: Arc<Bootstrap>,
    pub(crate) public: Option<PublicAccount>,
    pub(crate) catalog: Option<Arc<AccountDb>>,
    /// What searches look through, once somebody searched.
    pub(crate) search: Mutex<Option<Arc<SearchDb>>>,
    /// What is known of the account's heads on the mesh.
    pub(crate) publication: Arc<Publication>,
    pub(crate) node: Option<NodeParts>,
    /// What is known of the account's leases.
    pub(crate) leases: LeaseWatch,
    /// The daemon's network and engine; a command starts its own when it first needs them.
    pub(crate) engine: OnceCell<Arc<Engine>>,
    pub(crate) network: OnceCell<Network>,
    pub(crate) invites: Option<Arc<InviteLedger>>,
    /// The keys, if they were opened for the whole process.
    pub(crate) keys: Option<Arc<DeviceKeys>>,
    /// Where small files of all connections' puts meet.
    pub(crate) packs: Arc<Packs>,
    /// What is done in this home.
    pub(crate) audit_log: Arc<AuditLog>,
    /// Held as long as anything works in the home.
    pub(crate) _lock: HomeLock,
}

/// The operations of a home.
pub(crate) struct HomeOperations {
    pub(crate) shared: Arc<Shared>,
    pub(crate) password: PasswordSource,
    /// Nobody has to type it.
    at_hand: bool,
    pub(crate) client: OnceCell<Arc<Client>>,
}

/// An engine over a network that knows nobody yet.
pub(crate) fn engine_of(
    config: &Config,
    transport: Arc<dyn Transport>,
    genesis: Genesis,
    node_db: Option<Arc<NodeDb>>,
) -> Engine {
    Engine::new(EngineParts {
        transport,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        executor: Arc::new(TokioExecutor::current()),
        node_db,
        genesis,
        offline_after_ms: config.offline_after.as_millis() as u64,
    })
}

/// An engine over a network, with the adverts that the home remembers.
pub(crate) fn engine_over(
    home: &Home,
    transport: Arc<dyn Transport>,
    genesis: Genesis,
) -> Result<(Arc<Engine>, Arc<NodeDb>), OperationError> {
    let config = config::load(home)?;
    home.make_folder("node")?;
    let db = NodeDb::open(&home.file(crate::keys::MEMORY), NodeLimits::default())
        .map_err(|error| account::catalog_error(&error))?;
    if let Some(damage) = db.rebuilt() {
        tracing::warn!(%damage, "what was remembered of peers was damaged and is begun anew");
    }
    let db = Arc::new(db);
    let engine = engine_of(&config, transport, genesis, Some(Arc::clone(&db)));
    match db.adverts() {
        Ok(adverts) => {
            for advert in adverts {
                engine.recall_advert(advert);
            }
        }
        Err(error) => tracing::warn!(%error, "remembered adverts cannot be read"),
    }
    Ok((Arc::new(engine), db))
}

impl HomeOperations {
    pub(crate) fn new(shared: Arc<Shared>, password: PasswordSource) -> Self {
        Self { shared, password, at_hand: false, client: OnceCell::new() }
    }

    /// Whether the password comes without anybody typing it: then what only reads the catalog looks at the mesh
    /// before.
    pub(crate) fn with_password_at_hand(self, at_hand: bool) -> Self {
        Self { at_hand, ..self }
    }

    /// For work that nobody asked for: only where the keys are open already.
    pub(crate) fn with_open_keys(shared: &Arc<Shared>) -> Option<Self> {
        shared.keys.as_ref()?;
        let never: PasswordSource =
            Arc::new(|| Err(OperationError::new(ErrorKind::Failed, "the keys are not open")));
        Some(Self::new(Arc::clone(shared), never))
    }

    /// Takes in what the account's other devices did, and publishes what is pending here.
    pub(crate) async fn follow_catalog(&self) -> Result<(), OperationError> {
        let wrap = |error| crate::convert::client_error(&error);
        let client = self.client().await?;
        client.catch_up().await.map_err(wrap)?;
        client.publish().await.map_err(wrap)?;
        Ok(())
    }

    /// Tells holders what is pinned, as far as they were not told.
    pub(crate) async fn tell_pins(&self) -> Result<(), OperationError> {
        let told = self.client().await?.tell_pins().await;
        told.map(drop).map_err(|error| crate::convert::client_error(&error))
    }

    pub(crate) fn home(&self) -> &Home {
        &self.shared.home
    }

    /// The catalog of the home's account.
    fn catalog(&self) -> Result<&Arc<AccountDb>, OperationError> {
        self.shared.catalog.as_ref().ok_or_else(|| account::no_account(self.home()))
    }

    /// Runs a blocking call with the catalog and what else the process shares.
    async fn blocking<T: Send + 'static>(
        &self,
        catalog: &Arc<AccountDb>,
        call: impl FnOnce(&Shared, &AccountDb) -> Result<T, CatalogError> + Send + 'static,
    ) -> Result<T, OperationError> {
        let (shared, catalog) = (Arc::clone(&self.shared), Arc::clone(catalog));
        match tokio::task::spawn_blocking(move || call(&shared, &catalog)).await {
            Ok(result) => result.map_err(|error| account::catalog_error(&error)),
            Err(_) => Err(OperationError::new(ErrorKind::Failed, "the catalog call broke off")),
        }
    }

    /// The client over a catalog that is whole.
    async fn whole_client(&self) -> Result<&Arc<Client>, OperationError> {
        self.whole_catalog().await?;
        self.client().await
    }

    /// The client over a catalog that has what other devices did until lately.
    async fn current_client(&self) -> Result<&Arc<Client>, OperationError> {
        let client = self.whole_client().await?;
        client.catch_up_lately().await;
        Ok(client)
    }

    /// The catalog for a listing: current where that asks nobody for a password.
    async fn current_catalog(&self) -> Result<&Arc<AccountDb>, OperationError> {
        let open = self.shared.keys.is_some() || self.client.get().is_some();
        if open || self.at_hand && self.can_look()? {
            self.current_client().await?;
        }
        self.whole_catalog().await
    }

    /// Whether the account of this home may ask its mesh: before it has joined one there is nothing to look at.
    fn can_look(&self) -> Result<bool, OperationError> {
        let Some(genesis) = mesh::genesis(self.home())? else { return Ok(false) };
        Ok(self.shared.catalog.is_some() && mesh::grant(self.home(), &genesis)?.is_some())
    }

    /// The account's keys: asks for the password where they are not open yet.
    async fn keys(&self) -> Result<Arc<DeviceKeys>, OperationError> {
        match (&self.shared.keys, self.client.get()) {
            (Some(keys), _) => Ok(Arc::clone(keys)),
            (None, Some(client)) => Ok(Arc::clone(client.keys())),
            (None, None) => account::open_keys(self.home(), (self.password)()?).await,
        }
    }

    /// The client: asks for the password where the keys are not open yet.
    async fn client(&self) -> Result<&Arc<Client>, OperationError> {
        self.client
            .get_or_try_init(|| async {
                let catalog = Arc::clone(self.catalog()?);
                let engine = self.engine().await?;
                let grant = mesh::grant(self.home(), &engine.genesis())?
                    .ok_or_else(|| no_grant(self.home()))?;
                let keys = self.keys().await?;
                Ok(Arc::new(Client::new(ClientParts {
                    engine: Arc::clone(engine),
                    catalog,
                    keys,
                    grant: Arc::new(grant),
                    entropy: Arc::new(SystemEntropy),
                    publication: Arc::clone(&self.shared.publication),
                    packs: Arc::clone(&self.shared.packs),
                })))
            })
            .await
    }

    /// The catalog, whole: one that was lost is restored from the mesh first.
    async fn whole_catalog(&self) -> Result<&Arc<AccountDb>, OperationError> {
        let catalog = self.catalog()?;
        if !catalog.whole() {
            let client = self.client().await?;
            let wrap = |error| crate::convert::client_error(&error);
            client.catch_up().await.map_err(wrap)?;
            client.introduce().await.map_err(wrap)?;
        }
        Ok(catalog)
    }
}

fn no_grant(home: &Home) -> OperationError {
    let message = format!("the account in {} may not store in its mesh", home.path().display());
    OperationError::usage(message)
        .hint("ask for an invite that admits accounts, and join with it in a fresh home")
}

impl HomeOperations {
    async fn do_call(&self, call: Call) -> Result<Answer, OperationError> {
        Ok(match call {
            Call::List(request) => Answer::List(self.do_list(request).await?),
            Call::Info(request) => Answer::Info(self.do_info(request).await?),
            Call::Versions(request) => Answer::Versions(self.do_versions(request).await?),
            Call::Remove(request) => Answer::Remove(self.do_remove(request).await?),
            Call::Duplicate(request) => Answer::Duplicate(self.do_duplicate(request).await?),
            Call::Rename(request) => Answer::Rename(self.do_rename(request).await?),
            Call::Search(request) => Answer::Search(self.do_search(request).await?),
            Call::Popular(request) => Answer::Popular(self.do_popular(request).await?),
            Call::Label(request) => Answer::Label(self.do_label(request).await?),
            Call::Pin(request) => Answer::Pin(self.do_pin(request).await?),
            Call::Pins(_) => Answer::Pins(self.do_pins().await?),
            Call::Network(request) => Answer::Network(self.do_network(request).await?),
            Call::Bandwidth(request) => Answer::Bandwidth(self.do_bandwidth(request).await?),
            Call::Benchmark(request) => Answer::Benchmark(self.do_benchmark(request).await?),
            Call::Internals(request) => Answer::Internals(self.do_internals(request).await?),
            Call::Purge(request) => Answer::Purge(self.do_purge(request).await?),
            Call::Undelete(request) => Answer::Undelete(self.do_undelete(request).await?),
            Call::Cleanup(request) => Answer::Cleanup(self.do_cleanup(request).await?),
            Call::Optimize(request) => Answer::Optimize(self.do_optimize(request).await?),
            Call::Share(request) => Answer::Share(self.do_share(request).await?),
            Call::Shares(request) => Answer::Shares(self.do_shares(request).await?),
            Call::Unshare(request) => Answer::Unshare(self.do_unshare(request).await?),
            Call::Recipient(_) => Answer::Recipient(self.do_recipient().await?),
            Call::Keys(request) => Answer::Keys(self.do_keys(request).await?),
            Call::Rotate(request) => Answer::Rotate(self.do_rotate(request).await?),
            Call::Rekey(_) => Answer::Rekey(self.do_rekey().await?),
            Call::Peers(_) => Answer::Peers(self.do_peers().await?),
            Call::Invite(request) => Answer::Invite(self.do_invite(request).await?),
            Call::Join(request) => Answer::Join(self.do_join(request).await?),
            Call::Stats(_) => Answer::Stats(self.do_stats().await?),
            Call::Health(_) => Answer::Health(self.do_health().await?),
            Call::Repair(request) => Answer::Repair(self.do_repair(request).await?),
            Call::Transport(_) => Answer::Transport(self.do_transport().await?),
            Call::Discover(request) => Answer::Discover(self.do_discover(request).await?),
            Call::Bootstrap(request) => Answer::Bootstrap(self.do_bootstrap(request).await?),
            Call::Security(_) => Answer::Security(self.do_security().await?),
            Call::Distribution(request) => {
                Answer::Distribution(self.do_distribution(request).await?)
            }
        })
    }
}

impl Operations for HomeOperations {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Answer, OperationError>> {
        Box::pin(async move {
            let asked = noted::asked(&call);
            let answer = self.do_call(call).await;
            self.note_call(asked, &answer).await;
            answer
        })
    }

    fn put<'a>(
        &'a self,
        request: PutRequest,
        source: &'a mut dyn Source,
        events: EventFn,
    ) -> BoxFuture<'a, Result<PutReply, OperationError>> {
        Box::pin(async move {
            let reply = self.do_put(request, source, events).await;
            self.note_put(&reply).await;
            reply
        })
    }

    fn get<'a>(
        &'a self,
        request: GetRequest,
        sink: &'a mut dyn Sink,
        events: EventFn,
    ) -> BoxFuture<'a, Result<GetReply, OperationError>> {
        Box::pin(async move {
            let name = noted::asked_for(&request);
            let reply = self.do_get(request, sink, events).await;
            self.note_get(name, &reply).await;
            reply
        })
    }
}
