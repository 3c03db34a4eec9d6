//! Stores what the reading thread gives, and notes what came of it.

use std::collections::BTreeMap;

use datamesh_api::{
    EntryFailure, ErrorKind, LabelRequest, OperationError, Operations, OperationsExt, PutReply,
    StoredFile, Totals, VersionsRequest,
};
use datamesh_core::{Hash, MeshPath};
use futures::StreamExt;

use super::ImportOptions;
use super::item::Item;
use super::parcels::{Large, Packed, Parcel};
use super::report::{Files, ImportReport, ImportedFile};
use super::sources::{Single, Small};
use super::verify::verify;

/// Files that are read back at once.
const AT_ONCE: usize = 4;

/// Paths of one request for a note.
const NOTES: usize = 500;

/// Stores the parts of one archive.
pub(super) struct Store<'a> {
    pub(super) operations: &'a dyn Operations,
    pub(super) options: &'a ImportOptions,
    pub(super) totals: Totals,
    pub(super) report: ImportReport,
    pub(super) files: Files,
}

/// What of a stored file is needed after its put.
struct Known {
    item: Item,
    hash: Option<Hash>,
}

impl Store<'_> {
    /// Stores a parcel.
    pub(super) async fn parcel(&mut self, parcel: Parcel) {
        match parcel {
            Parcel::Small(files) => self.small(files).await,
            Parcel::Large(file) => self.large(file).await,
        }
    }

    async fn small(&mut self, files: Vec<Packed>) {
        let mut wanted = Vec::with_capacity(files.len());
        for packed in files {
            if self.is_wanted(&packed.item).await {
                wanted.push(packed);
            }
        }
        if wanted.is_empty() {
            return;
        }
        let (request, events) = (self.options.put.clone(), self.totals.part());
        let reply = self.operations.put(request, &mut Small::new(&wanted), events).await;
        let known = |packed: Packed| Known { item: packed.item, hash: Some(packed.hash) };
        self.note(wanted.into_iter().map(known).collect(), reply).await;
    }

    async fn large(&mut self, mut large: Large) {
        if !self.is_wanted(&large.item).await {
            // The thread reads on; what it reads goes nowhere.
            while large.pieces.recv().await.is_some() {}
            return;
        }
        let (request, events) = (self.options.put.clone(), self.totals.part());
        let reply = self.operations.put(request, &mut Single::new(&mut large), events).await;
        if reply.as_ref().is_ok_and(|reply| reply.stopped.is_none()) {
            // Where the put did not want all of it, the thread must not take that for the end.
            while large.pieces.recv().await.is_some() {}
        }
        let known = Known { hash: large.hash.get().copied(), item: large.item };
        self.note(vec![known], reply).await;
    }

    /// Whether an entry is to be stored; what exists already is noted.
    async fn is_wanted(&mut self, item: &Item) -> bool {
        if !self.options.skip_existing || self.report.stopped.is_some() {
            return self.report.stopped.is_none();
        }
        let request = VersionsRequest { name: item.path.to_string() };
        match self.operations.versions(request).await {
            Ok(reply) if reply.versions.first().is_some_and(|version| !version.deleted) => {
                self.report.exists(item.path.clone());
                false
            }
            Ok(_) => true,
            Err(error) if error.kind == ErrorKind::NotFound => true,
            Err(error) => {
                self.report.stopped = Some(error);
                false
            }
        }
    }

    /// Notes what came of a put.
    async fn note(&mut self, known: Vec<Known>, reply: Result<PutReply, OperationError>) {
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => {
                self.report.stopped.get_or_insert(error);
                return;
            }
        };
        let report = &mut self.report;
        report.known_bytes += reply.known_bytes;
        report.note_faults(reply.faults);
        report.pending = reply.pending;
        if let Some(stopped) = reply.stopped {
            report.stopped.get_or_insert(stopped);
        }
        let mut known: BTreeMap<MeshPath, Known> =
            known.into_iter().map(|known| (known.item.path.clone(), known)).collect();
        let mut notes: BTreeMap<String, Vec<MeshPath>> = BTreeMap::new();
        let mut stored: Vec<(StoredFile, Hash)> = Vec::new();
        for file in reply.stored {
            let Some(Known { item, hash }) = known.remove(&file.path) else { continue };
            report.owed += file.owed;
            report.degraded |= file.degraded;
            if item.folder {
                report.folders += 1;
                continue;
            }
            // It was stored, so its last piece was given.
            let Some(hash) = hash else { continue };
            report.bytes += file.size;
            let Item { path, tags, note, .. } = item;
            if !note.is_empty() {
                notes.entry(note).or_default().push(path.clone());
            }
            self.files.add(ImportedFile { path, size: file.size, hash, tags });
            stored.push((file, hash));
        }
        for failure in reply.failed {
            if let Ok(path) = failure.path.parse::<MeshPath>() {
                known.remove(&path);
            }
            report.fail(failure);
        }
        if report.stopped.is_none() {
            for path in known.into_keys() {
                let reason = "the put said nothing of it".to_owned();
                report.fail(EntryFailure { path: path.to_string(), reason });
            }
        }
        for (note, paths) in notes {
            self.label(note, &paths).await;
        }
        if self.options.verify {
            self.verify(stored).await;
        }
    }

    async fn label(&mut self, note: String, paths: &[MeshPath]) {
        for some in paths.chunks(NOTES) {
            // A name may have what stands for other things in a pattern.
            let patterns = some.iter().map(|path| globset::escape(path.as_str())).collect();
            let request =
                LabelRequest { patterns, note: Some(note.clone()), ..LabelRequest::default() };
            match self.operations.label(request).await {
                Ok(reply) => {
                    self.report.pending = reply.pending;
                    for failure in reply.failed {
                        self.report.fail(failure);
                    }
                }
                Err(error) => {
                    for path in some {
                        let reason = format!("it was stored without its note: {}", error.message);
                        self.report.fail(EntryFailure { path: path.to_string(), reason });
                    }
                }
            }
        }
    }

    async fn verify(&mut self, stored: Vec<(StoredFile, Hash)>) {
        let operations = self.operations;
        let mut running = futures::stream::iter(stored)
            .map(|(file, hash)| async move {
                let verified = verify(operations, file.version, hash).await;
                (file.path, verified)
            })
            .buffer_unordered(AT_ONCE);
        while let Some((path, verified)) = running.next().await {
            match verified {
                Ok(()) => *self.report.verified.get_or_insert(0) += 1,
                Err(reason) => {
                    let path = path.to_string();
                    self.report.fail(EntryFailure { path, reason });
                }
            }
        }
    }
}
