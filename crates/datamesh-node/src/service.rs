//! The daemon: the one place where a node is wired, started and stopped.

mod end;
mod reload;
mod supervisor;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use datamesh_api::{ErrorKind, OperationError};
use datamesh_core::certificate::OPERATOR_BYTES_MAX;
use datamesh_core::message::NodeRequest;
use datamesh_core::{
    Advert, Domain, Genesis, NodeCertificate, NodeId, Signature, Signer, Transport,
};
use datamesh_engine::repair::{RepairConfig, Repairer};
use datamesh_engine::scrub::recall_damaged;
use datamesh_engine::{Admissions, Collector, HeadMover, Holder};
use datamesh_net::{Network, NetworkConfig, NetworkError};
use datamesh_store::{Directory, Owner, Store, StoreConfig, StoreError, StoreId};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::end::{End, Ends, panicked};
use self::supervisor::tell;
pub use reload::counts_at_once;

use crate::account::{self, PasswordSource};
use crate::audit_log::{AuditLog, NotedAdmissions};
use crate::bootstrap::Bootstrap;
use crate::config::{self, Config, NetworkSettings};
use crate::home::{Home, Status};
use crate::local::LocalServer;
use crate::mesh::{self, InviteLedger, LateService, Loopback};
use crate::operations::{HomeOperations, LeaseWatch, NodeParts, Shared, engine_over};
use crate::system::SystemEntropy;
use crate::workers::{
    self, ADVERT_LIFETIME_MS, BandwidthWorker, Description, DiscoveryWorker, Limits,
    MembershipWorker, Upkeep, Workers, free_class,
};

const LISTENING: &str = "node/listening";
const STORE_ID: &str = "node/store.id";

/// Known members that a starting node asks for adverts.
const FIRST_PEERS: usize = 8;

/// How long a starting node waits for its introduction to the members that it knows.
const INTRODUCTION_PATIENCE: Duration = Duration::from_secs(3);

/// Exchanges of adverts in the time after which a member counts as silent.
const GOSSIPS_MIN: u32 = 10;

/// Least time between exchanges of adverts.
const GOSSIP_MIN: Duration = Duration::from_millis(100);

/// How long commands and workers may take to end, and after them connections.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// How a service runs; what is `None` comes from the configuration.
#[derive(Default)]
pub struct ServiceOptions {
    /// Multiaddrs to listen on; a port 0 is chosen once and remembered.
    pub listen: Vec<String>,
    /// Bytes offered for shards.
    pub storage: Option<u64>,
    /// Failure domain.
    pub domain: Option<Domain>,
    /// Who answers for the node.
    pub operator: Option<String>,
    /// Opens the keystore once at the start.
    pub password: Option<PasswordSource>,
    /// Days after which a lease ends, where this founds a mesh.
    pub lease_days: Option<u32>,
    /// Ends by itself after this time.
    pub timeout: Option<Duration>,
    /// Leaves: ends when every shard of it is held elsewhere.
    pub drain: bool,
}

/// Pairs of an address as it was asked for and as it became, as text lines.
fn remembered_ports(home: &Home) -> Result<Vec<(String, String)>, OperationError> {
    let text = home.read(LISTENING)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    Ok(text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(asked, became)| (asked.to_owned(), became.to_owned()))
        .collect())
}

/// Where the node of a home listened when it last ran.
pub(crate) fn remembered_listening(home: &Home) -> Result<Vec<String>, OperationError> {
    let mut addresses: Vec<String> =
        remembered_ports(home)?.into_iter().map(|(_, became)| became).collect();
    addresses.sort();
    addresses.dedup();
    Ok(addresses)
}

/// The protocol and the port of a multiaddr.
fn port(address: &str) -> Option<(&str, &str)> {
    let mut parts = address.split('/');
    let protocol = parts.find(|part| matches!(*part, "tcp" | "udp"))?;
    Some((protocol, parts.next()?))
}

/// A port is to be chosen.
fn is_free_choice(address: &str) -> bool {
    port(address).is_some_and(|(_, port)| port == "0")
}

