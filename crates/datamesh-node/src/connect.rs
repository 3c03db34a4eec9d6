//! How a command gets its operations: from the daemon, or in its own process.

use std::sync::Arc;

use datamesh_api::{OperationError, Operations};
use tokio::sync::OnceCell;

use crate::account::{self, PasswordSource};
use crate::audit_log::AuditLog;
use crate::bootstrap::Bootstrap;
use crate::config;
use crate::home::Home;
use crate::local::{Remote, reach_daemon};
use crate::mesh::{self, InviteLedger};
use crate::operations::{HomeOperations, LeaseWatch, Shared};

/// Whether a daemon answers for this home now, so that commands only pass bytes on.
pub async fn is_served(home: &Home) -> bool {
    matches!(reach_daemon(home).await, Ok(Some(_)))
}

/// The operations of a home: of its daemon where one runs, else in this process. `password` is
/// asked only when a keystore must be opened; where it is `at_hand`, so that nobody has to type it, listings look
/// at the mesh too.
///
/// # Errors
/// [`OperationError`] where the home cannot be used, for instance because another command has
/// worked in it for 30 s.
pub async fn connect(
    home: &Home,
    password: PasswordSource,
    at_hand: bool,
) -> Result<Arc<dyn Operations>, OperationError> {
    if let Some(remote) = Remote::find(home, Arc::clone(&password)).await? {
        return Ok(Arc::new(remote));
    }
    let Some(lock) = home.lock_or_service().await? else {
        if let Some(remote) = Remote::find(home, password).await? {
            return Ok(Arc::new(remote));
        }
        return Err(OperationError::new(
            datamesh_api::ErrorKind::Failed,
            "the service of this home ended while it was being asked",
        )
        .hint("try again"));
    };
    let public = account::public_account(home)?;
    let catalog = match &public {
        Some(public) => Some(account::open_catalog(home, public)?),
        None => None,
    };
    let invites = match mesh::genesis(home)? {
        Some(genesis) => InviteLedger::open(home, &genesis)?,
        None => None,
    };
    let shared = Arc::new(Shared {
        home: home.clone(),
        settings: config::load(home)?,
        bootstrap: Arc::new(Bootstrap::of(home)),
        public,
        catalog,
        search: std::sync::Mutex::default(),
        publication: Arc::default(),
        node: None,
        leases: LeaseWatch::of(home),
        engine: OnceCell::new(),
        network: OnceCell::new(),
        invites,
        keys: None,
        packs: datamesh_client::Packs::new(),
        audit_log: Arc::new(AuditLog::of(home)),
        _lock: lock,
    });
    Ok(Arc::new(HomeOperations::new(shared, password).with_password_at_hand(at_hand)))
}
