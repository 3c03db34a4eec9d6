//! Named steps that make a change durable, around which tests copy the files as a crash would leave
//! them.

use std::sync::Arc;

use datamesh_core::seam::Moment;

/// Is told of a step before it begins and when it is done; what it does is the test's business.
pub type Watch = Arc<dyn Fn(&'static str, Moment) + Send + Sync>;

/// A database is made under another name and synced.
pub const DATABASE_MAKE: &str = "database.make";
/// It gets its name, and the directory is synced.
pub const DATABASE_NAME: &str = "database.name";
/// A damaged or left one gets another name, and what lies beside it is removed.
pub const DATABASE_ASIDE: &str = "database.aside";

/// Changes of this device become operations.
pub const CATALOG_APPEND: &str = "catalog.append";
/// Operations of any log are taken.
pub const CATALOG_COMMIT: &str = "catalog.commit";
/// A log becomes known.
pub const CATALOG_ADMIT: &str = "catalog.admit";
/// Shards are owed.
pub const CATALOG_OWE: &str = "catalog.owe";
/// Shards are owed no more.
pub const CATALOG_PAID: &str = "catalog.paid";
/// Promised renewals were made.
pub const CATALOG_PROMISES: &str = "catalog.promises";
/// What versions are made of is indexed.
pub const CATALOG_CONTENTS: &str = "catalog.contents";
/// The catalog answers from now on.
pub const CATALOG_WHOLE: &str = "catalog.whole";
/// The device adds to another log.
pub const CATALOG_LOG: &str = "catalog.log";
/// An epochs record is kept, and what lies beyond its bounds goes.
pub const CATALOG_EPOCHS: &str = "catalog.epochs";
/// What was published of a share is noted.
pub const CATALOG_SHARE: &str = "catalog.share";

/// A transfer begins.
pub const JOURNAL_BEGIN: &str = "journal.begin";
/// A slice needs not be sent again.
pub const JOURNAL_SLICE: &str = "journal.slice";
/// Nodes may hold shards of a transfer's segment.
pub const JOURNAL_SEGMENT: &str = "journal.segment";
/// A transfer ends.
pub const JOURNAL_END: &str = "journal.end";
/// Nodes may hold shards of a segment of no transfer.
pub const JOURNAL_SENDING: &str = "journal.sending";
/// Segments are in committed versions.
pub const JOURNAL_SETTLED: &str = "journal.settled";
/// Orphans are released.
pub const JOURNAL_FORGET: &str = "journal.forget";
/// The end of a log is witnessed.
pub const JOURNAL_SAW: &str = "journal.saw";

/// Adverts are remembered.
pub const NODE_ADVERTS: &str = "node.adverts";
/// An advert is forgotten.
pub const NODE_ADVERT_FORGET: &str = "node.advert_forget";
/// Grants are remembered.
pub const NODE_GRANTS: &str = "node.grants";
/// Receipts are remembered.
pub const NODE_RECEIPTS: &str = "node.receipts";
/// A receipt is forgotten.
pub const NODE_RECEIPT_FORGET: &str = "node.receipt_forget";
/// Damaged copies are remembered.
pub const NODE_DAMAGED: &str = "node.damaged";
/// Damaged copies are forgotten.
pub const NODE_DAMAGED_FORGET: &str = "node.damaged_forget";
/// Outcomes of audits are remembered.
pub const NODE_AUDITS: &str = "node.audits";
/// A counter rises.
pub const NODE_COUNTER: &str = "node.counter";
/// A setting is kept.
pub const NODE_SETTING: &str = "node.setting";

/// The search index is written. Not one of those below: it can be made again from the catalog.
pub(crate) const SEARCH: &str = "search.write";

/// All of them.
pub const ALL: [&str; 32] = [
    DATABASE_MAKE,
    DATABASE_NAME,
    DATABASE_ASIDE,
    CATALOG_APPEND,
    CATALOG_COMMIT,
    CATALOG_ADMIT,
    CATALOG_OWE,
    CATALOG_PAID,
    CATALOG_PROMISES,
    CATALOG_CONTENTS,
    CATALOG_WHOLE,
    CATALOG_LOG,
    CATALOG_EPOCHS,
    CATALOG_SHARE,
    JOURNAL_BEGIN,
    JOURNAL_SLICE,
    JOURNAL_SEGMENT,
    JOURNAL_END,
    JOURNAL_SENDING,
    JOURNAL_SETTLED,
    JOURNAL_FORGET,
    JOURNAL_SAW,
    NODE_ADVERTS,
    NODE_ADVERT_FORGET,
    NODE_GRANTS,
    NODE_RECEIPTS,
    NODE_RECEIPT_FORGET,
    NODE_DAMAGED,
    NODE_DAMAGED_FORGET,
    NODE_AUDITS,
    NODE_COUNTER,
    NODE_SETTING,
];

/// Whoever watches, if anybody does.
#[derive(Clone, Default)]
pub(crate) struct Steps(Option<Watch>);

impl Steps {
    pub(crate) fn watched(watch: Watch) -> Self {
        Self(Some(watch))
    }

    pub(crate) fn reached(&self, point: &'static str, moment: Moment) {
        if let Some(watch) = &self.0 {
            watch(point, moment);
        }
    }

    /// Takes a step; one that fails did not come to its end.
    pub(crate) fn take<T, E>(
        &self,
        point: &'static str,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.reached(point, Moment::Before);
        let done = work()?;
        self.reached(point, Moment::After);
        Ok(done)
    }
}
