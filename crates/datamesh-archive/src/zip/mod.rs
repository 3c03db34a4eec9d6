//! Zip, as PKWARE's APPNOTE has it, with files of any size and number (zip64).
//!
//! Each file stands behind a header of its own; at the end a directory lists them all and says where
//! they are. So a thing is said twice, and programs that believe the one or the other show two
//! different archives. The reader here goes by the directory and refuses an archive in which the two
//! disagree, in which two files share bytes, or in which bytes belong to nothing that it knows.

mod directory;
mod local;
mod read;
mod record;
mod write;

pub use read::{ReadSeek, ZipWalk};
pub use write::ZipPen;

/// Content as it is.
const STORED: u16 = 0;

/// Content compressed by deflate.
const DEFLATED: u16 = 8;

/// The host in whose way the permissions are written.
const UNIX: u8 = 3;