/// Starts the network on the remembered ports, or on fresh ones where they are taken by now.
async fn start_network(
    home: &Home,
    listen: &[String],
    settings: &NetworkSettings,
    late: &Arc<LateService>,
) -> Result<Network, OperationError> {
    let key = mesh::node_key(home)?;
    let remembered = remembered_ports(home)?;
    let resolved: Vec<String> = listen
        .iter()
        .map(|asked| {
            let known = remembered.iter().find(|(before, _)| before == asked);
            match known.and_then(|(_, became)| port(became)) {
                Some((protocol, port)) if is_free_choice(asked) => {
                    asked.replacen(&format!("/{protocol}/0"), &format!("/{protocol}/{port}"), 1)
                }
                _ => asked.clone(),
            }
        })
        .collect();
    let start = |listen: Vec<String>| {
        let mut config = NetworkConfig::new(key.secret(), Arc::clone(late) as _);
        config.listen = listen;
        config.peer_book = Some(home.file("node/peers"));
        config.reach = settings.reach.clone();
        config.access = settings.access.clone();
        Network::start(config)
    };
    let network = match start(resolved.clone()).await {
        Err(NetworkError::PortInUse { address }) if !listen.contains(&address) => {
            tracing::warn!(%address, "the remembered port is in use; another is chosen");
            start(listen.to_vec()).await
        }
        started => started,
    };
    let network = network.map_err(|error| {
        let kind = match error {
            NetworkError::Address { .. } => ErrorKind::Usage,
            _ => ErrorKind::Failed,
        };
        let made = OperationError::of(kind, &error);
        match error {
            NetworkError::PortInUse { .. } => {
                made.hint("end the process that has it, or choose another with --listen")
            }
            _ => made,
        }
    })?;
    // A wildcard listener has several addresses with one port; the first stands for all.
    let listening = network.listening();
    let lines: Vec<String> = listening
        .iter()
        .map(|became| {
            let asked = listen.iter().zip(&resolved).find(|(asked, resolved)| {
                let kind = |address: &str| port(address).map(|(protocol, _)| protocol.to_owned());
                let alone = listen.iter().filter(|it| kind(it) == kind(became)).count() == 1;
                let chosen = is_free_choice(asked) && alone && kind(asked) == kind(became);
                port(resolved) == port(became) || chosen
            });
            let asked = asked.map_or(became.as_str(), |(asked, _)| asked.as_str());
            format!("{asked} {became}")
        })
        .collect();
    home.write(LISTENING, lines.join("\n").as_bytes())?;
    Ok(network)
}

/// What the node is to be, from flags and configuration.
struct Wish {
    domain: Option<Domain>,
    operator: Option<String>,
    storage: Option<u64>,
    lease_days: Option<u32>,
}

/// The operator of a node for which nobody was named: a name made of its id.
pub fn usual_operator(node: &NodeId) -> String {
    let name = node.to_string();
    format!("node-{}", &name[name.len() - 8..])
}

impl Wish {
    /// What is asked for at the first start, with defaults for what nobody set.
    fn first(&self, home: &Home, node: NodeId) -> Result<NodeRequest, OperationError> {
        let name = node.to_string();
        let short = &name[name.len() - 8..];
        let domain = match &self.domain {
            Some(domain) => domain.clone(),
            // A node of its own is its own failure domain.
            None => format!("node-{short}").parse().map_err(OperationError::usage)?,
        };
        let operator = self.operator.clone().unwrap_or_else(|| usual_operator(&node));
        if operator.len() > OPERATOR_BYTES_MAX || operator.chars().any(char::is_control) {
            return Err(OperationError::usage(format!(
                "an operator's name has at most {OPERATOR_BYTES_MAX} bytes and no control characters"
            )));
        }
        let capacity = match self.storage {
            Some(storage) => storage,
            None => {
                let folder = home.make_folder("node")?;
                let stat = rustix::fs::statvfs(&folder).map_err(|error| {
                    OperationError::usage(format!("the file system does not say its size: {error}"))
                })?;
                stat.f_bavail.saturating_mul(stat.f_frsize) / 2
            }
        };
        Ok(NodeRequest { operator, domain, capacity })
    }

