//! Operations that find files, and that change what they are found by.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use datamesh_api::{
    Filter, LabelReply, LabelRequest, LabelledFile, OperationError, PopularFile, PopularReply,
    PopularRequest, SearchReply, SearchRequest, Sort,
};
use datamesh_catalog::{
    AccountDb, CatalogError, FetchedQuery, Named, Order, SearchDb, SearchQuery,
};
use datamesh_client::LabelChange;
use datamesh_core::{FileId, MeshPath};

use super::files::no_such_name;
use super::patterns::{Meant, Patterns};
use super::{HomeOperations, Shared};
use crate::convert;

/// Where the search index of the account lies.
const INDEX: &str = "account/search.db";

/// Runs something with the account's search index; where that turns out to be damaged, once more with one
/// that is made anew. Blocks.
pub(super) fn with_index<T>(
    shared: &Shared,
    catalog: &AccountDb,
    work: impl Fn(&SearchDb) -> Result<T, CatalogError>,
) -> Result<T, CatalogError> {
    let path = shared.home.file(INDEX);
    let kept = || shared.search.lock().unwrap_or_else(PoisonError::into_inner);
    let mut begun_anew = false;
    loop {
        // Held only for that: an index that is being made keeps nobody from noting what was fetched.
        let index = {
            let mut kept = kept();
            let index = match kept.take() {
                Some(index) => index,
                None => Arc::new(open_index(&path)?),
            };
            Arc::clone(kept.insert(index))
        };
        match work(&index) {
            // Damage of the catalog, which the index is made from, is none of the index.
            Err(CatalogError::Damaged(damage)) if !begun_anew && catalog.damage().is_none() => {
                tracing::warn!(%damage, "the search index is made anew");
                begun_anew = true;
                let mut kept = kept();
                // Another may have met the damage first.
                if kept.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, &index)) {
                    *kept = None;
                    SearchDb::put_aside(&path)?;
                }
            }
            done => return done,
        }
    }
}

fn open_index(path: &Path) -> Result<SearchDb, CatalogError> {
    let index = SearchDb::open(path)?;
    if let Some(damage) = index.rebuilt() {
        tracing::warn!(%damage, "the search index was damaged and is made anew");
    }
    Ok(index)
}

fn range(of: Option<(u64, u64)>) -> Option<RangeInclusive<u64>> {
    of.map(|(from, to)| from..=to)
}

/// The paths of all files that a filter lets through.
fn fitting(
    shared: &Shared,
    catalog: &AccountDb,
    filter: &Filter,
) -> Result<BTreeSet<MeshPath>, CatalogError> {
    with_index(shared, catalog, |index| {
        index.catch_up(catalog)?;
        let mut fitting = BTreeSet::new();
        let mut request = SearchRequest {
            filter: filter.clone(),
            sort: Sort::Name,
            limit: SearchRequest::LIMIT_MAX,
            ..SearchRequest::default()
        };
        loop {
            let (paths, more) = index.search(&query(request.clone()))?;
            request.skip += SearchRequest::LIMIT_MAX;
            fitting.extend(paths);
            if !more {
                return Ok(fitting);
            }
        }
    })
}

fn query(request: SearchRequest) -> SearchQuery {
    let Filter { folder, tags, extensions, size, stored, pattern } = request.filter;
    SearchQuery {
        words: request.words,
        pattern,
        folder,
        tags,
        extensions,
        size: range(size),
        stored: range(stored),
        order: match request.sort {
            Sort::Fit => Order::Fit,
            Sort::Name => Order::Name,
            Sort::Size => Order::Size,
            Sort::Date => Order::Stored,
        },
        reverse: request.reverse,
        skip: request.skip,
        limit: request.limit,
    }
}

