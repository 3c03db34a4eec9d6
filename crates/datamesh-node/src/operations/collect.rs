//! Operations that give space back, and that take deleted files back.

use datamesh_api::{
    CleanupReply, CleanupRequest, DuplicatesReply, LowFile, LowHealthReply, OperationError,
    PurgeReply, PurgeRequest, ReleaseReply, RepackReply, RewriteReply, UndeleteReply,
    UndeleteRequest,
};
use datamesh_client::{
    CleanupOptions, ClientError, Duplicates, LowHealth, Purged, Released, Repacked, Retention,
    Rewritten,
};

use super::HomeOperations;
use crate::convert;

fn released(released: Released) -> ReleaseReply {
    ReleaseReply {
        segments: released.segments,
        shards: released.shards,
        bytes: released.bytes,
        not_found: released.not_found.len() as u64,
        renewed: released.renewed,
        unanswered: released.unanswered,
    }
}

fn purged(purged: Purged) -> PurgeReply {
    PurgeReply {
        versions: purged.versions,
        pinned: purged.pinned,
        bytes: purged.bytes,
        shared: purged.shared,
        unreferenced: purged.unreferenced,
        released: released(purged.released),
        pending: purged.pending,
    }
}

pub(super) fn rewritten(rewritten: Rewritten) -> RewriteReply {
    RewriteReply {
        versions: rewritten.versions,
        made: rewritten.made,
        made_bytes: rewritten.made_bytes,
        unreferenced: rewritten.unreferenced,
        released: released(rewritten.released),
        pending: rewritten.pending,
    }
}

pub(super) fn repacked(repacked: Repacked) -> RepackReply {
    RepackReply {
        sparse: repacked.sparse,
        small: repacked.small,
        bytes: repacked.bytes,
        live_bytes: repacked.live_bytes,
        rewritten: rewritten(repacked.rewritten),
    }
}

fn duplicates_reply(duplicates: Duplicates) -> DuplicatesReply {
    DuplicatesReply {
        slices: duplicates.slices,
        bytes: duplicates.bytes,
        kept: duplicates.kept,
        rewritten: rewritten(duplicates.rewritten),
    }
}

fn low_health_reply(low: LowHealth) -> LowHealthReply {
    let file = |file: datamesh_client::LowFile| LowFile {
        path: file.path,
        margin: file.margin,
        mended: file.mended,
        reason: file.reason,
    };
    LowHealthReply {
        count: low.count,
        files: low.files.into_iter().map(file).collect(),
        unreadable: low.unreadable,
        rebuilt: low.rebuilt,
    }
}

pub(super) fn wrap(error: ClientError) -> OperationError {
    convert::client_error(&error)
}

impl HomeOperations {
    pub(super) async fn do_purge(&self, asked: PurgeRequest) -> Result<PurgeReply, OperationError> {
        let client = self.whole_client().await?;
        let retention = Retention {
            keep: asked.keep.unwrap_or(1),
            younger_than_ms: asked.younger_than_ms.unwrap_or(0),
            deleted_for_ms: if asked.force { 0 } else { Retention::DELETED_FOR_MS },
        };
        client.purge(&asked.names, &retention, asked.dry_run).await.map(purged).map_err(wrap)
    }

    pub(super) async fn do_undelete(
        &self,
        asked: UndeleteRequest,
    ) -> Result<UndeleteReply, OperationError> {
        let client = self.whole_client().await?;
        let done = client.undelete(&asked.name, asked.version).await.map_err(wrap)?;
        Ok(UndeleteReply { path: done.path, version: done.version, pending: done.pending })
    }

    pub(super) async fn do_cleanup(
        &self,
        asked: CleanupRequest,
    ) -> Result<CleanupReply, OperationError> {
        let CleanupRequest { orphaned, duplicates, low_health, dry_run, force } = asked;
        let client = self.whole_client().await?;
        let config = crate::config::load(self.home())?;
        let options = CleanupOptions {
            orphaned,
            duplicates,
            low_health,
            dry_run,
            force,
            keep: config.keep,
            younger_than_ms: config
                .younger_than
                .map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        };
        if !dry_run {
            self.end_dead_puts().await?;
        }
        let cleaned = client.cleanup(options).await.map_err(wrap)?;
        Ok(CleanupReply {
            dry_run,
            deleted: purged(cleaned.deleted),
            duplicates: duplicates_reply(cleaned.duplicates),
            low_health: low_health_reply(cleaned.low_health),
            repacked: repacked(cleaned.repacked),
            left: cleaned.left,
            orphaned: cleaned.orphaned,
            orphaned_shards: cleaned.orphaned_shards,
            orphaned_bytes: cleaned.orphaned_bytes,
            released: released(cleaned.released),
            silent: cleaned.silent,
        })
    }
}
