//! Sharing files: with a person, by the key that the person hands out, or by a link.
//!
//! A share follows a file. What it shows lies in the share's own slot on the mesh and is published once
//! more whenever the file has a new version or its content lies elsewhere: with the commit that changed it,
//! or, where that was cut off, with any later publication of any device of the account ([`publish`]).
//! Whoever opens one needs no account for a link ([`open`]).
//!
//! Promised: a share shows a version only after that is committed; once a quorum has its end, no honest node
//! gives anything else out. Not promised: that what was shown before is forgotten. Whoever has opened a
//! share may have kept the keys of the version that it showed.

mod error;
mod make;
mod open;
mod publish;

pub use error::SharingError;
pub use make::{ShareOptions, ShareState, ShareTo, ShareView, share_digits};
pub use open::{FoundShare, find_contact, find_share};
pub(crate) use publish::SharesTold;
