//! An account in memory: versions by path, as the catalog keeps them, behind `Operations`.
//!
//! It stops with a panic at the first surprise, which is what a test wants.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use datamesh_api::{
    Answer, Call, DuplicateRequest, EntryFailure, ErrorKind, EventFn, FileVersion, GetReply,
    GetRequest, KeysReply, LabelReply, LabelRequest, ListEntry, ListReply, ListRequest,
    OperationError, Operations, PlacedFile, PlacedReply, PutReply, PutRequest, RemoveReply,
    RemoveRequest, RenameRequest, StoredFile, UndeleteReply, UndeleteRequest, VersionsReply,
    VersionsRequest,
};
use datamesh_core::catalog::EntryKind;
use datamesh_core::stream::{EntryHead, PIECE_BYTES_MAX, Piece, Sink, Source};
use datamesh_core::{AccountId, BoxFuture, DeviceId, FileId, Hash, MeshPath, VersionId};
use globset::GlobBuilder;
use tokio::sync::Notify;

/// Rows of a page, so few that listings have several.
const PAGE: usize = 5;

/// One version of a path; without content a delete marker.
#[derive(Clone)]
struct Version {
    id: VersionId,
    content: Option<Stored>,
    tags: Vec<String>,
    note: String,
}

#[derive(Clone)]
struct Stored {
    kind: EntryKind,
    bytes: Bytes,
    mode: u32,
    modified: u64,
}

/// The account.
pub struct Account {
    versions: Mutex<BTreeMap<MeshPath, Vec<Version>>>,
    next: AtomicU64,
    /// Too few nodes answer to know what other devices did.
    old: AtomicBool,
    /// Calls that are still answered; the one after them never is.
    fuse: AtomicU64,
    /// Told when the fuse has burnt down.
    pub burnt: Notify,
    /// Paths whose content breaks off in the middle when it is fetched.
    broken: Mutex<BTreeSet<MeshPath>>,
    /// Paths whose content comes back as other bytes.
    spoilt: Mutex<BTreeSet<MeshPath>>,
    /// Files whose bytes came to the account.
    pub received: AtomicU64,
    /// Files whose bytes left it.
    pub sent: AtomicU64,
}

type Answered<T> = Result<T, OperationError>;

fn error(kind: ErrorKind, message: impl ToString) -> OperationError {
    OperationError::new(kind, message)
}

impl Default for Account {
    fn default() -> Self {
        Self::new()
    }
}

impl Account {
    /// An account that has nothing.
    pub fn new() -> Self {
        Self {
            versions: Mutex::default(),
            next: AtomicU64::new(1),
            old: AtomicBool::new(false),
            fuse: AtomicU64::new(u64::MAX),
            burnt: Notify::new(),
            broken: Mutex::default(),
            spoilt: Mutex::default(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        }
    }

    /// Whether too few nodes answer to know what other devices did.
    pub fn be_old(&self, old: bool) {
        self.old.store(old, Ordering::SeqCst);
    }

    /// Answers so many calls more, and then none.
    pub fn light(&self, calls: u64) {
        self.fuse.store(calls, Ordering::SeqCst);
    }

    /// The files that are there, and their content.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let versions = self.versions.lock().unwrap();
        let file = |(path, versions): (&MeshPath, &Vec<Version>)| {
            let stored = versions.last()?.content.as_ref()?;
            (stored.kind == EntryKind::File).then(|| (path.to_string(), stored.bytes.to_vec()))
        };
        versions.iter().filter_map(file).collect()
    }

    /// Whether some version has this content.
    pub fn has_ever(&self, bytes: &[u8]) -> bool {
        let versions = self.versions.lock().unwrap();
        let mut all = versions.values().flatten();
        all.any(|version| version.content.as_ref().is_some_and(|stored| stored.bytes == bytes))
    }

    /// Stores a file as another device would.
    pub fn store(&self, path: &str, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        let stored =
            Stored { kind: EntryKind::File, bytes, mode: 0o644, modified: 1_600_000_000_000 };
        self.append(&path.parse().unwrap(), Some(stored), Vec::new());
    }

