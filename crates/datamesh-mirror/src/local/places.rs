//! What a sink that mirrors may write: only what is wanted, and only in the place of what was there
//! when it was decided.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use datamesh_core::catalog::EntryKind;
use datamesh_core::stream::EntryHead;
use datamesh_core::{Hash, MeshPath};
use rustix::fs::Stat;

use crate::fingerprint::Fingerprint;

/// A file that is to be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// BLAKE3 of its content.
    pub hash: Hash,
    /// What it takes the place of; where there is none, nothing may have its name.
    pub over: Option<Fingerprint>,
}

/// What may be written, and what was.
#[derive(Debug, Default)]
pub struct Places {
    wanted: BTreeMap<MeshPath, Wanted>,
    placed: Mutex<Vec<(MeshPath, Fingerprint)>>,
}

/// What becomes of an entry that comes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is written.
    Wanted,
    /// It is passed over.
    NotWanted,
    /// Something else comes than what was decided about.
    Changed,
}

impl Places {
    /// Only these, by their names below the folder.
    pub fn new(wanted: BTreeMap<MeshPath, Wanted>) -> Self {
        Self { wanted, placed: Mutex::default() }
    }

    /// What was written and not taken yet, with the state that it has.
    pub fn take(&self) -> Vec<(MeshPath, Fingerprint)> {
        std::mem::take(&mut self.placed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn verdict(&self, head: &EntryHead) -> Verdict {
        match self.wanted.get(&head.path) {
            Some(_) if head.kind != EntryKind::File => Verdict::Changed,
            Some(wanted) if head.hash != Some(wanted.hash) => Verdict::Changed,
            Some(_) => Verdict::Wanted,
            None => Verdict::NotWanted,
        }
    }

    /// Whether what has the name now is what it was when the file was decided to go there.
    pub(super) fn is_as_decided(&self, path: &MeshPath, there: Option<&Stat>) -> bool {
        let over = self.wanted.get(path).and_then(|wanted| wanted.over);
        over == there.map(Fingerprint::of_stat)
    }

    /// Whether nothing may have the name.
    pub(super) fn is_empty(&self, path: &MeshPath) -> bool {
        self.wanted.get(path).is_none_or(|wanted| wanted.over.is_none())
    }

    pub(super) fn note(&self, path: MeshPath, fingerprint: Fingerprint) {
        self.placed.lock().unwrap_or_else(PoisonError::into_inner).push((path, fingerprint));
    }
}
