//! The account of a home: its keystore, and the part of it that needs no password.

use std::sync::Arc;

use datamesh_api::{ErrorKind, OperationError};
use datamesh_catalog::{AccountDb, CatalogError, Owner};
use datamesh_core::catalog::LogCertificate;
use datamesh_core::wire::{self, Encode};
use datamesh_core::{AccountId, Clock, Head, LogId, PublicKey, Signer, seam};
use datamesh_crypto::{DeviceKeys, KeystoreError, Words, keystore};
use zeroize::Zeroizing;

use crate::audit_log::AuditLog;
use crate::home::{Home, file_error};
use crate::system::{SystemClock, SystemEntropy};

const KEYSTORE: &str = "account/keystore";
const PUBLIC: &str = "account/public";
pub(crate) const CATALOG: &str = "account/catalog.db";

/// Gives the password when a keystore must be opened.
pub type PasswordSource = Arc<dyn Fn() -> Result<Zeroizing<String>, OperationError> + Send + Sync>;

/// An account that was drawn and is nowhere yet: whoever made its words safe [keeps](Self::keep) it.
pub struct DrawnAccount {
    home: Home,
    words: Zeroizing<String>,
    keys: DeviceKeys,
    sealed: Vec<u8>,
}

datamesh_core::record! {
    /// What is known of the home's account without its password.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) struct PublicAccount {
        /// Account, device and log key.
        pub log: LogCertificate,
        /// The key that grants are made for.
        pub grant_key: PublicKey,
    }
}

/// Whether a home has an account.
pub fn has_account(home: &Home) -> bool {
    home.has(KEYSTORE)
}

/// What opening the keystore of a home costs; nothing in a home without an account.
pub(crate) fn keystore_costs(home: &Home) -> Result<Option<keystore::Costs>, OperationError> {
    let Some(file) = home.read(KEYSTORE)? else { return Ok(None) };
    let costs = keystore::costs(&file);
    costs.map(Some).map_err(|error| OperationError::of(ErrorKind::Failed, &error))
}

impl DrawnAccount {
    /// Draws an account for a home, in which nothing is written. Blocks for some 0.3 s.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] where the home has an account or the password cannot be taken.
    pub fn draw(home: &Home, password: &str) -> Result<Self, OperationError> {
        refuse_second(home)?;
        let entropy = SystemEntropy;
        let words = Words::draw(&entropy);
        let keys = DeviceKeys::set_up(&words, &entropy, SystemClock.now());
        let sealed = keystore::seal(&keys, password, &entropy).map_err(keystore_error)?;
        Ok(Self { home: home.clone(), words: words.text(), keys, sealed })
    }

    /// Its 24 words: shown once, kept nowhere.
    pub fn words(&self) -> &Zeroizing<String> {
        &self.words
    }

    /// Writes it into its home. Blocks. Returns its id.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] where the home has got an account meanwhile or somebody works in it; those of the
    /// disk.
    pub fn keep(self) -> Result<AccountId, OperationError> {
        let Self { home, keys, sealed, .. } = self;
        let Some(_lock) = home.try_lock()? else {
            let message = format!("another process works in {}", home.path().display());
            return Err(OperationError::usage(message));
        };
        refuse_second(&home)?;
        set_aside(&home)?;
        // Here and only here an empty catalog is all that the account has; a catalog that is missing
        // later was lost, and is restored from the mesh.
        home.make_folder("account")?;
        let owner = owner(keys.account(), keys.log_certificate().log_key);
        AccountDb::open(&home.file(CATALOG), owner).map_err(|error| catalog_error(&error))?;
        keep_keystore(&home, &public_of(&keys), &sealed)?;
        AuditLog::of(&home).record("account.init", &[("account", keys.account().to_string())]);
        Ok(keys.account())
    }
}

fn refuse_second(home: &Home) -> Result<(), OperationError> {
    if !home.has(KEYSTORE) {
        return Ok(());
    }
    let message = format!("{} has an account already", home.path().display());
    Err(OperationError::usage(message).hint("choose another home with --home"))
}

