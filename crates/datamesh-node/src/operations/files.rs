//! Operations on files.

use std::sync::Arc;

use datamesh_api::{
    DuplicateRequest, ErrorKind, EventFn, GetReply, GetRequest, InfoReply, InfoRequest, ListEntry,
    ListReply, ListRequest, OperationError, PlacedFile, PlacedReply, Progress, PutReply,
    PutRequest, RemoveReply, RemoveRequest, RenameRequest, SegmentInfo, ShardInfo, VersionsReply,
    VersionsRequest,
};
use datamesh_catalog::{Cursor, ListQuery, Listed, Summary, Version};
use datamesh_client::{
    ClientError, DuplicateOptions, GetItem, Placed, ProgressFn, PutOptions, Removed, Wanted,
};
use datamesh_core::catalog::EntryKind;
use datamesh_core::stream::{Sink, Source};
use datamesh_core::{MeshPath, SegmentId};

use super::HomeOperations;
use crate::account::catalog_error;
use crate::convert;

fn progress(events: EventFn) -> ProgressFn {
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
            parsed.map(Some).map_err(|error| OperationError::new(ErrorKind::Usage, error))
        }
    }
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
        let options = PutOptions {
            tags: request.tags,
            scheme: request.scheme,
            allow_degraded: request.allow_degraded,
            compress: crate::config::load(self.home())?.compress,
        };
        let report = client.put(source, &options, Some(progress(events))).await;
        let report = report.map_err(|error| convert::client_error(&error))?;
        let stopped = report.stopped.as_ref().map(convert::client_error);
        if let Some(error) = &stopped
            && report.stored.is_empty()
        {
            return Err(error.clone());
        }
        Ok(PutReply {
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
        let client = self.current_client().await?;
        let wrap = |error: ClientError| convert::client_error(&error);
        let (single, whole) = (!request.recursive, request.range.is_none());
        let report = if request.recursive {
            let wanted = Wanted::Below(folder(&request.name)?);
            client.get(wanted, sink, Some(progress(events))).await
        } else {
            let version = client.resolve(&request.name, request.version).await.map_err(wrap)?;
            let datamesh_catalog::Entry::Put(put) = version.entry else {
                return Err(OperationError::new(
                    ErrorKind::NotFound,
                    format!("version {} of \"{}\" is a deletion", version.number, request.name),
                ));
            };
            if let Some((start, end)) = request.range
                && (start > end || end > put.size)
            {
                let (name, size) = (request.name, put.size);
                return Err(wrap(ClientError::Range { name, start, end, size }));
            }
            let path = put.path.clone();
            let item = GetItem { put, path, range: request.range };
            client.get(Wanted::One(item), sink, Some(progress(events))).await
        };
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
            failed: convert::failures(report.failed),
            faults: convert::faults(report.faults),
        })
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
        let entries = page
            .rows
            .into_iter()
            .map(|row| match row {
                Listed::Folder(path) => ListEntry::Folder { path },
                Listed::Entry(summary) => ListEntry::Entry(convert::summary(*summary)),
            })
            .collect();
        Ok(ListReply { entries, next: page.next.map(|cursor| cursor.as_bytes().to_vec()) })
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
        let path = put.path.clone();
        let placed = client.placement(put).await.map_err(wrap)?;
        let known_bytes = client.known_bytes(put).await.map_err(wrap)?;
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
        Ok(InfoReply {
            margin: segments.iter().filter_map(|segment| segment.margin).min(),
            version: convert::version(version),
            versions,
            segments,
            owed,
            known_bytes,
            leases: self.lease_state().await?,
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
                catalog.versions(&path, 0, 1024).map(Some)
            })
            .await?;
        let mut versions: Vec<_> =
            found.ok_or_else(not_found)?.into_iter().map(convert::version).collect();
        versions.reverse();
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
                add(client.remove_below(folder(name)?).await.map_err(wrap)?);
            }
        } else {
            for batch in request.names.chunks(datamesh_catalog::OPERATIONS_MAX) {
                add(client.remove(batch).await.map_err(wrap)?);
            }
        }
        Ok(RemoveReply { removed, space_freed: 0, pending })
    }
}
