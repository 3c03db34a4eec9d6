//! Named steps towards something durable, around which tests end the process.

/// A transfer begins in the journal, or one of before is found there.
pub const PUT_BEGIN: &str = "put.begin";
/// A segment is made, named in the journal, and sent.
pub const PUT_SEND: &str = "put.send";
/// A slice is noted as stored.
pub const PUT_NOTE: &str = "put.note";
/// Files whose slices are stored become versions in the catalog.
pub const PUT_COMMIT: &str = "put.commit";
/// The journal forgets what is committed.
pub const PUT_SETTLE: &str = "put.settle";
/// What was committed is published.
pub const PUT_PUBLISH: &str = "put.publish";
/// What is referred to without having been sent is renewed once more.
pub const PUT_RENEW: &str = "put.renew";

/// Operations are stored as a page.
pub const PUBLISH_PAGE: &str = "publish.page";
/// Pages become one.
pub const PUBLISH_MERGE: &str = "publish.merge";
/// The head that tells of what is new becomes the log's.
pub const PUBLISH_HEAD: &str = "publish.head";
/// Heads are copied to where they are read in the next epoch.
pub const EPOCH_COPY: &str = "epoch.copy";
/// The record of the next epoch is published.
pub const EPOCH_RECORD: &str = "epoch.record";
/// The record is kept, and its keys count.
pub const EPOCH_KEEP: &str = "epoch.keep";
/// The record is handed around once more.
pub const EPOCH_TELL: &str = "epoch.tell";

/// A log of another device becomes known.
pub const TAKE_ADMIT: &str = "take.admit";
/// Its operations are taken in.
pub const TAKE_COMMIT: &str = "take.commit";
/// Everything is here.
pub const TAKE_WHOLE: &str = "take.whole";
/// This device begins another log.
pub const TAKE_LOG: &str = "take.log";

/// Files are marked as deleted.
pub const REMOVE_COMMIT: &str = "remove.commit";
/// Segments that are there already are renewed for what is to refer to them.
pub const REFER_RENEW: &str = "refer.renew";
/// A version that is taken back becomes the current one.
pub const UNDELETE_COMMIT: &str = "undelete.commit";
/// Duplicates, and files with other names, get their places.
pub const PLACE_COMMIT: &str = "place.commit";
/// Tags and notes of files change.
pub const LABEL_COMMIT: &str = "label.commit";
/// Files are pinned, or no longer.
pub const PIN_COMMIT: &str = "pin.commit";
/// A file is shared, or a share ends.
pub const SHARE_COMMIT: &str = "share.commit";
/// A share's head shows what is current.
pub const SHARE_HEAD: &str = "share.head";
/// That it does is noted.
pub const SHARE_NOTE: &str = "share.note";
/// Versions are given up.
pub const PURGE_COMMIT: &str = "purge.commit";
/// What nothing refers to is released.
pub const PURGE_RELEASE: &str = "purge.release";
/// What broken-off puts left is forgotten.
pub const LEFT_FORGET: &str = "left.forget";
/// Slices are stored in another segment.
pub const REWRITE_STORE: &str = "rewrite.store";
/// Versions refer to it.
pub const REWRITE_COMMIT: &str = "rewrite.commit";
/// The journal forgets what is committed.
pub const REWRITE_SETTLE: &str = "rewrite.settle";

/// All of them.
pub const ALL: [&str; 33] = [
    PUT_BEGIN,
    PUT_SEND,
    PUT_NOTE,
    PUT_COMMIT,
    PUT_SETTLE,
    PUT_PUBLISH,
    PUT_RENEW,
    PUBLISH_PAGE,
    PUBLISH_MERGE,
    PUBLISH_HEAD,
    EPOCH_COPY,
    EPOCH_RECORD,
    EPOCH_KEEP,
    EPOCH_TELL,
    TAKE_ADMIT,
    TAKE_COMMIT,
    TAKE_WHOLE,
    TAKE_LOG,
    REMOVE_COMMIT,
    REFER_RENEW,
    UNDELETE_COMMIT,
    PLACE_COMMIT,
    LABEL_COMMIT,
    PIN_COMMIT,
    SHARE_COMMIT,
    SHARE_HEAD,
    SHARE_NOTE,
    PURGE_COMMIT,
    PURGE_RELEASE,
    LEFT_FORGET,
    REWRITE_STORE,
    REWRITE_COMMIT,
    REWRITE_SETTLE,
];
