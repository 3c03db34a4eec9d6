//! Tags and notes of files that are stored already.

use datamesh_catalog::{Append, OPERATIONS_MAX};
use datamesh_core::catalog::{Change, Label, NOTE_BYTES_MAX, TAGS_MAX};
use datamesh_core::{BoxFuture, MeshPath, Timestamp, VersionId};

use crate::client::Client;
use crate::error::ClientError;
use crate::pipeline::EntryFailure;
use crate::pipeline::checked_tags;
use crate::points;

/// How tags and note are to change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelChange {
    /// Tags to add.
    pub add: Vec<String>,
    /// Tags to take away.
    pub remove: Vec<String>,
    /// Another note; an empty one takes it away. Nothing where it stays.
    pub note: Option<String>,
}

/// A file whose labels change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledFile {
    /// The file.
    pub path: MeshPath,
    /// Its tags from now on.
    pub tags: Vec<String>,
    /// Its note from now on.
    pub note: String,
    /// It is as it was.
    pub unchanged: bool,
}

/// What came of labelling.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labelled {
    /// The files, in the order given.
    pub files: Vec<LabelledFile>,
    /// Files that were not labelled, and why.
    pub failed: Vec<EntryFailure>,
    /// Operations that no quorum has yet.
    pub pending: u64,
}

/// The operation that gives a new version the note of the one before.
pub(crate) fn note_of(version: VersionId, note: String, now: Timestamp) -> Option<Change> {
    (!note.is_empty()).then(|| {
        let (add, remove) = (Vec::new(), Vec::new());
        Change::Label(Label { version, created: now, add, remove, note: Some(note) })
    })
}

impl Client {
    /// Changes tags and notes of the current versions of these paths; with `dry_run` it only says what they
    /// would be. A path that is not there, or would have too many tags, is told and passed over.
    ///
    /// # Errors
    /// [`ClientError::Tags`] for tags or a note that cannot be.
    pub fn label<'a>(
        &'a self,
        paths: Vec<MeshPath>,
        change: &'a LabelChange,
        dry_run: bool,
    ) -> BoxFuture<'a, Result<Labelled, ClientError>> {
        Box::pin(async move {
            let (add, remove) = (checked_tags(&change.add)?, checked_tags(&change.remove)?);
            if add.iter().any(|tag| remove.contains(tag)) {
                return Err(ClientError::Tags("a tag is either added or taken away"));
            }
            if change.note.as_ref().is_some_and(|note| note.len() > NOTE_BYTES_MAX) {
                return Err(ClientError::Tags("a note has at most 4096 bytes"));
            }
            let mut labelled = Labelled::default();
            for batch in paths.chunks(OPERATIONS_MAX) {
                let asked = batch.to_vec();
                let found = self
                    .catalog_call(move |catalog| {
                        let summary = |path: &MeshPath| catalog.summary(path);
                        asked.iter().map(summary).collect::<Result<Vec<_>, _>>()
                    })
                    .await?;
                let mut changes = Vec::new();
                for (path, found) in batch.iter().zip(found) {
                    let mut fail = |reason: &str| {
                        let reason = reason.to_owned();
                        labelled.failed.push(EntryFailure { path: path.clone(), reason });
                    };
                    let Some(found) = found else {
                        fail("there is no such file");
                        continue;
                    };
                    let kept = found.tags.iter().filter(|tag| !remove.contains(tag));
                    let mut tags: Vec<String> = kept.chain(&add).cloned().collect();
                    tags.sort();
                    tags.dedup();
                    if tags.len() > TAGS_MAX {
                        fail("it would have more than 64 tags");
                        continue;
                    }
                    let note = change.note.clone().unwrap_or_else(|| found.note.clone());
                    let unchanged = tags == found.tags && note == found.note;
                    if !unchanged {
                        changes.push(Change::Label(Label {
                            version: found.version,
                            created: self.engine.now(),
                            add: add.clone(),
                            remove: remove.clone(),
                            note: change.note.clone(),
                        }));
                    }
                    labelled.files.push(LabelledFile { path: path.clone(), tags, note, unchanged });
                }
                if dry_run || changes.is_empty() {
                    continue;
                }
                self.append(points::LABEL_COMMIT, Append { changes, ..Append::default() }).await?;
            }
            if !dry_run {
                labelled.pending = self.publish().await?.pending;
            }
            Ok(labelled)
        })
    }
}
