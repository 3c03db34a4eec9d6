//! Tests of reading and writing local files.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod continuing;
mod picking;
mod reading;
mod writing;

use datamesh_core::MeshPath;

fn path(text: &str) -> MeshPath {
    text.parse().unwrap()
}
