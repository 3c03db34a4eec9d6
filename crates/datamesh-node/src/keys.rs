//! Key files: a device's keystore on its way to another home, and the page that is printed.
//!
//! A key file has the keystore as it lies in a home, sealed under its password, and what a blank home
//! needs to find its mesh. It has neither words nor a catalog; the catalog is restored from the mesh
//! by the first command. Layout: `docs/specs/keystore.md`.

use std::fmt::Write as _;

use datamesh_api::{ErrorKind, OperationError};
use datamesh_catalog::{NodeDb, NodeLimits};
use datamesh_core::wire::{self, Decode, Encode, Reader, WireError, Writer};
use datamesh_core::{AccountId, Advert, Clock, Genesis, Grant, Signer};
use datamesh_crypto::keystore::KEYSTORE_BYTES_MAX;
use datamesh_crypto::{DeviceKeys, Words, keystore};
use zeroize::Zeroizing;

use crate::account::{self, PublicAccount};
use crate::audit_log::AuditLog;
use crate::home::Home;
use crate::mesh;
use crate::system::{SystemClock, SystemEntropy};

/// Largest key file in bytes.
pub const KEY_FILE_BYTES_MAX: usize = 512 * 1024;

/// Adverts that a key file brings along.
const ADVERTS_MAX: usize = 32;

/// Addresses on the printed page.
const ADDRESSES_SHOWN: usize = 8;

/// Where a home remembers the mesh's members.
pub(crate) const MEMORY: &str = "node/memory.db";

const MAGIC: [u8; 4] = *b"DMKF";

/// What a key file holds.
struct KeyFile {
    keystore: Vec<u8>,
    public: PublicAccount,
    genesis: Option<Genesis>,
    grant: Option<Grant>,
    adverts: Vec<Advert>,
}

impl KeyFile {
    const VERSION: u8 = 1;
}

fn encode_option<T: Encode>(value: &Option<T>, out: &mut Writer) {
    out.flag(value.is_some());
    if let Some(value) = value {
        value.encode(out);
    }
}

fn decode_option<T: Decode>(from: &mut Reader<'_>) -> Result<Option<T>, WireError> {
    if from.flag("presence")? { Ok(Some(T::decode(from)?)) } else { Ok(None) }
}

impl Encode for KeyFile {
    fn encode(&self, out: &mut Writer) {
        out.raw(&MAGIC).u8(Self::VERSION).bytes(&self.keystore);
        self.public.encode(out);
        encode_option(&self.genesis, out);
        encode_option(&self.grant, out);
        out.list(&self.adverts);
    }
}

impl Decode for KeyFile {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        if from.array::<4>()? != MAGIC {
            return Err(WireError::Invalid { field: "key file" });
        }
        from.version("key file", Self::VERSION)?;
        Ok(Self {
            keystore: from.bytes("keystore", KEYSTORE_BYTES_MAX)?.to_vec(),
            public: PublicAccount::decode(from)?,
            genesis: decode_option(from)?,
            grant: decode_option(from)?,
            adverts: from.list("adverts", ADVERTS_MAX)?,
        })
    }
}

/// Whether bytes are a key file with one encoding, for the [fuzzer](crate::parsers).
pub(crate) fn is_one_key_file(bytes: &[u8]) -> bool {
    wire::decode::<KeyFile>(bytes).is_ok_and(|file| file.to_bytes() == bytes)
}

/// What the home remembers of its mesh's members.
fn adverts(home: &Home) -> Result<Vec<Advert>, OperationError> {
    let path = home.file(MEMORY);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let db = NodeDb::open(&path, NodeLimits::default())
        .map_err(|error| account::catalog_error(&error))?;
    db.adverts().map_err(|error| account::catalog_error(&error))
}

fn key_file(
    home: &Home,
    keystore: Vec<u8>,
    public: PublicAccount,
) -> Result<Vec<u8>, OperationError> {
    let genesis = mesh::genesis(home)?;
    let grant = match &genesis {
        Some(genesis) => mesh::grant(home, genesis)?,
        None => None,
    };
    let mut adverts = adverts(home)?;
    adverts.truncate(ADVERTS_MAX);
    Ok(KeyFile { keystore, public, genesis, grant, adverts }.to_bytes())
}

/// The home's keystore as a key file; it opens with the home's password.
///
/// # Errors
/// [`ErrorKind::Usage`] in a home without an account.
pub fn export_keys(home: &Home) -> Result<Vec<u8>, OperationError> {
    let public = account::public_account(home)?.ok_or_else(|| account::no_account(home))?;
    let keystore = account::keystore_file(home)?.ok_or_else(|| account::no_account(home))?;
    let log = public.log.log_key;
    let file = key_file(home, keystore, public)?;
    AuditLog::of(home).record("key.export", &[("log_key", format!("{log:?}"))]);
    Ok(file)
}

