//! What every operation of the owner works with.

use std::sync::{Arc, Mutex};

use datamesh_catalog::{AccountDb, Append, CatalogError};
use datamesh_codec::Pool;
use datamesh_core::{Entropy, Executor, Grant, Scheme};
use datamesh_crypto::DeviceKeys;
use datamesh_crypto::compress::Zstd;
use datamesh_engine::{Engine, Spread, block, step};

use crate::catalog::Publication;
use crate::collect::ToldTime;
use crate::error::ClientError;
use crate::pipeline::Packs;

/// What a client is built from.
pub struct ClientParts {
    /// The data plane.
    pub engine: Arc<Engine>,
    /// The account's catalog on this device.
    pub catalog: Arc<AccountDb>,
    /// The device's keys.
    pub keys: Arc<DeviceKeys>,
    /// The account's permission to store.
    pub grant: Arc<Grant>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// What is known of the account's heads; one for all clients over one catalog.
    pub publication: Arc<Publication>,
    /// Where small files of concurrent puts meet; clients of one account and engine may share it.
    pub packs: Arc<Packs>,
}

/// How far an operation is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of plaintext done.
    pub bytes: u64,
    /// Files done.
    pub files: u64,
}

/// Is told of progress, never often enough to matter.
pub type ProgressFn = Arc<dyn Fn(Progress) + Send + Sync>;

/// The owner's side.
pub struct Client {
    pub(crate) engine: Arc<Engine>,
    pub(crate) catalog: Arc<AccountDb>,
    pub(crate) keys: Arc<DeviceKeys>,
    pub(crate) grant: Arc<Grant>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) publication: Arc<Publication>,
    pub(crate) pool: Pool,
    pub(crate) zstd: Arc<Zstd>,
    pub(crate) packs: Arc<Packs>,
    pub(crate) told: Mutex<Option<ToldTime>>,
}

/// Segment buffers kept for reuse.
pub(crate) const BUFFERS_KEPT: usize = 12;

impl Client {
    /// A client.
    pub fn new(parts: ClientParts) -> Self {
        let client = Self {
            engine: parts.engine,
            catalog: parts.catalog,
            keys: parts.keys,
            grant: parts.grant,
            entropy: parts.entropy,
            publication: parts.publication,
            pool: Pool::new(BUFFERS_KEPT),
            zstd: Arc::default(),
            packs: parts.packs,
            told: Mutex::default(),
        };
        if let Err(error) = client.recall_epochs() {
            // The mesh has it too.
            tracing::warn!(%error, "the epochs record in the catalog cannot be used");
        }
        client
    }

    /// The account's catalog on this device.
    pub fn catalog(&self) -> &Arc<AccountDb> {
        &self.catalog
    }

    /// The device's keys.
    pub fn keys(&self) -> &Arc<DeviceKeys> {
        &self.keys
    }

    /// The data plane.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    pub(crate) fn executor(&self) -> &dyn Executor {
        &**self.engine.executor()
    }

    /// Takes a step towards something durable.
    pub(crate) async fn step<T>(&self, point: &'static str, work: impl Future<Output = T>) -> T {
        step(self.executor(), point, work).await
    }

    /// Takes a step: adds operations to this device's log, signed and with the time of now.
    pub(crate) async fn append(
        &self,
        point: &'static str,
        append: Append,
    ) -> Result<(), ClientError> {
        let (keys, append) = (Arc::clone(&self.keys), Append { now: self.engine.now(), ..append });
        let appending = self.catalog_call(move |catalog| {
            catalog.append(append, |body| keys.sign_operation(body)).map(drop)
        });
        self.step(point, appending).await
    }

    /// The same, where the operations refer to segments that are there already. Says whether they were added:
    /// not where a segment was referred to again since it was renewed.
    pub(crate) async fn append_referring(
        &self,
        point: &'static str,
        append: Append,
    ) -> Result<bool, ClientError> {
        match self.append(point, append).await {
            Ok(()) => Ok(true),
            Err(ClientError::Catalog(CatalogError::Referred { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Runs a blocking call of the catalog.
    pub(crate) async fn catalog_call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&AccountDb) -> Result<T, CatalogError> + Send + 'static,
    ) -> Result<T, ClientError> {
        let catalog = Arc::clone(&self.catalog);
        match block(self.executor(), move || call(&catalog)).await {
            Some(result) => Ok(result?),
            None => Err(ClientError::Shutdown),
        }
    }

    /// The scheme and spread of a put now.
    pub(crate) fn protection(
        &self,
        asked: Option<Scheme>,
        allow_degraded: bool,
    ) -> Result<(Scheme, Spread), ClientError> {
        let (domains, suited) = self.engine.domains();
        if domains == 0 {
            return Err(ClientError::NoNodes);
        }
        let scheme = asked.or(suited).unwrap_or(Scheme::FOUR_TWO);
        // As many as a commit needs; what shards find no domain is owed.
        let needed = scheme.commit_min();
        // Who allows less protection wants the put to succeed with the nodes that answer.
        let counted = if allow_degraded { self.engine.domains_alive() } else { domains };
        if counted >= scheme.n() || (counted >= needed && !allow_degraded) {
            Ok((scheme, Spread::Strict))
        } else if allow_degraded {
            // Fewer are there, or fewer answer now.
            Ok((scheme, Spread::Relaxed))
        } else {
            Err(ClientError::TooFewDomains { scheme, needed, domains })
        }
    }
}