impl HomeOperations {
    pub(super) async fn do_search(
        &self,
        request: SearchRequest,
    ) -> Result<SearchReply, OperationError> {
        let query = query(request);
        let (files, more) = self
            .blocking(self.current_catalog().await?, move |shared, catalog| {
                let (paths, more) = with_index(shared, catalog, |index| {
                    index.catch_up(catalog)?;
                    index.search(&query)
                })?;
                // What the index found the catalog proves; what is gone since is passed over.
                let found = paths.iter().map(|path| catalog.summary(path));
                let found: Vec<_> = found.collect::<Result<_, _>>()?;
                Ok((found, more))
            })
            .await?;
        let files = files.into_iter().flatten().map(convert::summary).collect();
        Ok(SearchReply { files, more })
    }

    pub(super) async fn do_popular(
        &self,
        request: PopularRequest,
    ) -> Result<PopularReply, OperationError> {
        let PopularRequest { since, filter, limit } = request;
        let narrowed = filter != Filter::default();
        let most = if narrowed { usize::MAX } else { limit };
        let files = self
            .blocking(self.current_catalog().await?, move |shared, catalog| {
                let query = FetchedQuery { since, limit: most };
                let fetched = with_index(shared, catalog, |index| index.fetched(query))?;
                let fitting = narrowed.then(|| fitting(shared, catalog, &filter)).transpose()?;
                let mut files = Vec::new();
                for fetched in fetched {
                    if files.len() >= limit {
                        break;
                    }
                    let Some(Named::File(_, path)) = catalog.resolve(&fetched.file.to_string())?
                    else {
                        continue;
                    };
                    if fitting.as_ref().is_some_and(|fitting| !fitting.contains(&path)) {
                        continue;
                    }
                    // Another file may have its name by now.
                    let there = catalog.summary(&path)?.filter(|it| it.file == fetched.file);
                    files.extend(there.map(|summary| PopularFile {
                        file: convert::summary(summary),
                        fetches: fetched.count,
                        last_fetched: fetched.last,
                    }));
                }
                Ok(files)
            })
            .await?;
        Ok(PopularReply { files })
    }

    pub(super) async fn do_label(
        &self,
        request: LabelRequest,
    ) -> Result<LabelReply, OperationError> {
        let LabelRequest { patterns, add, remove, note, dry_run } = request;
        let patterns = Patterns::read(&patterns)?;
        let client = self.current_client().await?;
        let catalog = self.whole_catalog().await?;
        let found = self.blocking(catalog, move |_, catalog| {
            let missing = patterns.missing(catalog)?.len();
            Ok((patterns.files(catalog)?, missing))
        });
        let (Meant { files: paths, unfit }, missing) = found.await?;
        if paths.len() <= missing {
            return Err(no_such_name());
        }
        let change = LabelChange { add, remove, note };
        let done = client.label(paths, &change, dry_run).await;
        let done = done.map_err(|error| convert::client_error(&error))?;
        let file = |file: datamesh_client::LabelledFile| LabelledFile {
            path: file.path,
            tags: file.tags,
            note: file.note,
            unchanged: file.unchanged,
        };
        Ok(LabelReply {
            files: done.files.into_iter().map(file).collect(),
            failed: [convert::failures(done.failed), unfit].concat(),
            dry_run,
            pending: done.pending,
        })
    }

    /// Takes into the search index what came since the last look, so that no search waits for it.
    pub(crate) async fn index_names(&self) -> Result<(), OperationError> {
        let Some(catalog) = self.shared.catalog.as_ref().filter(|catalog| catalog.whole()) else {
            return Ok(());
        };
        self.blocking(catalog, |shared, catalog| {
            with_index(shared, catalog, |index| index.catch_up(catalog))
        })
        .await
    }

    /// Notes that files were fetched; what cannot be noted fails nothing.
    pub(super) async fn note_fetched(&self, files: Vec<FileId>) {
        let Some(catalog) = self.shared.catalog.as_ref().filter(|_| !files.is_empty()) else {
            return;
        };
        let now = datamesh_core::Clock::now(&crate::system::SystemClock);
        let noting = self.blocking(catalog, move |shared, catalog| {
            with_index(shared, catalog, |index| index.note_fetched(&files, now))
        });
        if let Err(error) = noting.await {
            tracing::warn!(%error, "what was fetched is not noted for `popular`");
        }
    }
}
