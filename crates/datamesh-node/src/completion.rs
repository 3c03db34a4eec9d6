//! What a shell or a console may complete: files, members, shares and the list of peers, as this device knows
//! them. Nobody is asked, no lock is waited for, and nothing is made; where anything goes wrong there is nothing to
//! complete.

use std::sync::Arc;

use datamesh_catalog::{
    AccountDb, CatalogError, Cursor, ListQuery, Listed, NodeDb, NodeLimits, SharedFile,
};
use datamesh_client::share_digits;
use datamesh_core::catalog::EntryKind;
use datamesh_core::{Advert, MeshPath, NodeId};

use crate::bootstrap::Bootstrap;
use crate::home::Home;
use crate::{account, keys};

/// Something that may stand where somebody types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// What is typed for it.
    pub value: String,
    /// What it is, where its value does not say so.
    pub about: String,
}

fn catalog(home: &Home) -> Option<Arc<AccountDb>> {
    match account::public_account(home) {
        Ok(Some(public)) if home.has(account::CATALOG) => account::open_catalog(home, &public).ok(),
        _ => None,
    }
}

/// Names of files, and of folders with a slash behind them, that begin with what was typed: those that the
/// catalog of the home's account has on this device, at most `most`.
pub fn names_beginning(home: &Home, typed: &str, most: usize) -> Vec<String> {
    let found = catalog(home).and_then(|catalog| beginning(&catalog, typed, most).ok());
    found.unwrap_or_default()
}

/// Ids of members that begin with what was typed, with or without what all of them begin with.
pub fn peers_beginning(home: &Home, typed: &str) -> Vec<Candidate> {
    let whole = !typed.is_empty()
        && (NodeId::TEXT_PREFIX.starts_with(typed) || typed.starts_with(NodeId::TEXT_PREFIX));
    let adverts = adverts(home).into_iter();
    let candidate = |advert: Advert| {
        let id = advert.node().to_string();
        let short = id.strip_prefix(NodeId::TEXT_PREFIX).filter(|_| !whole).map(ToOwned::to_owned);
        Candidate { value: short.unwrap_or(id), about: advert.certificate.claim.domain.to_string() }
    };
    adverts.map(candidate).filter(|candidate| candidate.value.starts_with(typed)).collect()
}

fn adverts(home: &Home) -> Vec<Advert> {
    let path = home.file(keys::MEMORY);
    if !path.exists() {
        return Vec::new();
    }
    let db = NodeDb::open_as_it_is(&path, NodeLimits::default());
    db.and_then(|db| db.adverts()).unwrap_or_default()
}

/// Ids of shares that were not ended and begin with what was typed, at most 256.
pub fn shares_beginning(home: &Home, typed: &str) -> Vec<Candidate> {
    let Some(catalog) = catalog(home) else { return Vec::new() };
    let shares = catalog.shares(None, usize::MAX).unwrap_or_default().into_iter();
    let candidate = |known: datamesh_catalog::KnownShare| {
        let id = share_digits(&known.share.share);
        let about = match catalog.shared_file(&known.share.file) {
            Ok(SharedFile::Is(_, path)) => path.to_string(),
            _ => String::new(),
        };
        Candidate { value: id, about }
    };
    let current = shares.filter(|known| !known.ended).map(candidate);
    current.filter(|candidate| candidate.value.starts_with(typed)).collect()
}

/// Addresses of the list of peers that begin with what was typed.
pub fn addresses_beginning(home: &Home, typed: &str) -> Vec<String> {
    let peers = Bootstrap::of(home).list().unwrap_or_default().into_iter();
    peers.map(|peer| peer.address).filter(|address| address.starts_with(typed)).collect()
}

fn beginning(catalog: &AccountDb, typed: &str, most: usize) -> Result<Vec<String>, CatalogError> {
    let folder: Option<MeshPath> = match typed.rsplit_once('/') {
        None => None,
        Some((folder, _)) => match folder.parse() {
            Ok(folder) => Some(folder),
            // Nothing can have such a name.
            Err(_) => return Ok(Vec::new()),
        },
    };
    let after = match typed {
        "" => None,
        typed => Some(Cursor::from_bytes(typed.as_bytes())?),
    };
    let page =
        catalog.list(&ListQuery { folder, limit: Some(most), after, ..ListQuery::default() })?;
    let name = |row: &Listed| match row {
        Listed::Folder(path) => format!("{path}/"),
        Listed::Entry(entry) if entry.kind == EntryKind::Folder => format!("{}/", entry.path),
        Listed::Entry(entry) => entry.path.to_string(),
    };
    Ok(page.rows.iter().map(name).take_while(|name| name.starts_with(typed)).collect())
}