    /// Refuses what differs from the certificate: only its issuer may change it.
    fn check(&self, certificate: &NodeCertificate) -> Result<(), OperationError> {
        let claim = &certificate.claim;
        let fixed = |what: &str, is: &str| {
            Err(OperationError::usage(format!("this node was admitted with {what} {is}"))
                .hint("changing it needs the issuer: join with a fresh ticket in a fresh home"))
        };
        if self.domain.as_ref().is_some_and(|domain| *domain != claim.domain) {
            return fixed("domain", claim.domain.as_str());
        }
        if self.operator.as_ref().is_some_and(|operator| *operator != claim.operator) {
            return fixed("operator", &claim.operator);
        }
        if self.storage.is_some_and(|storage| storage > claim.capacity_cap) {
            return fixed("storage of at most", &format!("{} bytes", claim.capacity_cap));
        }
        Ok(())
    }
}

/// The admission of this home's node: kept, founded, or redeemed from the ticket.
async fn admit(
    home: &Home,
    network: &Network,
    wish: &Wish,
    keys: Option<&Arc<datamesh_crypto::DeviceKeys>>,
) -> Result<(Genesis, NodeCertificate), OperationError> {
    let node = network.local();
    let genesis = mesh::genesis(home)?;
    if let Some((founded, days)) = genesis.as_ref().map(|g| g.lease_days).zip(wish.lease_days)
        && founded != days
    {
        let message = format!("this mesh was founded with leases of {founded} days (0: no end)");
        return Err(OperationError::usage(message).hint("that is chosen once, by who founds it"));
    }
    let certificate = match &genesis {
        Some(genesis) => mesh::admission(home, genesis, node)?,
        None => None,
    };
    match (genesis, certificate) {
        (Some(genesis), Some(certificate)) => {
            wish.check(&certificate)?;
            Ok((genesis, certificate))
        }
        (Some(genesis), None) => {
            if let Some(keys) = keys.filter(|keys| mesh::is_authority(keys, &genesis)) {
                let request = wish.first(home, node)?;
                let certificate = mesh::found_again(home, keys, &genesis, request)?;
                return Ok((genesis, certificate));
            }
            let Some(ticket) = mesh::ticket(home)? else {
                return Err(OperationError::usage(
                    "this home is in a mesh but has no ticket for a node",
                )
                .hint("the account that founded the mesh needs none, only its password"));
            };
            if !ticket.powers.node {
                return Err(OperationError::usage(
                    "the ticket that this home joined with admits no node",
                )
                .hint("join with a ticket that does, in a fresh home"));
            }
            let request = wish.first(home, node)?;
            let certificate = mesh::redeem_node(home, network, &ticket, &genesis, request).await?;
            Ok((genesis, certificate))
        }
        (None, _) => {
            let Some(keys) = keys else {
                return Err(OperationError::new(
                    ErrorKind::Usage,
                    "founding a mesh needs the account's password once",
                )
                .hint("give it with --password-file or DATAMESH_PASSWORD_FILE"));
            };
            let request = wish.first(home, node)?;
            let certificate = mesh::found(home, keys, request, wish.lease_days.unwrap_or(0))?;
            let genesis = mesh::genesis(home)?.ok_or_else(|| mesh::no_mesh(home))?;
            Ok((genesis, certificate))
        }
    }
}

fn open_store(home: &Home, node: NodeId, capacity: u64) -> Result<Arc<Store>, OperationError> {
    let folder = home.make_folder("node/store")?;
    let known = home.read(STORE_ID)?.and_then(|bytes| bytes.as_slice().try_into().ok());
    let owner = Owner { node, store: known.map(StoreId) };
    let store_error = |error: &StoreError| {
        let made = OperationError::of(ErrorKind::Failed, error);
        match error {
            StoreError::IdentityMissing | StoreError::OtherStore => {
                made.hint("mount the right disk there; nothing was changed")
            }
            _ => made,
        }
    };
    let disk = Directory::open(&folder).map_err(|error| store_error(&error.into()))?;
    let config = StoreConfig::new(capacity);
    let store = Store::open(Arc::new(disk), config, &owner, &SystemEntropy)
        .map_err(|error| store_error(&error))?;
    home.write(STORE_ID, &store.id().0)?;
    Ok(store)
}

