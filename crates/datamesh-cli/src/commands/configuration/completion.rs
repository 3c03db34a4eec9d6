//! `datamesh generate-completion`.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use clap_complete::env::{Bash, Elvish, EnvCompleter, Fish, Powershell, Zsh};

use crate::args::tree;
use crate::completion::VARIABLE;
use crate::context::Context;
use crate::error::{Outcome, Stop, failed};

/// Print what makes a shell complete commands, flags and names of files
///
/// The shell then asks this program at each key: so names of files in the account are completed too, as this
/// device knows them (of the home in DATAMESH_HOME, or else the platform's).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  source <(datamesh generate-completion bash)     in ~/.bashrc
  source <(datamesh generate-completion zsh)      in ~/.zshrc
  datamesh generate-completion fish > ~/.config/fish/completions/datamesh.fish
  datamesh generate-completion --man-pages /usr/local/share/man/man1")]
pub(crate) struct GenerateCompletionArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL", required_unless_present = "man_pages")]
    shell: Option<Shell>,

    /// Write manual pages into this folder instead, one for each command
    #[arg(long, value_name = "FOLDER", conflicts_with = "shell")]
    man_pages: Option<PathBuf>,
}

/// Shells that can be told.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    Elvish,
    Powershell,
}

impl GenerateCompletionArgs {
    pub(crate) fn run(self, context: &Context) -> Result<Outcome, Stop> {
        if let Some(folder) = &self.man_pages {
            std::fs::create_dir_all(folder)
                .and_then(|()| write_pages(folder))
                .map_err(|error| failed(format!("{}: {error}", folder.display())))?;
            return Ok(Outcome::Done);
        }
        let Some(shell) = self.shell else { return Ok(Outcome::Done) };
        let shell: &dyn EnvCompleter = match shell {
            Shell::Bash => &Bash,
            Shell::Zsh => &Zsh,
            Shell::Fish => &Fish,
            Shell::Elvish => &Elvish,
            Shell::Powershell => &Powershell,
        };
        let mut script = Vec::new();
        shell
            .write_registration(VARIABLE, "datamesh", "datamesh", "datamesh", &mut script)
            .map_err(failed)?;
        context.output.raw(&String::from_utf8_lossy(&script))?;
        Ok(Outcome::Done)
    }
}

/// Writes a manual page for the program and one for each command, with those of commands within.
fn write_pages(folder: &Path) -> std::io::Result<()> {
    clap_mangen::generate_to(tree(), folder)
}
