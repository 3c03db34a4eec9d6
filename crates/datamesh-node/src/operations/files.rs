//! Operations on files.

use std::sync::Arc;

use datamesh_api::{
    DuplicateRequest, ErrorKind, EventFn, GetReply, GetRequest, InfoReply, InfoRequest, ListEntry,
    ListReply, ListRequest, OperationError, PinTerms, PlacedFile, PlacedReply, Progress, PutReply,
    PutRequest, RemoveReply, RemoveRequest, RenameRequest, SegmentInfo, ShardInfo, VersionsReply,
    VersionsRequest,
};
use datamesh_catalog::{Cursor, ListQuery, Listed, Page, Summary, Version};
use datamesh_client::{
    Client, ClientError, DuplicateOptions, GetItem, Placed, ProgressFn, PutOptions, Removed, Wanted,
};
use datamesh_core::catalog::EntryKind;
use datamesh_core::stream::{Sink, Source};
use datamesh_core::{MeshPath, SegmentId};

use super::HomeOperations;
use super::patterns::Patterns;
use crate::account::catalog_error;
use crate::convert;

pub(crate) fn progress(events: EventFn) -> ProgressFn {
    Arc::new(move |done: datamesh_client::Progress| {
        events(Progress { bytes: done.bytes, files: done.files });
    })
}

fn query(request: ListRequest) -> Result<ListQuery, OperationError> {
    let after = match request.after {
        Some(bytes) => Some(Cursor::from_bytes(&bytes).map_err(|error| catalog_error(&error))?),
        None => None,
    };
    Ok(ListQuery {
        folder: request.folder,
        recursive: request.recursive,
        tags: request.tags,
        limit: request.limit,
        after,
    })
}

/// The folder of a recursive operation; nothing for all files.
fn folder(name: &str) -> Result<Option<MeshPath>, OperationError> {
    match name.trim_end_matches('/') {
        "" => Ok(None),
        name => {
            let parsed: Result<MeshPath, _> = name.parse();
            parsed.map(Some).map_err(OperationError::usage)
        }
    }
}

/// Versions of one path that are told, the newest.
const VERSIONS_MAX: usize = 10_000;

/// No file is meant by any of the patterns.
pub(super) fn no_such_name() -> OperationError {
    OperationError::new(ErrorKind::NotFound, "no file has such a name")
}

fn list_reply(page: Page) -> ListReply {
    let entry = |row| match row {
        Listed::Folder(path) => ListEntry::Folder { path },
        Listed::Entry(summary) => ListEntry::Entry(convert::summary(*summary)),
    };
    let next = page.next.map(|cursor| cursor.as_bytes().to_vec());
    ListReply { entries: page.rows.into_iter().map(entry).collect(), next }
}

fn placed(placed: Placed) -> PlacedReply {
    let file = |(from, to)| PlacedFile { from, to };
    PlacedReply { files: placed.files.into_iter().map(file).collect(), pending: placed.pending }
}

/// What a list was asked for.
enum Found {
    /// What is below a folder, or everything.
    Below,
    /// A file, or a folder that was stored empty.
    Alone(Box<Summary>),
    /// Neither.
    Nothing(MeshPath),
}

impl HomeOperations {
    pub(super) async fn do_put(
        &self,
        request: PutRequest,
        source: &mut dyn Source,
        events: EventFn,
    ) -> Result<PutReply, OperationError> {
        let client = self.whole_client().await?;
        // Before anything is stored: whom it is for must be known.
        let recipient = match &request.to {
            Some(text) => Some(self.known_recipient(text).await?),
            None => None,
        };
        let options = PutOptions {
            tags: request.tags,
            scheme: request.scheme,
            allow_degraded: request.allow_degraded,
            compress: crate::config::load(self.home())?.compress,
            parallel: usize::from(request.parallel),
        };
        let report = client.put(source, &options, Some(progress(events))).await;
        let report = report.map_err(|error| convert::client_error(&error))?;
        let stopped = report.stopped.as_ref().map(convert::client_error);
        if let Some(error) = &stopped
            && report.stored.is_empty()
        {
            return Err(error.clone());
        }
        let (shares, unshared) = match recipient {
            Some(recipient) => self.share_stored(client, recipient, &report.stored).await,
            None => (Vec::new(), None),
        };
        Ok(PutReply {
            shares,
            unshared,
            stopped,
            stored: report.stored.into_iter().map(convert::stored).collect(),
            failed: convert::failures(report.failed),
            faults: convert::faults(report.faults),
            resumed_bytes: report.resumed_bytes,
            known_bytes: report.known_bytes,
            pending: report.pending,
        })
    }