/// Runs the node of a home until SIGTERM, SIGINT or the timeout.
///
/// # Errors
/// [`ErrorKind::Usage`] for a home with neither account nor ticket, and for flags that differ from
/// the certificate; [`ErrorKind::Network`] where the issuer of a ticket cannot be reached;
/// [`ErrorKind::Failed`] where a port is in use, a disk fails, or another process has the home.
pub async fn run_service(home: &Home, options: ServiceOptions) -> Result<(), OperationError> {
    let config: Config = config::load(home)?;
    let public = account::public_account(home)?;
    if public.is_none() && mesh::genesis(home)?.is_none() {
        let message = format!("{} has neither an account nor a ticket", home.path().display());
        return Err(OperationError::usage(message).hint(
            "make an account with: datamesh init, or join a mesh with: datamesh join <ticket>",
        ));
    }
    // A command that works here now ends sooner or later.
    let Some(lock) = home.lock_or_service().await? else {
        let message = format!("a service runs in {} already", home.path().display());
        return Err(OperationError::new(ErrorKind::Failed, message)
            .hint("a home has one service; stop the other, or choose another home with --home"));
    };
    let socket = home.socket()?;
    home.make_folder("node")?;
    // Stale from a service that was killed; ready means that it is there again.
    drop(std::fs::remove_file(home.file("status.json")));

    let keys = match (&public, &options.password) {
        (Some(_), Some(password)) => Some(account::open_keys(home, password()?).await?),
        _ => None,
    };
    let catalog = match &public {
        Some(public) => Some(account::open_catalog(home, public)?),
        None => None,
    };

    let late = Arc::new(LateService::default());
    let listen = if options.listen.is_empty() { config.listen.clone() } else { options.listen };
    let network = start_network(home, &listen, &config.network, &late).await?;
    let wish = Wish {
        domain: options.domain.or(config.domain.clone()),
        operator: options.operator.or(config.operator.clone()),
        storage: options.storage.or(config.storage),
        lease_days: options.lease_days.or(config.lease_days),
    };
    let (genesis, certificate) = admit(home, &network, &wish, keys.as_ref()).await?;
    let capacity = wish.storage.unwrap_or(certificate.claim.capacity_cap);
    let node = network.local();
    let store = {
        let home = home.clone();
        let opened = tokio::task::spawn_blocking(move || open_store(&home, node, capacity)).await;
        opened
            .map_err(|_| OperationError::new(ErrorKind::Failed, "opening the store broke off"))??
    };

    let transport: Arc<dyn Transport> =
        Arc::new(Loopback::new(Arc::new(network.clone()), Arc::clone(&late) as _));
    let invites = InviteLedger::open(home, &genesis)?;
    let lease_days = genesis.lease_days;
    let (engine, db) = engine_over(home, Arc::clone(&transport), genesis)?;
    match recall_damaged(&store, &db) {
        Ok(0) => {}
        Ok(shards) => tracing::warn!(shards, "shards were found damaged before this start"),
        Err(error) => tracing::warn!(%error, "what was found damaged before is forgotten"),
    }
    let signer: Arc<dyn Signer> = Arc::new(mesh::node_key(home)?);
    let audit_log = Arc::new(AuditLog::of(home));
    let admissions = invites.clone().map(|ledger| {
        let (inner, log) = (ledger as Arc<dyn Admissions>, Arc::clone(&audit_log));
        Arc::new(NotedAdmissions { inner, log }) as Arc<dyn Admissions>
    });
    let holder = Holder::new(
        Arc::clone(&engine),
        Arc::clone(&store),
        Arc::clone(&signer),
        certificate.clone(),
        admissions,
    );
    late.set(Arc::new(holder));

    let usage = store.usage().map_err(|e| OperationError::of(ErrorKind::Failed, &e))?;
    let advert = Advert {
        certificate,
        addresses: Vec::new(),
        capacity,
        free_class: free_class(usage.free, usage.capacity),
        draining: options.drain,
        release: env!("CARGO_PKG_VERSION").to_owned(),
        sequence: 0,
        expiry: 0,
        signature: Signature([0; 64]),
    };
    let advert = engine.sign_advert(&*signer, advert, ADVERT_LIFETIME_MS);
    let worker = Arc::new(MembershipWorker {
        engine: Arc::clone(&engine),
        network: network.clone(),
        store: Arc::clone(&store),
        signer,
        db,
        advert: Mutex::new(advert),
        // Who is heard of more seldom than it is missed would be missed all the time.
        interval: config.gossip_interval.min(config.offline_after / GOSSIPS_MIN).max(GOSSIP_MIN),
        draining: options.drain.into(),
    });
    let repairer = Arc::new(Repairer::new(
        Arc::clone(&engine),
        Arc::clone(&store),
        RepairConfig {
            offline_after: config.offline_after,
            grace: config.repair_grace,
            interval: config.repair_interval,
            expired: Duration::from_millis(config.collection.expired_ms),
            rate: config.repair_rate,
        },
    ));
    let mut first: Vec<NodeId> = Vec::new();
    if let Some(ticket) = mesh::ticket(home)? {
        transport.learn(ticket.issuer, &ticket.addresses);
        first.push(ticket.issuer);
    }
    let known = engine.peers().into_iter().map(|peer| peer.member.advert.node());
    first.extend(known.filter(|peer| *peer != node).take(FIRST_PEERS));
    first.dedup();
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let introduction = {
        let (worker, stop) = (Arc::clone(&worker), stop.clone());
        tasks.spawn(async move { stop.run_until_cancelled(worker.introduce(&first)).await })
    };
    // It goes on where it takes longer: no member decides when this node is ready.
    if tokio::time::timeout(INTRODUCTION_PATIENCE, introduction).await.is_err() {
        tracing::warn!("known members take long to answer");
    }

    let bootstrap = Arc::new(Bootstrap::of(home));
    let discovers = Arc::new(DiscoveryWorker {
        bootstrap: Arc::clone(&bootstrap),
        network: network.clone(),
        engine: Arc::clone(&engine),
        dht: config.network.reach.dht,
        interval: config.discovery_interval,
    });
    let limits = Arc::new(BandwidthWorker {
        limits: Mutex::new(Limits {
            plan: config.bandwidth.clone(),
            repair_rate: config.repair_rate,
        }),
        network: network.clone(),
        repairer: Arc::clone(&repairer),
    });
    let upkeep = Upkeep::new(&config, &engine, &store, &audit_log);
    let workers = Arc::new(Workers::default());
    let moved = (Arc::clone(&engine), Arc::clone(&store));
    // The one place that takes the power to remove.
    let collection =
        store.collection(config.collection.for_leases(lease_days)).ok_or_else(|| {
            OperationError::new(ErrorKind::Failed, "another part of this program collects already")
        })?;
    let collector = Arc::new(Collector::new(Arc::clone(&engine), collection, config.collector));
    let shared = Arc::new(Shared {
        home: home.clone(),
        settings: config.clone(),
        bootstrap: Arc::clone(&bootstrap),
        public,
        catalog,
        search: std::sync::Mutex::default(),
        publication: Arc::default(),
        node: Some(NodeParts {
            node,
            store,
            upkeep: upkeep.clone(),
            repairer: Arc::clone(&repairer),
            collector: Arc::clone(&collector),
            workers: Arc::clone(&workers),
        }),
        leases: LeaseWatch::of(home),
        engine: OnceCell::new_with(Some(engine)),
        network: OnceCell::new_with(Some(network.clone())),
        invites,
        keys,
        packs: datamesh_client::Packs::new(),
        audit_log: Arc::clone(&audit_log),
        _lock: lock,
    });
    let follows = HomeOperations::with_open_keys(&shared).is_some();
    let server = LocalServer::bind(&socket, Arc::clone(&shared))?;

    let serving = tasks.spawn(server.run(stop.clone(), tasks.clone()));
    let throttle =
        format!("an exchange each {}", humantime::format_duration(config.gossip_interval));
    let membership = Description::of("membership", throttle);
    workers.start(&tasks, &stop, membership, move |stop| Arc::clone(&worker).run(stop));
    let every = humantime::format_duration(config.discovery_interval);
    let discovery = Description::of("discovery", format!("a search each {every}"));
    workers.start(&tasks, &stop, discovery, move |stop| Arc::clone(&discovers).run(stop));
    let reloads = Arc::clone(&limits);
    let bandwidth = Description::of("bandwidth", "a look each 10s");
    workers.start(&tasks, &stop, bandwidth, move |stop| Arc::clone(&limits).run(stop));
    let heads = Description::of("heads", "a pass each 5s");
    workers.start(&tasks, &stop, heads, move |stop| {
        let mover = HeadMover::new(Arc::clone(&moved.0), Arc::clone(&moved.1));
        workers::move_heads(mover, stop)
    });
    upkeep.start(&config, &workers, &tasks, &stop);
    let repairs =
        Description::of("repair", format!("{} a second", bytesize::ByteSize(config.repair_rate)));
    workers.start(&tasks, &stop, repairs, {
        let (repairer, collector) = (Arc::clone(&repairer), Arc::clone(&collector));
        move |stop| {
            let (repairer, collector) = (Arc::clone(&repairer), Arc::clone(&collector));
            async move {
                let work = async {
                    workers::reconciled(&collector).await;
                    repairer.run().await;
                };
                let _stopped = stop.run_until_cancelled(work).await;
            }
        }
    });
    let collects = humantime::format_duration(config.collection_interval);
    let collects = Description::of("collection", format!("a pass each {collects}"));
    workers.start(&tasks, &stop, collects, {
        let (interval, offline_after) = (config.collection_interval, config.offline_after);
        move |stop| workers::collect(Arc::clone(&collector), interval, offline_after, stop)
    });
    if follows && lease_days != 0 {
        workers::start_renewing(&workers, &tasks, &stop, &shared, config.leases_interval);
    }
    if follows {
        let catalog = Description::of("catalog", "a round each 30s");
        workers.start(&tasks, &stop, catalog, move |stop| {
            let operations = HomeOperations::with_open_keys(&shared);
            async move {
                if let Some(operations) = operations {
                    workers::follow_catalog(operations, stop).await;
                }
            }
        });
    }

    let status = Status {
        peer_id: node,
        listen: network.listening(),
        socket,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
    };
    let text = serde_json::to_vec_pretty(&status)
        .map_err(|error| OperationError::new(ErrorKind::Failed, error))?;
    // Whoever reads that it is ready may end it, or have it read its settings again, at once.
    let mut ends = Ends::catch()?;
    let hangups = reload::catch();
    home.write("status.json", &text)?;
    tracing::info!(node = %status.peer_id, listen = ?status.listen, "ready");
    let version = ("version", status.version.clone());
    audit_log.record("service.start", &[("node", node.to_string()), version]);

    if let Some(hangups) = hangups {
        tasks.spawn(reload::run(home.clone(), hangups, reloads, stop.clone()));
    }
    tell(supervisor::State::Ready);
    let broken = async {
        tokio::select! {
            () = network.failed() => "its network",
            () = panicked(serving) => "what answers its commands",
        }
    };
    let ended = ends.wait(options.timeout, options.drain.then_some(&*repairer), broken).await;
    if let End::Broken(part) = ended {
        tracing::error!("{part} broke down");
    }
    tracing::info!("stopping; a second signal ends it at once");
    tell(supervisor::State::Stopping);
    audit_log.record("service.stop", &[("node", node.to_string())]);
    stop.cancel();
    tasks.close();
    tokio::select! {
        () = tasks.wait() => {}
        () = tokio::time::sleep(STOP_PATIENCE) => tracing::warn!("work under way is given up"),
        () = ends.signal() => tracing::warn!("told twice: work under way is given up"),
    }
    if tokio::time::timeout(STOP_PATIENCE, network.shutdown()).await.is_err() {
        tracing::warn!("some connections did not end in time");
    }
    drop(std::fs::remove_file(home.file("status.json")));
    if let End::Broken(part) = ended {
        let message = format!("the node was stopped: {part} broke down");
        return Err(OperationError::new(ErrorKind::Failed, message)
            .hint("its log says where; start it again: nothing that was acknowledged is lost"));
    }
    if options.drain && ended != End::Drained {
        let left = repairer.status().drain.unwrap_or_default().left;
        let message = format!("the node was stopped before it was drained; {left} shards are left");
        return Err(OperationError::new(ErrorKind::Partial, message).hint(
            "nothing was removed: start it again with --drain to go on, or without to stay",
        ));
    }
    Ok(())
}
