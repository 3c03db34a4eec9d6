//! Fetching what is on the mesh.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use datamesh_api::{EntryFailure, EventFn, GetReply, GetRequest, OperationError, Operations};
use datamesh_core::stream::{EntryHead, Sink, StreamError};
use datamesh_core::{BoxFuture, MeshPath};
use futures::StreamExt;

use crate::cover::{Piece, cover};
use crate::fingerprint::Fingerprint;
use crate::local::{LocalSink, Places, Target, Wanted, join};
use crate::plan::Action;
use crate::remote::{self, Listed};
use crate::tree::{Content, Known, Local, LocalTree};

use super::{Run, settled};

/// What came of a request.
struct Fetched {
    piece: Piece,
    reply: Result<GetReply, OperationError>,
    written: Result<Vec<EntryFailure>, OperationError>,
    placed: Vec<(MeshPath, Fingerprint)>,
}

/// Gives entries the names that they have below the mirrored folder.
struct Renaming {
    sink: LocalSink,
    piece: Piece,
}

impl Sink for Renaming {
    fn begin(&mut self, mut head: EntryHead) -> BoxFuture<'_, Result<u64, StreamError>> {
        let path = match &self.piece {
            Piece::File(path) => Ok(path.clone()),
            Piece::Folder(None) => Ok(head.path.clone()),
            Piece::Folder(Some(folder)) => join(folder.as_str(), head.path.as_str()).parse(),
        };
        match path {
            Ok(path) => {
                head.path = path;
                self.sink.begin(head)
            }
            Err(error) => Box::pin(async move { Err(StreamError::new(error)) }),
        }
    }

    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), StreamError>> {
        self.sink.write(bytes)
    }

    fn end(&mut self, failure: Option<String>) -> BoxFuture<'_, Result<(), StreamError>> {
        self.sink.end(failure)
    }
}

async fn fetch(
    operations: &dyn Operations,
    root: &Path,
    remote: Option<&MeshPath>,
    (piece, wanted): (Piece, BTreeMap<MeshPath, Wanted>),
    events: EventFn,
) -> Fetched {
    let places = Arc::new(Places::new(wanted));
    let target = Target::Mirror(root.to_owned(), Arc::clone(&places));
    let name = match &piece {
        Piece::File(path) | Piece::Folder(Some(path)) => remote::whole(remote, path),
        Piece::Folder(None) => remote.cloned(),
    };
    let name = name.as_ref().map_or_else(String::new, ToString::to_string);
    let request = match piece {
        Piece::File(_) => GetRequest::File { name, version: None, range: None },
        Piece::Folder(_) => GetRequest::Folder { name },
    };
    let sink = match LocalSink::open(target) {
        Ok(sink) => sink,
        Err(error) => {
            let (reply, placed) = (Ok(GetReply::default()), Vec::new());
            return Fetched { piece, reply, written: Err(error), placed };
        }
    };
    let mut sink = Renaming { sink, piece: piece.clone() };
    let reply = operations.get(request, &mut sink, events).await;
    let written = sink.sink.finish().await.map(|written| written.failed);
    Fetched { piece, reply, written, placed: places.take() }
}

impl Run<'_> {
    pub(super) async fn download(
        &mut self,
        paths: Vec<MeshPath>,
        local: &LocalTree,
        listed: &Listed,
    ) {
        let mut all: BTreeMap<MeshPath, Wanted> = BTreeMap::new();
        for path in paths {
            let Some(Content::File { hash, .. }) = listed.tree.get(&path).map(|it| it.content)
            else {
                continue;
            };
            let over = match local.get(&path) {
                Some(file @ Local::File { fingerprint, .. }) => {
                    match self.was_told(&path, file).await {
                        Ok(true) => Some(*fingerprint),
                        Ok(false) => {
                            self.keep_untold(&path);
                            continue;
                        }
                        Err(reason) => {
                            self.fail(&path, reason);
                            continue;
                        }
                    }
                }
                _ => None,
            };
            all.insert(path, Wanted { hash, over });
        }
        let names: BTreeSet<MeshPath> = all.keys().cloned().collect();
        let pieces = cover(&names, &listed.tree, &listed.ignored, self.options.parallel);
        let mut requests = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let wanted = match &piece {
                Piece::File(path) => all
                    .get_key_value(path)
                    .map(|(path, it)| (path.clone(), *it))
                    .into_iter()
                    .collect(),
                Piece::Folder(None) => all.clone(),
                Piece::Folder(Some(folder)) => {
                    crate::tree::below(&all, folder).map(|(path, it)| (path.clone(), *it)).collect()
                }
            };
            requests.push((piece, wanted));
        }
        let (operations, root, remote) = (self.operations, self.root, self.remote);
        let totals = self.totals.clone();
        let mut running = futures::stream::iter(requests)
            .map(|request| fetch(operations, root, remote, request, totals.part()))
            .buffer_unordered(self.options.parallel.max(1));
        while let Some(fetched) = running.next().await {
            self.note_fetched(fetched, listed);
            if self.report.stopped.is_some() {
                break;
            }
        }
    }

    fn note_fetched(&mut self, fetched: Fetched, listed: &Listed) {
        for (path, fingerprint) in fetched.placed {
            let Some(remote) = listed.tree.get(&path) else { continue };
            let known = Known {
                content: remote.content,
                version: remote.version,
                fingerprint: settled(fingerprint),
            };
            self.base.know(path.clone(), known);
            let size = fingerprint.size;
            self.report.downloaded.files += 1;
            self.report.downloaded.bytes += size;
            self.report.actions.push(Action::Download { path, size });
        }
        let shown = match &fetched.piece {
            Piece::File(path) | Piece::Folder(Some(path)) => path.to_string(),
            Piece::Folder(None) => String::new(),
        };
        match fetched.reply {
            Ok(reply) => {
                for failure in reply.failed {
                    let path = match &fetched.piece {
                        Piece::File(_) => shown.clone(),
                        Piece::Folder(_) => join(&shown, &failure.path),
                    };
                    self.report.failed.push(EntryFailure { path, ..failure });
                }
                self.report.faults.extend(reply.faults);
            }
            Err(error) if fetched.written.is_ok() => match &fetched.piece {
                // It went, or cannot be read now; others may.
                Piece::File(path) => self.fail(path, error.message),
                Piece::Folder(_) => drop(self.report.stopped.get_or_insert(error)),
            },
            // What could not be written is the reason.
            Err(_) => {}
        }
        match fetched.written {
            Ok(failed) => self.report.failed.extend(failed),
            Err(error) => drop(self.report.stopped.get_or_insert(error)),
        }
    }
}