    pub(super) async fn do_get(
        &self,
        request: GetRequest,
        sink: &mut dyn Sink,
        events: EventFn,
    ) -> Result<GetReply, OperationError> {
        if let GetRequest::Shared { link, password } = request {
            return self.get_shared(&link, password, sink, progress(events)).await;
        }
        let client = self.current_client().await?;
        let wrap = |error: ClientError| convert::client_error(&error);
        let (mut single, mut whole, mut unfit) = (false, true, Vec::new());
        let wanted = match request {
            // Done above: it needs no client.
            GetRequest::Shared { .. } => return Err(no_such_name()),
            GetRequest::Folder { name } => Wanted::Below(folder(&name)?),
            GetRequest::Matching { patterns, parallel } => {
                let patterns = Patterns::read(&patterns)?;
                let catalog = self.whole_catalog().await?;
                let paths = self.blocking(catalog, move |_, catalog| patterns.files(catalog));
                let meant = paths.await?;
                if meant.files.is_empty() {
                    return Err(no_such_name());
                }
                unfit = meant.unfit;
                Wanted::Files(meant.files, usize::from(parallel))
            }
            GetRequest::File { name, version, range } => {
                (single, whole) = (true, range.is_none());
                Wanted::One(self.version_to_get(client, name, version, range).await?)
            }
        };
        let report = client.get(wanted, sink, Some(progress(events))).await;
        let report = report.map_err(wrap)?;
        if single && let Some(error) = &report.error {
            return Err(convert::client_error(error));
        }
        if report.files == 0
            && let Some(error) = &report.error
        {
            return Err(convert::client_error(error));
        }
        if whole {
            self.note_fetched(report.fetched).await;
        }
        Ok(GetReply {
            files: report.files,
            bytes: report.bytes,
            resumed_bytes: report.resumed_bytes,
            failed: [convert::failures(report.failed), unfit].concat(),
            faults: convert::faults(report.faults),
        })
    }

    /// One version, and what is wanted of it.
    async fn version_to_get(
        &self,
        client: &Client,
        name: String,
        version: Option<u64>,
        range: Option<(u64, u64)>,
    ) -> Result<GetItem, OperationError> {
        let wrap = |error: ClientError| convert::client_error(&error);
        let version = client.resolve(&name, version).await.map_err(wrap)?;
        let datamesh_catalog::Entry::Put(put) = version.entry else {
            let message = format!("version {} of \"{name}\" is a deletion", version.number);
            return Err(OperationError::new(ErrorKind::NotFound, message));
        };
        if let Some((start, end)) = range
            && (start > end || end > put.size)
        {
            let size = put.size;
            return Err(wrap(ClientError::Range { name, start, end, size }));
        }
        let path = put.path.clone();
        Ok(GetItem { put, path, range })
    }

    pub(super) async fn do_duplicate(
        &self,
        request: DuplicateRequest,
    ) -> Result<PlacedReply, OperationError> {
        let client = self.whole_client().await?;
        let DuplicateRequest { name, to, version, recursive, replace } = request;
        let name = if recursive { name.trim_end_matches('/').to_owned() } else { name };
        let options = DuplicateOptions { version, recursive, replace };
        let done = client.duplicate(&name, &to, options).await;
        done.map(placed).map_err(|error| convert::client_error(&error))
    }

