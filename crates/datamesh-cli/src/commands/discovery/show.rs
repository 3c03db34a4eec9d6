//! Files that were found, as a table or as JSON.

use datamesh_api::SearchReply;

use crate::commands::files::row;
use crate::context::Context;
use crate::error::{Outcome, Stop};
use crate::output::{Table, columns};

/// Prints what was found. Nothing found is no failure.
pub(crate) fn show(context: &Context, reply: &SearchReply) -> Result<Outcome, Stop> {
    let output = &context.output;
    if output.is_for_programs() {
        output.answer_rows(reply, "/files", columns::FILES)?;
        return Ok(Outcome::Done);
    }
    let mut table = Table::new(&["NAME", ">SIZE", "STORED", "SCHEME", "TAGS"]);
    for version in &reply.files {
        table.row(row(version));
    }
    output.table(&table)?;
    if reply.files.is_empty() {
        output.note("no files");
    } else if reply.more {
        output.note("there are more: see them with --limit, or narrow it");
    }
    Ok(Outcome::Done)
}
