//! From the client's and engine's words to the contract's.

use datamesh_api::{
    EntryFailure, ErrorKind, FileVersion, OperationError, PeerFault, SecretText, ShareInfo,
    ShareStanding, StoredFile,
};
use datamesh_catalog::{CatalogError, Entry, Summary, Version};
use datamesh_client::{
    ClientError, ShareState, ShareView, SharingError, StoredEntry, share_digits,
};
use datamesh_core::catalog::EntryKind;
use datamesh_core::message::Refusal;
use datamesh_crypto::{Recipient, ShareError};
use datamesh_engine::{AskError, Fault, FaultKind, ReadError, WriteError};

use crate::account::catalog_error;

/// A client's error with its exit code and the next step.
pub(crate) fn client_error(error: &ClientError) -> OperationError {
    let made = |kind| OperationError::of(kind, error);
    match error {
        ClientError::TooFewDomains { .. } => made(ErrorKind::Network)
            .hint("start more nodes in domains of their own, or put with --allow-degraded"),
        ClientError::NoNodes => made(ErrorKind::Network)
            .hint("check that nodes of the mesh run and can be reached: datamesh peers"),
        ClientError::Write(WriteError::TooFewDomains { faults, .. })
            if refused_by_all(faults, Refusal::GrantUsedUp) =>
        {
            made(ErrorKind::Failed).hint(
                "the account has used up what it was granted on each node; nothing was \
                 acknowledged: ask for an invite with a larger --quota",
            )
        }
        ClientError::Write(_) => made(ErrorKind::Network)
            .hint(
                "nothing was acknowledged; start more nodes (datamesh peers shows which answer), or put with \
                 --allow-degraded",
            ),
        ClientError::Read(ReadError::NotFound { .. } | ReadError::TooFew { .. }) => {
            made(ErrorKind::Network).hint("see which nodes answer with: datamesh peers")
        }
        ClientError::NotFound { .. }
        | ClientError::NoVersion { .. }
        | ClientError::NothingBelow { .. }
        | ClientError::Purged { .. } => made(ErrorKind::NotFound),
        ClientError::Folder { name } => made(ErrorKind::NotFound).hint(format!(
            "what is below it is meant by '{}/**', or with -r where a command has it",
            name.trim_end_matches('/')
        )),
        ClientError::Deleted { name } => {
            made(ErrorKind::NotFound).hint(format!(
            "see what is left of it with: datamesh versions -- '{name}'"
        ))
        }
        ClientError::Range { .. }
        | ClientError::Tags(_)
        | ClientError::PinTerms(_)
        | ClientError::Current { .. } => {
            made(ErrorKind::Usage)
        }
        ClientError::Taken { .. } => made(ErrorKind::Usage)
            .hint("choose another name, or with --replace make it a new version of that file"),
        ClientError::TakenByFolder { path } => {
            made(ErrorKind::Usage).hint(format!("to put it into the folder, say: '{path}/'"))
        }
        ClientError::SameName { .. }
        | ClientError::IntoItself { .. }
        | ClientError::NameTooLong { .. }
        | ClientError::NotCurrent { .. } => made(ErrorKind::Usage),
        ClientError::NotRenewed { .. } => made(ErrorKind::Network).hint(
            "see which nodes answer with: datamesh peers; or get the version and put it again",
        ),
        ClientError::Catalog(CatalogError::Ambiguous { .. }) => {
            made(ErrorKind::Usage).hint("give more digits, or the path")
        }
        ClientError::Catalog(error) => catalog_error(error),
        ClientError::MayBeOld => made(ErrorKind::Network).hint(
            "nothing was changed; start more of the mesh's nodes, or see which answer with: \
             datamesh peers",
        ),
        ClientError::Forked { .. } => made(ErrorKind::Failed).hint(
            "move account/catalog.db away: the next command restores it from the mesh under a log \
             of its own. What this device stored and the mesh does not list must be put again",
        ),
        ClientError::Revoked { .. } => made(ErrorKind::Failed).hint(
            "what it has can still be listed and fetched here: put what is missing from another \
             device, or make this one anew in a fresh home with: datamesh recover",
        ),
        ClientError::LeftOut { .. } => made(ErrorKind::Failed).hint(
            "make its keys anew on another device with: datamesh keys add, and import them into a \
             fresh home",
        ),
        ClientError::Sharing(error) => sharing_error(error),
        ClientError::Words | ClientError::RevokedBefore { .. } => made(ErrorKind::Usage),
        ClientError::OwnDevice { .. } => {
            made(ErrorKind::Usage).hint("revoke it from another device of the account")
        }
        ClientError::NoDevice { .. } => {
            made(ErrorKind::NotFound).hint("see them with: datamesh keys list")
        }
        ClientError::NotRotated { .. } => made(ErrorKind::Network).hint(
            "see which nodes answer with: datamesh peers; then look at: datamesh keys list, and do it \
             again if the epoch has not begun",
        ),
        ClientError::Contended => {
            made(ErrorKind::Failed).hint("use a copy of a home on one machine only")
        }
        _ => made(ErrorKind::Failed),
    }
}