    pub(super) async fn do_rename(
        &self,
        request: RenameRequest,
    ) -> Result<PlacedReply, OperationError> {
        let client = self.whole_client().await?;
        let name = request.name.trim_end_matches('/');
        let done = client.rename(name, &request.to, request.replace).await;
        done.map(placed).map_err(|error| convert::client_error(&error))
    }

    pub(super) async fn do_list(&self, request: ListRequest) -> Result<ListReply, OperationError> {
        let named = request.folder.clone().filter(|_| request.after.is_none());
        if !request.patterns.is_empty() {
            return self.list_matching(request).await;
        }
        let query = query(request)?;
        let (page, found) = self
            .blocking(self.current_catalog().await?, move |_, catalog| {
                let page = catalog.list(&query)?;
                // A folder is there as long as something is below it; else the name is a file's, an
                // empty folder's, or nobody's.
                let empty = page.rows.is_empty() && page.next.is_none();
                let alone = named.filter(|_| empty && query.tags.is_empty());
                let found = match &alone {
                    Some(path) => match catalog.summary(path)? {
                        Some(summary) => Found::Alone(Box::new(summary)),
                        None => Found::Nothing(path.clone()),
                    },
                    None => Found::Below,
                };
                Ok((page, found))
            })
            .await?;
        match found {
            Found::Below => {}
            Found::Alone(summary) => {
                let entries = if summary.kind == EntryKind::Folder {
                    Vec::new()
                } else {
                    vec![ListEntry::Entry(convert::summary(*summary))]
                };
                return Ok(ListReply { entries, next: None });
            }
            Found::Nothing(path) => {
                let message = format!("there is nothing at or below \"{path}\"");
                return Err(OperationError::new(ErrorKind::NotFound, message));
            }
        }
        Ok(list_reply(page))
    }

    /// The files that paths and patterns mean. A path that nothing has is an error on the first page.
    async fn list_matching(&self, request: ListRequest) -> Result<ListReply, OperationError> {
        let patterns = Patterns::read(&request.patterns)?;
        let first = request.after.is_none();
        let query = ListQuery { recursive: true, ..query(request)? };
        let catalog = self.current_catalog().await?;
        let found = self.blocking(catalog, move |_, catalog| {
            let missing = if first { patterns.missing(catalog)? } else { Vec::new() };
            Ok((patterns.page(catalog, query)?, missing))
        });
        let (page, missing) = found.await?;
        if let Some(path) = missing.first() {
            return Err(convert::client_error(&ClientError::NotFound { name: path.to_string() }));
        }
        if first && page.rows.is_empty() {
            return Err(no_such_name());
        }
        Ok(list_reply(page))
    }