    /// From now on the content of this path breaks off in the middle.
    pub fn break_off(&self, path: &str) {
        self.broken.lock().unwrap().insert(path.parse().unwrap());
    }

    /// From now on other bytes come back from this path.
    pub fn spoil(&self, path: &str) {
        self.spoilt.lock().unwrap().insert(path.parse().unwrap());
    }

    /// The note of a file.
    pub fn note(&self, path: &str) -> String {
        let versions = self.versions.lock().unwrap();
        versions[&path.parse::<MeshPath>().unwrap()].last().unwrap().note.clone()
    }

    /// Gives a file another note.
    pub fn set_note(&self, path: &str, note: &str) {
        let mut versions = self.versions.lock().unwrap();
        let all = versions.get_mut(&path.parse::<MeshPath>().unwrap()).unwrap();
        all.last_mut().unwrap().note = note.to_owned();
    }

    /// Stores a file or folder with its permissions and time.
    pub fn store_as(&self, path: &str, kind: EntryKind, bytes: &[u8], mode: u32, modified: u64) {
        let stored = Stored { kind, bytes: Bytes::copy_from_slice(bytes), mode, modified };
        self.append(&path.parse().unwrap(), Some(stored), Vec::new());
    }

    /// Everything that is there: kind, content, permissions, time.
    pub fn entries(&self) -> BTreeMap<String, (EntryKind, Vec<u8>, u32, u64)> {
        let versions = self.versions.lock().unwrap();
        let entry = |(path, versions): (&MeshPath, &Vec<Version>)| {
            let stored = versions.last()?.content.as_ref()?;
            let entry = (stored.kind, stored.bytes.to_vec(), stored.mode, stored.modified);
            Some((path.to_string(), entry))
        };
        versions.iter().filter_map(entry).collect()
    }

    /// Marks a file as deleted as another device would.
    pub fn delete(&self, path: &str) {
        self.append(&path.parse().unwrap(), None, Vec::new());
    }

    /// The tags of a file.
    pub fn tags(&self, path: &str) -> Vec<String> {
        let versions = self.versions.lock().unwrap();
        versions[&path.parse::<MeshPath>().unwrap()].last().unwrap().tags.clone()
    }

    /// Gives a file tags as another device would.
    pub fn tag(&self, path: &str, tag: &str) {
        let mut versions = self.versions.lock().unwrap();
        let all = versions.get_mut(&path.parse::<MeshPath>().unwrap()).unwrap();
        all.last_mut().unwrap().tags.push(tag.to_owned());
    }