/// The same of sharing.
fn sharing_error(error: &SharingError) -> OperationError {
    let made = |kind| OperationError::of(kind, error);
    match error {
        SharingError::Folder { .. } => made(ErrorKind::Usage)
            .hint("share its files one by one, or an archive of it: datamesh export"),
        SharingError::ExpiryPast | SharingError::OtherMesh => made(ErrorKind::Usage),
        SharingError::Ambiguous { .. } => made(ErrorKind::Usage).hint("give more digits"),
        SharingError::NoContact => made(ErrorKind::NotFound)
            .hint("ask the person to run \"datamesh keys recipient\", and for what it prints"),
        SharingError::NoShare { .. } => {
            made(ErrorKind::NotFound).hint("see them with: datamesh share list")
        }
        SharingError::Revoked | SharingError::Expired { .. } | SharingError::Gone => {
            made(ErrorKind::NotFound).hint("ask whoever shared it for another link")
        }
        SharingError::MayBeOld => {
            made(ErrorKind::Network).hint("try again when more nodes of the mesh answer")
        }
        SharingError::Share(ShareError::PasswordMissing) => {
            made(ErrorKind::Usage).hint("name a file that holds it with --link-password-file")
        }
        SharingError::Share(ShareError::Password) => {
            made(ErrorKind::Failed).hint("ask whoever shared it for the password")
        }
        SharingError::Share(ShareError::PasswordShort | ShareError::Link) => made(ErrorKind::Usage),
        SharingError::Share(_) => made(ErrorKind::Failed),
    }
}

/// A share, with its link if that is wanted.
pub(crate) fn share(view: ShareView, link: bool) -> ShareInfo {
    let person = view.person.map(|contact| Recipient::new(&view.link.mesh, contact).to_string());
    ShareInfo {
        share: share_digits(&view.share),
        path: view.path,
        file: view.file,
        created: view.created,
        expires: view.expiry,
        person,
        password: view.password,
        state: match view.state {
            ShareState::Current => ShareStanding::Current,
            ShareState::Pending => ShareStanding::Pending,
            ShareState::Ending => ShareStanding::Ending,
            ShareState::Revoked => ShareStanding::Revoked,
            ShareState::Expired => ShareStanding::Expired,
        },
        link: link.then(|| SecretText::new(view.link.text().to_string())),
    }
}

/// Whether peers failed, and each for this reason.
fn refused_by_all(faults: &[Fault], reason: Refusal) -> bool {
    let refused = |fault: &Fault| matches!(&fault.kind, FaultKind::Ask(AskError::Refused { refusal, .. }) if *refusal == reason);
    !faults.is_empty() && faults.iter().all(refused)
}

/// One line for each peer and what it did, however many shards it concerned.
pub(crate) fn faults(faults: Vec<Fault>) -> Vec<PeerFault> {
    let mut told: Vec<(Fault, u64)> = Vec::new();
    for fault in faults {
        let same = |known: &Fault| known.node == fault.node && known.kind == fault.kind;
        match told.iter_mut().find(|(known, _)| same(known)) {
            Some((_, times)) => *times += 1,
            None => told.push((fault, 1)),
        }
    }
    let line = |(fault, times): (Fault, u64)| {
        let what = match times {
            1 => format!("shard {}: {}", fault.shard, fault.kind),
            _ => format!("{times} shards: {}", fault.kind),
        };
        PeerFault { node: fault.node, what }
    };
    told.into_iter().map(line).collect()
}

pub(crate) fn failures(failed: Vec<datamesh_client::EntryFailure>) -> Vec<EntryFailure> {
    failed
        .into_iter()
        .map(|failure| EntryFailure { path: failure.path.into(), reason: failure.reason })
        .collect()
}

pub(crate) fn stored(entry: StoredEntry) -> StoredFile {
    StoredFile {
        path: entry.path,
        file: entry.file,
        version: entry.version,
        size: entry.size,
        scheme: entry.protection.map(|protection| protection.scheme),
        margin: entry.protection.map(|protection| protection.margin),
        degraded: entry.protection.is_some_and(|protection| protection.degraded),
        owed: entry.owed,
        known_bytes: entry.known,
    }
}

pub(crate) fn version(version: Version) -> FileVersion {
    let (number, purged) = (version.number, version.purged);
    match version.entry {
        Entry::Put(put) => FileVersion {
            path: put.path,
            kind: Some(put.kind),
            file: put.file,
            version: put.version,
            number,
            size: put.size,
            hash: (put.kind == EntryKind::File).then_some(put.hash),
            created: put.created,
            modified: put.modified,
            tags: put.tags,
            note: version.note,
            scheme: put.protection.map(|protection| protection.scheme),
            degraded: put.protection.is_some_and(|protection| protection.degraded),
            deleted: false,
            purged,
        },
        Entry::Delete(delete) => FileVersion {
            path: delete.path,
            kind: None,
            file: delete.file,
            version: delete.version,
            number,
            size: 0,
            hash: None,
            created: delete.created,
            modified: 0,
            tags: Vec::new(),
            note: String::new(),
            scheme: None,
            degraded: false,
            deleted: true,
            purged: false,
        },
    }
}

pub(crate) fn summary(summary: Summary) -> FileVersion {
    FileVersion {
        path: summary.path,
        kind: Some(summary.kind),
        file: summary.file,
        version: summary.version,
        number: summary.versions,
        size: summary.size,
        hash: (summary.kind == EntryKind::File).then_some(summary.hash),
        created: summary.created,
        modified: summary.modified,
        tags: summary.tags,
        note: summary.note,
        scheme: summary.protection.map(|protection| protection.scheme),
        degraded: summary.protection.is_some_and(|protection| protection.degraded),
        deleted: false,
        purged: false,
    }
}