/// Writes the keystore, and what is known without its password. The keystore comes last: with it
/// there is an account.
fn seal_keys(home: &Home, keys: &DeviceKeys, password: &str) -> Result<(), OperationError> {
    let file = keystore::seal(keys, password, &SystemEntropy).map_err(keystore_error)?;
    keep_keystore(home, &public_of(keys), &file)
}

/// What is known of an account without its password.
fn public_of(keys: &DeviceKeys) -> PublicAccount {
    PublicAccount { log: keys.log_certificate().clone(), grant_key: keys.grant().public_key() }
}

/// Sets aside what an account without a keystore left: one whose making was cut off, or whose keystore was lost.
/// Nothing of it is removed.
fn set_aside(home: &Home) -> Result<(), OperationError> {
    if !home.has(CATALOG) {
        return Ok(());
    }
    let (from, to) = (home.file("account"), home.file(&format!("account-{}", SystemClock.now())));
    std::fs::rename(&from, &to).map_err(|error| file_error("setting aside", &from, &error))?;
    tracing::warn!(folder = %to.display(), "an account without a keystore was set aside");
    Ok(())
}

/// Writes the keystore, away from the tasks.
pub(crate) async fn write_keys(
    home: &Home,
    keys: &Arc<DeviceKeys>,
    password: Zeroizing<String>,
) -> Result<(), OperationError> {
    let (home, keys) = (home.clone(), Arc::clone(keys));
    let sealed = tokio::task::spawn_blocking(move || seal_keys(&home, &keys, &password)).await;
    sealed.map_err(|_| OperationError::new(ErrorKind::Failed, "writing the keystore broke off"))?
}

/// The owner of a catalog that begins a log of its own.
fn owner(account: AccountId, log_key: PublicKey) -> Owner {
    Owner { account, log: LogId(seam::random(&SystemEntropy)), log_key }
}

pub(crate) fn keystore_error(error: KeystoreError) -> OperationError {
    let made = OperationError::of(ErrorKind::Failed, &error);
    match error {
        KeystoreError::PasswordShort => OperationError { kind: ErrorKind::Usage, ..made },
        KeystoreError::Password => {
            made.hint("check the password; the keystore file was not changed")
        }
        KeystoreError::Format | KeystoreError::Damaged(_) => {
            made.hint("put a copy of the keystore back")
        }
        KeystoreError::Cipher(_) => made,
    }
}

/// The keystore's file; nothing in a home without an account.
pub(crate) fn keystore_file(home: &Home) -> Result<Option<Vec<u8>>, OperationError> {
    home.read(KEYSTORE)
}

/// Writes a keystore that was sealed elsewhere, and what is known without its password.
pub(crate) fn keep_keystore(
    home: &Home,
    public: &PublicAccount,
    file: &[u8],
) -> Result<(), OperationError> {
    home.write(PUBLIC, &public.to_bytes())?;
    home.write(KEYSTORE, file)
}

/// What is known of the home's account without its password; nothing where there is none.
pub(crate) fn public_account(home: &Home) -> Result<Option<PublicAccount>, OperationError> {
    let Some(bytes) = home.read(PUBLIC)? else { return Ok(None) };
    if !home.has(KEYSTORE) {
        // The public part is written first; without a keystore there is no account.
        return Ok(None);
    }
    let public: PublicAccount =
        wire::decode(&bytes).map_err(|error| damaged_public(home, &error))?;
    public.log.verify().map_err(|error| damaged_public(home, &error))?;
    Ok(Some(public))
}

fn damaged_public(home: &Home, why: &dyn std::fmt::Display) -> OperationError {
    let message = format!("{} is damaged: {why}", home.file(PUBLIC).display());
    OperationError::new(ErrorKind::Failed, message).hint("put a copy of it back")
}

