//! Names that begin so: what a shell may complete.

use datamesh_catalog::{AccountDb, CatalogError, Cursor, ListQuery, Listed};
use datamesh_core::MeshPath;
use datamesh_core::catalog::EntryKind;

use crate::account;
use crate::home::Home;

/// Names of files, and of folders with a slash behind them, that begin with what was typed: those that the
/// catalog of the home's account has on this device, at most `most`. None where there is no account or anything
/// goes wrong. Asks nobody and does not wait for the home's lock; no account and no catalog is made.
pub fn names_beginning(home: &Home, typed: &str, most: usize) -> Vec<String> {
    let catalog = match account::public_account(home) {
        Ok(Some(public)) if home.has(account::CATALOG) => account::open_catalog(home, &public).ok(),
        _ => None,
    };
    let found = catalog.and_then(|catalog| beginning(&catalog, typed, most).ok());
    found.unwrap_or_default()
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
