//! What `duplicate` and `rename` have in common.

use datamesh_api::PlacedReply;
use datamesh_core::MeshPath;

use crate::context::Context;
use crate::error::{Outcome, Stop};
use crate::output::{columns, plural, visible};
use crate::values::mesh_path;

/// Names that are printed one by one; of more the number says enough.
const NAMED_MAX: usize = 20;

/// The new name: what ends with a slash is the folder that `name` goes into, `/` the top of the account.
pub(super) fn target(name: &str, to: &str) -> Result<MeshPath, Stop> {
    let own = name.trim_end_matches('/');
    let last = own.rsplit('/').next().unwrap_or(own);
    let to = match to.strip_suffix('/') {
        Some(folder) => match folder.trim_end_matches('/') {
            "" => last.to_owned(),
            folder => format!("{folder}/{last}"),
        },
        None => to.to_owned(),
    };
    mesh_path(&to).map_err(Stop::from)
}

/// Prints what has another name now.
pub(super) fn show(context: &Context, done: &str, reply: &PlacedReply) -> Result<Outcome, Stop> {
    let output = &context.output;
    let outcome = if reply.pending > 0 { Outcome::Partial } else { Outcome::Done };
    if output.is_for_programs() {
        output.answer_rows(reply, "/files", columns::PLACED)?;
        return Ok(outcome);
    }
    for file in reply.files.iter().take(NAMED_MAX) {
        let (from, to) = (visible(file.from.as_str()), visible(file.to.as_str()));
        output.line(format!("{done} {from} to {to}"))?;
    }
    if reply.files.len() > NAMED_MAX {
        let files = plural(reply.files.len() as u64, "file");
        output.line(format!("… {files} in all"))?;
    }
    output.pending(reply.pending);
    Ok(outcome)
}
