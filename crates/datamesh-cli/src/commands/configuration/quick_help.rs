//! `datamesh quick-help`.

use crate::context::Context;
use crate::error::{Outcome, Stop};

/// Show the commands that are used most, on one page
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh quick-help
  datamesh put --help        all about one command")]
pub(crate) struct QuickHelpArgs {}

/// What is shown.
const PAGE: &str = "\
Try it
  datamesh demo

Begin
  datamesh init                       an account, 24 words to write down
  datamesh service                    this machine's node; the first founds a mesh
  datamesh invite                     a ticket for others
  datamesh join TICKET                enter a mesh with it

Files
  datamesh put report.pdf             store; -r for a folder
  datamesh get report.pdf             fetch; -r for a folder
  datamesh list -r                    what there is
  datamesh info report.pdf            where its shards are, how safe it is
  datamesh versions report.pdf        what it was before; --undelete takes back
  datamesh remove report.pdf
  datamesh rename report.pdf archive/
  datamesh duplicate report.pdf draft.pdf
  datamesh sync photos                photos/ on the mesh follows the folder
  datamesh export all.tar.zst         everything in one file; import reads it

Sharing
  datamesh share report.pdf --link    whoever has the link can read it
  datamesh share revoke ID            share list shows what is shared

Finding
  datamesh search annual report
  datamesh recent --type image
  datamesh list --size \">1GB\" --sort size --reverse
  datamesh batch-put -r photos --tag-pattern '{ext},{year}'
  datamesh batch-get 'photos/**/*.jpg' pictures
  datamesh batch-tag 'photos/**' --add-tags family

How it stands
  datamesh health                     what needs attention
  datamesh stats                      numbers
  datamesh peers                      the nodes
  datamesh repair                     what is being mended
  datamesh doctor                     why something does not work

If all is lost
  datamesh recover --words-file WORDS --peer ADDRESS

Every command tells more with --help; --json is for programs.
";

impl QuickHelpArgs {
    pub(crate) fn run(self, context: &Context) -> Result<Outcome, Stop> {
        context.output.raw(PAGE)?;
        Ok(Outcome::Done)
    }
}