    pub(super) async fn do_info(&self, request: InfoRequest) -> Result<InfoReply, OperationError> {
        let client = self.current_client().await?;
        let wrap = |error: ClientError| convert::client_error(&error);
        let version: Version =
            client.resolve(&request.name, request.version).await.map_err(wrap)?;
        let Some(put) = version.put() else {
            let message =
                format!("version {} of \"{}\" is a deletion", version.number, request.name);
            return Err(OperationError::new(ErrorKind::NotFound, message));
        };
        let (path, file) = (put.path.clone(), put.file);
        let placed = client.placement(put).await.map_err(wrap)?;
        let known_bytes = client.known_bytes(put).await.map_err(wrap)?;
        let pinned = self
            .blocking(self.whole_catalog().await?, move |_, catalog| catalog.pin_of(file))
            .await?;
        let now = client.engine().now();
        let pin = pinned
            .filter(|pin| pin.priority(now) > 0)
            .map(|pin| PinTerms { priority: pin.priority, until: pin.until });
        let versions = client.versions(path.as_str()).await.map_err(wrap)?.len() as u64;
        let domains: std::collections::BTreeMap<_, _> = client
            .engine()
            .peers()
            .into_iter()
            .map(|peer| {
                let claim = &peer.member.advert.certificate.claim;
                (claim.node, claim.domain.to_string())
            })
            .collect();
        let segments: Vec<SegmentInfo> = placed
            .into_iter()
            .map(|placement| SegmentInfo {
                segment: placement.segment,
                margin: placement.margin(),
                shards: placement
                    .holders
                    .iter()
                    .map(|(shard, node)| ShardInfo {
                        shard: *shard,
                        node: *node,
                        domain: domains.get(node).cloned(),
                    })
                    .collect(),
            })
            .collect();
        // Holders may have placed what the put owed, and told nobody.
        let lacks = |owed: &datamesh_catalog::Owed, segments: &[(SegmentId, Vec<u8>)]| {
            let place = segments.iter().find(|(segment, _)| *segment == owed.segment);
            place.is_some_and(|(_, held)| !held.contains(&owed.shard))
        };
        let held: Vec<(SegmentId, Vec<u8>)> = segments
            .iter()
            .map(|s| (s.segment, s.shards.iter().map(|shard| shard.shard).collect()))
            .collect();
        let owed = self
            .blocking(self.whole_catalog().await?, move |_, catalog| {
                let mut count = 0;
                let mut after = None;
                loop {
                    let page = catalog.owed(after, 4096)?;
                    count += page.iter().filter(|owed| lacks(owed, &held)).count();
                    after = match page.last() {
                        Some(last) => Some((last.segment, last.shard)),
                        None => return Ok(count),
                    };
                }
            })
            .await?;
        let shares = client.shares(Some(file)).await.map_err(wrap)?;
        let shares = shares.into_iter().map(|share| convert::share(share, false)).collect();
        Ok(InfoReply {
            margin: segments.iter().filter_map(|segment| segment.margin).min(),
            version: convert::version(version),
            versions,
            segments,
            owed,
            known_bytes,
            leases: self.lease_state().await?,
            pin,
            shares,
        })
    }

    pub(super) async fn do_versions(
        &self,
        request: VersionsRequest,
    ) -> Result<VersionsReply, OperationError> {
        let not_found = || {
            let message = format!("there is no file \"{}\"", request.name);
            OperationError::new(ErrorKind::NotFound, message)
        };
        let name = request.name.clone();
        let found = self
            .blocking(self.current_catalog().await?, move |_, catalog| {
                let Some(named) = catalog.resolve(&name)? else { return Ok(None) };
                let (datamesh_catalog::Named::Path(path)
                | datamesh_catalog::Named::File(_, path)
                | datamesh_catalog::Named::Version(_, path)) = named;
                catalog.all_versions(&path).map(Some)
            })
            .await?;
        let mut versions: Vec<_> =
            found.ok_or_else(not_found)?.into_iter().map(convert::version).collect();
        versions.reverse();
        versions.truncate(VERSIONS_MAX);
        Ok(VersionsReply { versions })
    }

    pub(super) async fn do_remove(
        &self,
        request: RemoveRequest,
    ) -> Result<RemoveReply, OperationError> {
        let client = self.whole_client().await?;
        let wrap = |error: ClientError| convert::client_error(&error);
        let mut removed = Vec::new();
        let mut pending = 0;
        let mut add = |done: Removed| {
            removed.extend(done.paths);
            pending = done.pending;
        };
        if request.recursive {
            for name in &request.names {
                let folder = folder(name)?;
                let done = match client.remove_below(folder.clone()).await {
                    // As with `rm -r`, a file goes too.
                    Err(ClientError::NothingBelow { .. })
                        if self.is_file(folder.as_ref()).await? =>
                    {
                        client.remove(std::slice::from_ref(name)).await
                    }
                    done => done,
                };
                add(done.map_err(wrap)?);
            }
        } else {
            for batch in request.names.chunks(datamesh_catalog::OPERATIONS_MAX) {
                add(client.remove(batch).await.map_err(wrap)?);
            }
        }
        Ok(RemoveReply { removed, space_freed: 0, pending })
    }

    /// Whether a path is one of a file.
    async fn is_file(&self, path: Option<&MeshPath>) -> Result<bool, OperationError> {
        let Some(path) = path.cloned() else { return Ok(false) };
        let catalog = self.whole_catalog().await?;
        let found = self.blocking(catalog, move |_, catalog| catalog.summary(&path)).await?;
        Ok(found.is_some())
    }
}