    fn append(&self, path: &MeshPath, content: Option<Stored>, tags: Vec<String>) -> VersionId {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_le_bytes());
        let id = VersionId(id);
        let mut versions = self.versions.lock().unwrap();
        versions.entry(path.clone()).or_default().push(Version {
            id,
            content,
            tags,
            note: String::new(),
        });
        id
    }

    /// Waits its turn among the other passes, and for ever when the fuse has burnt down.
    async fn turn(&self) {
        tokio::task::yield_now().await;
        let burn = |left: u64| Some(if left == u64::MAX { left } else { left.saturating_sub(1) });
        if self.fuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, burn) == Ok(0) {
            self.burnt.notify_one();
            std::future::pending::<()>().await;
        }
    }

    fn current(&self, path: &MeshPath) -> Option<Version> {
        let versions = self.versions.lock().unwrap();
        versions.get(path)?.last().filter(|version| version.content.is_some()).cloned()
    }

    fn list(&self, request: ListRequest) -> Answered<ListReply> {
        let versions = self.versions.lock().unwrap();
        let after = request.after.map(|bytes| String::from_utf8(bytes).unwrap());
        let mut entries = Vec::new();
        let patterns = request.patterns.iter().map(|pattern| {
            GlobBuilder::new(pattern).literal_separator(true).build().map(|it| it.compile_matcher())
        });
        let patterns = patterns.collect::<Result<Vec<_>, _>>();
        let patterns = patterns.map_err(|wrong| error(ErrorKind::Usage, wrong))?;
        for (path, all) in versions.iter() {
            let within = |folder| path == folder || path.below(folder).is_some();
            let below = request.folder.as_ref().is_none_or(within)
                && (patterns.is_empty() || patterns.iter().any(|it| it.is_match(path.as_str())));
            if !below || after.as_ref().is_some_and(|after| path.as_str() <= after.as_str()) {
                continue;
            }
            let last = all.len() - 1;
            if all[last].content.is_none() {
                continue;
            }
            if entries.len() == PAGE {
                let ListEntry::Entry(version) = entries.last().unwrap() else { unreachable!() };
                let next = Some(version.path.as_str().as_bytes().to_vec());
                return Ok(ListReply { entries, next });
            }
            entries.push(ListEntry::Entry(told(path, &all[last], last)));
        }
        let narrowed = request.folder.is_some() || !patterns.is_empty();
        if entries.is_empty() && after.is_none() && narrowed {
            return Err(error(ErrorKind::NotFound, "there is nothing"));
        }
        Ok(ListReply { entries, next: None })
    }

    fn versions(&self, request: &VersionsRequest) -> Answered<VersionsReply> {
        let path: MeshPath = request.name.parse().unwrap();
        let versions = self.versions.lock().unwrap();
        let all = versions.get(&path).ok_or_else(|| error(ErrorKind::NotFound, "no file"))?;
        let told = all.iter().enumerate().map(|(at, version)| told(&path, version, at));
        let mut versions: Vec<FileVersion> = told.collect();
        versions.reverse();
        Ok(VersionsReply { versions })
    }

    fn remove(&self, request: &RemoveRequest) -> Answered<RemoveReply> {
        let paths: Vec<MeshPath> = request.names.iter().map(|name| name.parse().unwrap()).collect();
        if let Some(missing) = paths.iter().find(|path| self.current(path).is_none()) {
            return Err(error(ErrorKind::NotFound, format!("\"{missing}\" is not there")));
        }
        for path in &paths {
            self.append(path, None, Vec::new());
        }
        Ok(RemoveReply { removed: paths, space_freed: 0, pending: 0 })
    }

    fn rename(&self, request: &RenameRequest) -> Answered<PlacedReply> {
        let from: MeshPath = request.name.parse().unwrap();
        let pairs: Vec<(MeshPath, MeshPath)> = match self.current(&from) {
            Some(_) => vec![(from, request.to.clone())],
            None => {
                let versions = self.versions.lock().unwrap();
                let live = versions.iter().filter(|(_, all)| all.last().unwrap().content.is_some());
                live.filter_map(|(path, _)| {
                    let below = path.below(&from)?;
                    Some((path.clone(), format!("{}/{below}", request.to).parse().unwrap()))
                })
                .collect()
            }
        };
        if pairs.is_empty() {
            return Err(error(ErrorKind::NotFound, "no file"));
        }
        if pairs.iter().any(|(_, to)| self.current(to).is_some()) {
            return Err(error(ErrorKind::Usage, "the name is taken"));
        }
        let mut files = Vec::new();
        for (from, to) in pairs {
            let version = self.current(&from).unwrap();
            self.append(&to, version.content, version.tags);
            self.append(&from, None, Vec::new());
            files.push(PlacedFile { from, to });
        }
        Ok(PlacedReply { files, pending: 0 })
    }

    fn duplicate(&self, request: &DuplicateRequest) -> Answered<PlacedReply> {
        let from: MeshPath = request.name.parse().unwrap();
        if self.current(&request.to).is_some() {
            return Err(error(ErrorKind::Usage, "the name is taken"));
        }
        let number = request.version.unwrap();
        let version = self.versions.lock().unwrap()[&from][number as usize - 1].clone();
        self.append(&request.to, version.content, version.tags);
        let file = PlacedFile { from, to: request.to.clone() };
        Ok(PlacedReply { files: vec![file], pending: 0 })
    }

    fn undelete(&self, request: &UndeleteRequest) -> Answered<UndeleteReply> {
        let path: MeshPath = request.name.parse().unwrap();
        let number = request.version.unwrap();
        let version = self.versions.lock().unwrap()[&path][number as usize - 1].clone();
        let version = self.append(&path, version.content, version.tags);
        Ok(UndeleteReply { path, version, pending: 0 })
    }

    /// The version that is asked for, by path and number or by its id.
    fn named(&self, request: &GetRequest) -> (MeshPath, Option<Version>) {
        let GetRequest::File { name, version, .. } = request else { panic!("no patterns here") };
        let versions = self.versions.lock().unwrap();
        let by_id = versions.iter().find_map(|(path, all)| {
            let found = all.iter().find(|version| version.id.to_string() == *name)?;
            Some((path.clone(), Some(found.clone())))
        });
        by_id.unwrap_or_else(|| {
            let path: MeshPath = name.parse().unwrap();
            let all = versions.get(&path);
            let found = match version {
                Some(number) => all.and_then(|all| all.get(*number as usize - 1)),
                None => all.and_then(|all| all.last()),
            };
            let found = found.cloned();
            (path, found)
        })
    }

    /// Gives the files that are named, with signs of patterns in brackets, another note.
    fn label(&self, request: &LabelRequest) -> LabelReply {
        for pattern in &request.patterns {
            let (mut path, mut rest) = (String::new(), pattern.chars());
            while let Some(c) = rest.next() {
                // One character in brackets stands for itself.
                let bracketed = (c == '[').then(|| (rest.next(), rest.next()));
                path.push(bracketed.map_or(c, |(inner, _)| inner.unwrap()));
            }
            self.set_note(&path, request.note.as_deref().unwrap());
        }
        LabelReply::default()
    }

    async fn do_put(&self, request: PutRequest, source: &mut dyn Source) -> Answered<PutReply> {
        self.turn().await;
        let broken = |broken: datamesh_core::stream::StreamError| error(ErrorKind::Failed, broken);
        let mut reply = PutReply::default();
        while let Some(head) = source.next_entry().await.map_err(broken)? {
            let mut bytes = Vec::new();
            let end = loop {
                match source.next_piece().await.map_err(broken)? {
                    Piece::Bytes(piece) => bytes.extend_from_slice(&piece),
                    Piece::End => break None,
                    Piece::Broken(reason) => break Some(reason),
                }
            };
            if let Some(reason) = end {
                reply.failed.push(EntryFailure { path: head.path.to_string(), reason });
                continue;
            }
            self.turn().await;
            if head.kind == EntryKind::File {
                self.received.fetch_add(1, Ordering::SeqCst);
            }
            let size = bytes.len() as u64;
            let EntryHead { kind, mode, modified, path, tags, .. } = head;
            let stored = Stored { kind, bytes: bytes.into(), mode, modified };
            // As the client does: tags that are not said stay.
            let tags: Vec<String> = request.tags.iter().cloned().chain(tags).collect();
            let said = tags.is_empty().then(|| self.versions.lock().unwrap());
            let kept = said.and_then(|all| Some(all.get(&path)?.last()?.tags.clone()));
            let tags = kept.unwrap_or(tags);
            let version = self.append(&path, Some(stored), tags);
            reply.stored.push(StoredFile {
                path,
                file: FileId([1; 16]),
                version,
                size,
                scheme: None,
                margin: None,
                degraded: false,
                owed: 0,
                known_bytes: 0,
            });
        }
        Ok(reply)
    }

    async fn do_get(&self, request: GetRequest, sink: &mut dyn Sink) -> Answered<GetReply> {
        self.turn().await;
        let mut wanted: Vec<(MeshPath, Stored)> = Vec::new();
        if let GetRequest::Folder { name } = &request {
            let folder: Option<MeshPath> = name.parse().ok();
            for (path, all) in self.versions.lock().unwrap().iter() {
                let name = match &folder {
                    Some(folder) => path.below(folder).map(|below| below.parse().unwrap()),
                    None => Some(path.clone()),
                };
                let content = all.last().unwrap().content.clone();
                wanted.extend(name.zip(content));
            }
        } else {
            let (path, version) = self.named(&request);
            let content = version.and_then(|version| version.content);
            wanted.push((path, content.ok_or_else(|| error(ErrorKind::NotFound, "deleted"))?));
        }
        let broken = |broken: datamesh_core::stream::StreamError| error(ErrorKind::Failed, broken);
        let mut reply = GetReply::default();
        for (path, stored) in wanted {
            self.turn().await;
            let head = EntryHead {
                path,
                kind: stored.kind,
                mode: stored.mode,
                modified: stored.modified,
                tags: Vec::new(),
                size: Some(stored.bytes.len() as u64),
                source: None,
                hash: Some(Hash::of(&stored.bytes)),
            };
            self.sent.fetch_add(u64::from(stored.kind == EntryKind::File), Ordering::SeqCst);
            let path = head.path.clone();
            sink.begin(head).await.map_err(broken)?;
            let mut rest = stored.bytes;
            if self.broken.lock().unwrap().contains(&path) {
                rest.truncate(rest.len() / 2);
            }
            if self.spoilt.lock().unwrap().contains(&path) {
                rest = rest.iter().map(|byte| !byte).collect();
            }
            while !rest.is_empty() {
                let piece = rest.split_to(rest.len().min(PIECE_BYTES_MAX));
                sink.write(piece).await.map_err(broken)?;
            }
            if self.broken.lock().unwrap().contains(&path) {
                sink.end(Some("its holders are gone".to_owned())).await.map_err(broken)?;
                return Err(error(ErrorKind::Network, "its holders are gone"));
            }
            sink.end(None).await.map_err(broken)?;
            reply.files += 1;
        }
        Ok(reply)
    }

    async fn do_call(&self, call: Call) -> Answered<Answer> {
        self.turn().await;
        Ok(match call {
            Call::List(request) => Answer::List(self.list(request)?),
            Call::Versions(request) => Answer::Versions(self.versions(&request)?),
            Call::Remove(request) => Answer::Remove(self.remove(&request)?),
            Call::Rename(request) => Answer::Rename(self.rename(&request)?),
            Call::Duplicate(request) => Answer::Duplicate(self.duplicate(&request)?),
            Call::Label(request) => Answer::Label(self.label(&request)),
            Call::Undelete(request) => Answer::Undelete(self.undelete(&request)?),
            Call::Keys(_) => Answer::Keys(KeysReply {
                account: AccountId([7; 32]),
                device: DeviceId([7; DeviceId::SIZE]),
                epochs: Vec::new(),
                epoch: None,
                logs: Vec::new(),
                may_be_old: self.old.load(Ordering::SeqCst),
            }),
            other => return Err(error(ErrorKind::Usage, format!("not asked here: {other:?}"))),
        })
    }
}