/// Opens the keystore. Takes 0.2 s and 64 MiB on purpose, away from the tasks.
pub(crate) async fn open_keys(
    home: &Home,
    password: Zeroizing<String>,
) -> Result<Arc<DeviceKeys>, OperationError> {
    let Some(file) = home.read(KEYSTORE)? else { return Err(no_account(home)) };
    let opened = tokio::task::spawn_blocking(move || keystore::open(&file, &password));
    match opened.await {
        Ok(Ok(keys)) => {
            let public = PublicAccount {
                log: keys.log_certificate().clone(),
                grant_key: keys.grant().public_key(),
            };
            if public_account(home)?.is_some_and(|known| known != public) {
                return Err(damaged_public(home, &"it is not that of the keystore"));
            }
            Ok(Arc::new(keys))
        }
        Ok(Err(error)) => {
            if matches!(error, KeystoreError::Password) {
                AuditLog::of(home).record("password.wrong", &[]);
            }
            Err(keystore_error(error))
        }
        Err(_) => Err(OperationError::new(ErrorKind::Failed, "opening the keystore broke off")),
    }
}

pub(crate) fn no_account(home: &Home) -> OperationError {
    let message = format!("{} has no account", home.path().display());
    OperationError::usage(message).hint("make one with: datamesh init")
}

/// An error of the catalog, with what to do.
pub(crate) fn catalog_error(error: &CatalogError) -> OperationError {
    let made = OperationError::of(ErrorKind::Failed, error);
    match error {
        CatalogError::Damaged { .. } => made.hint(
            "nothing wrong was given out; move account/catalog.db away, and the next command \
             restores it from the mesh",
        ),
        CatalogError::Incomplete => {
            OperationError { kind: ErrorKind::Network, ..made }.hint("start more of its nodes")
        }
        CatalogError::Behind { .. } => OperationError { kind: ErrorKind::Network, ..made }
            .hint("try again when enough of the mesh's nodes answer: datamesh peers"),
        CatalogError::Search { .. } => OperationError { kind: ErrorKind::Usage, ..made },
        CatalogError::DiskFull => made.hint("make room on the disk of the home and try again"),
        _ => made,
    }
}

/// Opens the catalog of the home's account.
pub(crate) fn open_catalog(
    home: &Home,
    public: &PublicAccount,
) -> Result<Arc<AccountDb>, OperationError> {
    let path = home.file(CATALOG);
    if !path.exists() {
        return restore_catalog(home, public.log.account, public.log.log_key);
    }
    AccountDb::open(&path, owner(public.log.account, public.log.log_key))
        .map(Arc::new)
        .map_err(|error| catalog_error(&error))
}

/// The newest catalog epoch that this home knows of; nothing while the first lasts.
pub(crate) fn known_epoch(
    home: &Home,
    public: &PublicAccount,
    keys: &DeviceKeys,
) -> Result<Option<u32>, OperationError> {
    if !home.has(CATALOG) {
        return Ok(None);
    }
    let record = open_catalog(home, public)?.epochs().map_err(|error| catalog_error(&error))?;
    let Some(record) = record else { return Ok(None) };
    let opened = wire::decode::<Head>(&record).ok().and_then(|head| keys.open_epochs(&head).ok());
    opened.map(|epochs| Some(epochs.epoch)).ok_or_else(|| {
        let message = "the epochs record in the catalog of this home cannot be read";
        OperationError::new(ErrorKind::Failed, message)
            .hint("move account/catalog.db away; the next command restores it from the mesh")
    })
}

/// Begins a catalog that is filled from the mesh before it answers anything.
pub(crate) fn restore_catalog(
    home: &Home,
    account: AccountId,
    log_key: PublicKey,
) -> Result<Arc<AccountDb>, OperationError> {
    home.make_folder("account")?;
    AccountDb::restore(&home.file(CATALOG), owner(account, log_key))
        .map(Arc::new)
        .map_err(|error| catalog_error(&error))
}
