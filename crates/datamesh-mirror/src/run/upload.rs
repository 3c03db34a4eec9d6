//! Storing what is here.
//!
//! Files go in batches, each one stream of one put, because a put of many small files packs them
//! together; some batches at once.

use std::collections::BTreeMap;

use datamesh_api::{EntryFailure, OperationError, PutReply};
use datamesh_core::MeshPath;
use futures::StreamExt;

use crate::local::{LocalSource, Reading};
use crate::plan::{Action, Terms};
use crate::remote;
use crate::tree::{Content, Known, Local, LocalTree, RemoteTree};

use super::Run;

/// Files of a batch.
const BATCH_FILES: usize = 1000;

/// Bytes after which a batch ends.
const BATCH_BYTES: u64 = 256 * 1024 * 1024;

/// Batches between two times that the base is written.
const BATCHES_SAVED: usize = 8;

/// Files of one put: their names here and on the mesh.
type Batch = Vec<(MeshPath, MeshPath)>;

/// What came of a batch.
struct Stored {
    reply: Result<PutReply, OperationError>,
    readings: Vec<Reading>,
    problems: Vec<EntryFailure>,
}

impl Run<'_> {
    pub(super) async fn upload(
        &mut self,
        paths: Vec<MeshPath>,
        local: &LocalTree,
        remote: &RemoteTree,
        terms: &Terms,
    ) {
        // The copy of a file that could not be set aside is not there.
        let there = paths.into_iter().filter(|path| local.contains_key(path)).collect();
        let batches = self.batches(there, local);
        let mut stored = Vec::new();
        let (operations, root, totals) = (self.operations, self.root, self.totals.clone());
        let mut running = futures::stream::iter(batches)
            .map(|batch| {
                let events = totals.part();
                let request = self.options.put.clone();
                async move {
                    let (mut source, readings) = match LocalSource::listed(root, batch) {
                        Ok(opened) => opened,
                        Err(error) => {
                            let (readings, problems) = (Vec::new(), Vec::new());
                            return Stored { reply: Err(error), readings, problems };
                        }
                    };
                    let reply = operations.put(request, &mut source, events).await;
                    Stored { reply, readings: readings.take(), problems: source.problems() }
                }
            })
            .buffer_unordered(self.options.parallel.max(1));
        let mut done = 0;
        while let Some(batch) = running.next().await {
            Noting { base: self.base, report: self.report, remote: self.remote, root }.note(
                batch,
                local,
                &mut stored,
            );
            done += 1;
            if done % BATCHES_SAVED == 0
                && let Err(error) = self.base.save()
            {
                tracing::warn!(%error, "the base could not be written in the middle of a pass");
            }
            if self.report.stopped.is_some() {
                break;
            }
        }
        drop(running);
        self.check_stored(stored, remote, terms).await;
    }

    fn batches(&mut self, paths: Vec<MeshPath>, local: &LocalTree) -> Vec<Batch> {
        let (mut batches, mut batch, mut bytes) = (Vec::new(), Batch::new(), 0);
        for path in paths {
            let whole = match self.whole(&path) {
                Ok(whole) => whole,
                Err(reason) => {
                    self.fail(&path, reason);
                    continue;
                }
            };
            if let Some(Local::File { fingerprint, .. }) = local.get(&path) {
                bytes += fingerprint.size;
            }
            batch.push((path, whole));
            if batch.len() == BATCH_FILES || bytes >= BATCH_BYTES {
                bytes = 0;
                batches.push(std::mem::take(&mut batch));
            }
        }
        if !batch.is_empty() {
            batches.push(batch);
        }
        batches
    }
}

/// Where what came of a batch is noted.
struct Noting<'a> {
    base: &'a mut crate::base::Base,
    report: &'a mut crate::report::Report,
    remote: Option<&'a MeshPath>,
    root: &'a std::path::Path,
}

impl Noting<'_> {
    fn note(
        &mut self,
        batch: Stored,
        local: &LocalTree,
        stored: &mut Vec<(MeshPath, datamesh_api::StoredFile)>,
    ) {
        let mut readings: BTreeMap<MeshPath, Reading> =
            batch.readings.into_iter().map(|reading| (reading.path.clone(), reading)).collect();
        for failure in batch.problems {
            self.note_problem(failure);
        }
        let reply = match batch.reply {
            Ok(reply) => reply,
            Err(error) => {
                self.report.stopped.get_or_insert(error);
                return;
            }
        };
        for file in reply.stored {
            let Some(path) = remote::inner(self.remote, &file.path) else { continue };
            let known = match (readings.remove(&file.path), local.get(&path)) {
                (Some(reading), _) => Known {
                    content: Content::File { size: file.size, hash: reading.hash },
                    version: file.version,
                    fingerprint: reading.settled.then_some(reading.fingerprint),
                },
                (None, _) => {
                    Known { content: Content::Folder, version: file.version, fingerprint: None }
                }
            };
            self.base.know(path.clone(), known);
            self.report.uploaded.files += 1;
            self.report.uploaded.bytes += file.size;
            self.report.actions.push(Action::Upload { path: path.clone(), size: file.size });
            stored.push((path, file));
        }
        for failure in reply.failed {
            self.note_problem(failure);
        }
        self.report.known_bytes += reply.known_bytes;
        self.report.resumed_bytes += reply.resumed_bytes;
        self.report.faults.extend(reply.faults);
        self.report.pending = reply.pending;
        if let Some(stopped) = reply.stopped {
            self.report.stopped.get_or_insert(stopped);
        }
    }

    /// Lists what was not stored, unless it is not there any more: that is for the next pass.
    fn note_problem(&mut self, mut failure: EntryFailure) {
        let path = failure.path.parse().ok();
        if let Some(path) = path.and_then(|path| remote::inner(self.remote, &path)) {
            let full = self.root.join(path.as_str());
            if full
                .symlink_metadata()
                .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
            {
                return;
            }
            failure.path = path.to_string();
        }
        self.report.failed.push(failure);
    }
}
