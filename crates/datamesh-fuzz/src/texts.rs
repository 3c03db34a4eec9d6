//! What people type or paste, and peers name.

use std::fmt::Display;
use std::str::FromStr;

use datamesh_core::{
    AccountId, Domain, Hash, InviteTicket, LogId, MeshPath, NodeId, Scheme, SegmentId,
};
use datamesh_crypto::{Recipient, ShareLink, Words};

/// What can be read must be read again as the same from what is shown of it.
fn one<T: FromStr + Display + PartialEq>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let shown = value.to_string();
        assert!(shown.parse::<T>().is_ok_and(|again| again == value), "{shown:?} reads otherwise");
    }
}

pub(crate) fn texts(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    one::<AccountId>(text);
    one::<Domain>(text);
    one::<Hash>(text);
    one::<InviteTicket>(text);
    one::<LogId>(text);
    one::<MeshPath>(text);
    one::<NodeId>(text);
    one::<Scheme>(text);
    one::<SegmentId>(text);
    one::<Recipient>(text);
    if let Ok(link) = text.parse::<ShareLink>() {
        assert!(link.text().parse() == Ok(link), "a link that reads otherwise");
    }
    if let Ok(words) = Words::parse(text) {
        assert!(Words::parse(&words.text()).is_ok(), "words that do not read again");
    }
}