/// Makes another device of the home's account, as a key file under a password of its own. Needs the
/// words, as only they can certify a device. Blocks for some 0.3 s.
///
/// # Errors
/// [`ErrorKind::Usage`] for words that are none or another account's.
pub fn add_device(home: &Home, words: &str, password: &str) -> Result<Vec<u8>, OperationError> {
    let public = account::public_account(home)?.ok_or_else(|| account::no_account(home))?;
    let words = own_words(&public, words)?;
    let keys = DeviceKeys::set_up(&words, &SystemEntropy, SystemClock.now());
    if let Some(newest) = account::known_epoch(home, &public, &keys)? {
        keys.derive_epochs(&words, newest);
    }
    let keystore =
        keystore::seal(&keys, password, &SystemEntropy).map_err(account::keystore_error)?;
    let public =
        PublicAccount { log: keys.log_certificate().clone(), grant_key: keys.grant().public_key() };
    let log = public.log.log_key;
    let file = key_file(home, keystore, public)?;
    AuditLog::of(home).record("key.add", &[("log_key", format!("{log:?}"))]);
    Ok(file)
}

/// Reads words and checks that they are the account's.
fn own_words(public: &PublicAccount, words: &str) -> Result<Words, OperationError> {
    let words = Words::parse(words).map_err(OperationError::usage)?;
    let account = DeviceKeys::set_up(&words, &SystemEntropy, SystemClock.now()).account();
    if account == public.log.account {
        return Ok(words);
    }
    Err(OperationError::usage(format!(
        "these are the words of account {account}, and this home has {}",
        public.log.account
    )))
}

/// Puts a key file into a home that has no account. Everything in it is checked; the keystore, with
/// which the home has an account, is written last.
///
/// # Errors
/// [`ErrorKind::Usage`] for a home that has an account or is in another mesh,
/// [`ErrorKind::Failed`] for a file that is damaged or is no key file.
pub fn import_keys(home: &Home, file: &[u8]) -> Result<AccountId, OperationError> {
    let damaged = |why: &dyn std::fmt::Display| {
        OperationError::new(ErrorKind::Failed, format!("the key file cannot be used: {why}"))
            .hint("nothing was written; make another with: datamesh keys export")
    };
    let Some(_lock) = home.try_lock()? else {
        return Err(OperationError::usage(format!(
            "another process works in {}",
            home.path().display()
        )));
    };
    if account::has_account(home) {
        let message = format!("{} has an account already", home.path().display());
        return Err(OperationError::usage(message).hint("import into another home: --home FOLDER"));
    }
    let file: KeyFile = wire::decode(file).map_err(|error| damaged(&error))?;
    file.public.log.verify().map_err(|error| damaged(&error))?;
    keystore::check(&file.keystore).map_err(|error| damaged(&error))?;
    if let Some(genesis) = &file.genesis {
        genesis.verify().map_err(|error| damaged(&error))?;
        if mesh::genesis(home)?.is_some_and(|known| known != *genesis) {
            return Err(OperationError::usage(format!(
                "{} is in another mesh",
                home.path().display()
            )));
        }
        if let Some(grant) = &file.grant {
            mesh::keep_grant(home, genesis, grant)?;
        }
        if !file.adverts.is_empty() {
            home.make_folder("node")?;
            let db = NodeDb::open(&home.file(MEMORY), NodeLimits::default());
            let saved = db.and_then(|db| db.save_adverts(&file.adverts));
            saved.map_err(|error| account::catalog_error(&error))?;
        }
        mesh::keep_genesis(home, genesis)?;
    }
    account::keep_keystore(home, &file.public, &file.keystore)?;
    let account = file.public.log.account.to_string();
    AuditLog::of(home).record("key.import", &[("account", account)]);
    Ok(file.public.log.account)
}

/// The page to print and put away: what the account is, where its mesh is, and, where they are given,
/// its words.
///
/// # Errors
/// [`ErrorKind::Usage`] in a home without an account, and for words that are not its.
pub fn recovery_kit(home: &Home, words: Option<&str>) -> Result<Zeroizing<String>, OperationError> {
    let public = account::public_account(home)?.ok_or_else(|| account::no_account(home))?;
    let words = words.map(|words| own_words(&public, words)).transpose()?;
    AuditLog::of(home).record("key.kit", &[("with_words", words.is_some().to_string())]);
    let mut page = Zeroizing::new(String::with_capacity(8 * 1024));
    let mut line = |text: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(page, "{text}");
    };
    line("DataMesh recovery kit");
    line("");
    line(&format!("Account  {}", public.log.account));
    if let Some(genesis) = mesh::genesis(home)? {
        line(&format!("Mesh     {}", genesis.mesh_id()));
    }
    line("");
    line("The 24 words, in order. Whoever has them has the account.");
    line("");
    let text = words.as_ref().map(Words::text);
    let mut word = text.as_ref().map(|text| text.split(' '));
    for row in 0..6 {
        let cells: Vec<String> = (0..4)
            .map(|column| {
                let blank = "______________";
                let shown = word.as_mut().and_then(|words| words.next()).unwrap_or(blank);
                format!("{:2} {shown:<14}", row * 4 + column + 1)
            })
            .collect();
        line(cells.join("  ").trim_end());
    }
    line("");
    line("Nodes of the mesh that were known when this was printed; any one that runs is enough:");
    line("");
    let addresses: Vec<String> = adverts(home)?
        .iter()
        .filter_map(|advert| advert.addresses.first())
        .take(ADDRESSES_SHOWN)
        .map(|address| format!("   {address}"))
        .collect();
    if addresses.is_empty() {
        line("   none");
    }
    for address in addresses {
        line(&address);
    }
    line("");
    line("To bring everything back on a blank machine:");
    line("");
    line("   datamesh recover --peer ADDRESS");
    Ok(page)
}
