//! Pages and indexes of pages: sealed objects in segments of their own.

use std::sync::Arc;

use datamesh_core::LogId;
use datamesh_core::catalog::Operation;
use datamesh_core::descriptor::SEGMENT_BYTES_MAX;
use datamesh_core::head::{ObjectPlace, Page, PageIndex, PagePlace};
use datamesh_core::wire::Encode;
use datamesh_engine::{Urgency, block};

use crate::client::Client;
use crate::error::ClientError;
use crate::pipeline::Compress;
use crate::pipeline::segment::Forge;
use crate::points;

/// Most bytes of operations in a page, so that the sealed and padded page fits a segment.
pub(super) const PAGE_BYTES_MAX: usize = SEGMENT_BYTES_MAX / 8 * 7;

impl Client {
    /// Stores a sealed object in a segment of its own, under the scheme for catalog data.
    async fn store_object(&self, sealed: Vec<u8>) -> Result<ObjectPlace, ClientError> {
        // Catalog data is stored wherever there are nodes; shards share domains only where they must.
        let (scheme, _) = self.protection(None, true)?;
        let scheme = scheme.for_catalog();
        let (scheme, spread) = self.protection(Some(scheme), true)?;
        let forge = Forge::new(self, spread, Compress::Off);
        let length = sealed.len() as u32;
        let made = block(self.executor(), move || forge.packed(scheme, &sealed)).await;
        let write = made.ok_or(ClientError::Shutdown)??;
        let outcome = self.engine.write_segment(&write).await?;
        self.engine.remember_receipts(outcome.receipts).await;
        Ok(ObjectPlace { segment: outcome.segment, length })
    }

    /// The sealed object at a place.
    async fn object(&self, place: &ObjectPlace) -> Result<Vec<u8>, ClientError> {
        let urgent = Arc::new(Urgency::default());
        urgent.raise();
        let found = self.engine.read_segment(&place.segment, &urgent).await?;
        let length = place.length as usize;
        if length > found.descriptor.length as usize {
            return Err(ClientError::Slice { segment: place.segment });
        }
        Ok(found.gather(0..length))
    }

    /// Stores operations of a log, which follow each other, as a page.
    pub(super) async fn store_page(
        &self,
        log: LogId,
        operations: Vec<Operation>,
    ) -> Result<PagePlace, ClientError> {
        let ends = operations.first().zip(operations.last());
        let (first, last) = ends.map_or((0, 0), |(a, b)| (a.sequence, b.sequence));
        let sealed = self.keys.seal_page(&*self.entropy, &log, &Page { operations })?;
        let place = self.step(points::PUBLISH_PAGE, self.store_object(sealed)).await?;
        Ok(PagePlace { place, first, last })
    }

    /// The operations of a page.
    pub(super) async fn page(
        &self,
        log: &LogId,
        page: &PagePlace,
    ) -> Result<Vec<Operation>, ClientError> {
        let sealed = self.object(&page.place).await?;
        Ok(self.keys.open_page(log, page.first, &sealed)?.operations)
    }

    /// Stores an index of pages.
    pub(super) async fn store_index(
        &self,
        log: LogId,
        pages: Vec<PagePlace>,
    ) -> Result<ObjectPlace, ClientError> {
        let last = pages.last().map_or(0, |page| page.last);
        let sealed = self.keys.seal_index(&*self.entropy, &log, last, &PageIndex { pages })?;
        self.store_object(sealed).await
    }

    /// The pages that an index names, which lead to the operation before `next`.
    pub(super) async fn index(
        &self,
        log: &LogId,
        place: &ObjectPlace,
        next: u64,
    ) -> Result<Vec<PagePlace>, ClientError> {
        let sealed = self.object(place).await?;
        Ok(self.keys.open_index(log, next.saturating_sub(1), &sealed)?.pages)
    }
}

/// Bytes that an operation takes in a page or a head.
pub(super) fn operation_bytes(operation: &Operation) -> usize {
    operation.to_bytes().len()
}
