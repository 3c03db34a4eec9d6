//! What becomes of one name, by what each side has there and what both had.

use datamesh_core::MeshPath;

use crate::tree::{Content, Local, first_below};

use super::{Direction, Terms, Trees};

/// What becomes of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Both are as they were.
    Nothing,
    /// Both are alike, and the base is to say so.
    Agree,
    /// Only the base has it.
    Forget,
    /// The mesh gets what is here.
    Upload,
    /// What is on the mesh comes here, in the place of what is known to be there too.
    Download,
    /// What is on the mesh comes here; what is here gets another name, which goes to the mesh.
    Conflict,
    /// What is on the mesh comes here; what is here gets another name, unless a version has it.
    SetAside,
    /// It is marked as deleted on the mesh.
    RemoveRemote,
    /// It goes from here.
    RemoveLocal,
    /// It goes from here where a version has its content.
    RemoveStored,
    /// It stays in a mirror's target; why.
    Keep(&'static str),
}

const UNKNOWN_REMOTE: &str = "no earlier sync from here stored it";
const UNKNOWN_LOCAL: &str = "no earlier sync fetched it";
const EDITED: &str = "it was removed on the mesh, and was changed here";
const UNSURE: &str = "nothing is removed in this pass";

/// Decides about `path`.
pub(super) fn decide(trees: Trees<'_>, terms: &Terms, path: &MeshPath) -> Decision {
    let (here, remote, base) =
        (trees.local.get(path), trees.remote.get(path), trees.base.get(path));
    // A folder with something in it is no entry, but whoever asks for the folder finds it.
    let full = here.is_some_and(Local::is_full_folder);
    let is_folder = |content: Option<&Content>| content.is_none_or(|it| *it == Content::Folder);
    if full && is_folder(remote.map(|remote| &remote.content)) {
        return match (remote, base) {
            (Some(remote), Some(known)) if remote.version == known.version => Decision::Nothing,
            (Some(_), _) => Decision::Agree,
            (None, Some(_)) => Decision::Forget,
            (None, None) => Decision::Nothing,
        };
    }
    let local = here.filter(|local| !local.is_full_folder());
    // The same for a folder that is empty here and has something in it on the mesh.
    if remote.is_none()
        && matches!(local, Some(Local::Folder { .. }))
        && first_below(trees.remote, path).is_some()
    {
        return if base.is_some() { Decision::Forget } else { Decision::Nothing };
    }
    let local_same = || local.zip(base).is_some_and(|(local, known)| local.is(&known.content));
    let remote_same = || remote.zip(base).is_some_and(|(remote, known)| remote.is(known));
    let decision = match (local, remote) {
        (None, None) => return if base.is_some() { Decision::Forget } else { Decision::Nothing },
        (Some(local), Some(remote)) if local.is(&remote.content) => {
            let settled = base.is_some_and(|known| {
                known.version == remote.version && known.content == remote.content
            });
            let read_again = match (local, base.and_then(|known| known.fingerprint)) {
                (Local::File { fingerprint, .. }, known) => known != Some(*fingerprint),
                (Local::Folder { .. }, _) => false,
            };
            return if settled && !read_again { Decision::Nothing } else { Decision::Agree };
        }
        (local, remote) => match terms.direction {
            Direction::Up => match (local, remote) {
                (Some(_), _) => Decision::Upload,
                (None, _) if base.is_some() || terms.delete_unknown => Decision::RemoveRemote,
                (None, _) => Decision::Keep(UNKNOWN_REMOTE),
            },
            Direction::Down => match (local, remote) {
                (None, _) => Decision::Download,
                (Some(Local::Folder { .. }), Some(_)) => Decision::Download,
                (Some(_), Some(_)) if local_same() => Decision::Download,
                (Some(_), Some(_)) => Decision::SetAside,
                (Some(_), None) if local_same() => Decision::RemoveLocal,
                (Some(_), None) if base.is_some() => Decision::Keep(EDITED),
                (Some(_), None) if terms.delete_unknown => Decision::RemoveStored,
                (Some(_), None) => Decision::Keep(UNKNOWN_LOCAL),
            },
            Direction::Both => match (local, remote) {
                (Some(_), None) if local_same() => Decision::RemoveLocal,
                (Some(_), None) => Decision::Upload,
                (None, _) if remote_same() => Decision::RemoveRemote,
                (None, _) => Decision::Download,
                (Some(_), Some(_)) if local_same() => Decision::Download,
                (Some(_), Some(_)) if remote_same() => Decision::Upload,
                // An empty folder holds nothing that could be lost.
                (Some(Local::Folder { .. }), Some(_)) => Decision::Download,
                (Some(_), Some(_)) => Decision::Conflict,
            },
        },
    };
    let removes =
        matches!(decision, Decision::RemoveRemote | Decision::RemoveLocal | Decision::RemoveStored);
    if removes && !terms.may_delete { Decision::Keep(UNSURE) } else { decision }
}