fn told(path: &MeshPath, version: &Version, at: usize) -> FileVersion {
    let stored = version.content.as_ref();
    FileVersion {
        path: path.clone(),
        kind: stored.map(|stored| stored.kind),
        file: FileId([1; 16]),
        version: version.id,
        number: at as u64 + 1,
        size: stored.map_or(0, |stored| stored.bytes.len() as u64),
        hash: stored.map(|stored| Hash::of(&stored.bytes)),
        created: 0,
        modified: stored.map_or(0, |stored| stored.modified),
        tags: version.tags.clone(),
        scheme: None,
        degraded: false,
        deleted: stored.is_none(),
        purged: false,
        note: version.note.clone(),
    }
}

fn boxed<'a, T>(future: impl Future<Output = T> + Send + 'a) -> BoxFuture<'a, T> {
    Box::pin(future)
}

impl Operations for Account {
    fn call(&self, call: Call) -> BoxFuture<'_, Answered<Answer>> {
        boxed(self.do_call(call))
    }

    fn put<'a>(
        &'a self,
        request: PutRequest,
        source: &'a mut dyn Source,
        _: EventFn,
    ) -> BoxFuture<'a, Answered<PutReply>> {
        boxed(self.do_put(request, source))
    }

    fn get<'a>(
        &'a self,
        request: GetRequest,
        sink: &'a mut dyn Sink,
        _: EventFn,
    ) -> BoxFuture<'a, Answered<GetReply>> {
        boxed(self.do_get(request, sink))
    }
}
