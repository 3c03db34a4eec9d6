//! `datamesh config`.

use clap::Subcommand;
use datamesh_node::config::{self, Setting};
use serde_json::json;

use crate::completion::settings;
use crate::context::Context;
use crate::error::{Outcome, Stop};
use crate::output::{Table, columns};

/// Show and change this home's settings
///
/// A setting comes from the command's flags, else from the environment (DATAMESH_…), else from
/// the home's file, else it has its default.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh config show
  datamesh config get service.storage
  datamesh config set service.storage 500GiB
  datamesh config generate > config.toml
  datamesh config validate")]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// List all settings, their values and where these come from
    Show,
    /// Print the value of one setting
    Get {
        /// The setting
        #[arg(add = settings())]
        key: String,
    },
    /// Write a setting to the home's file
    Set {
        /// The setting
        #[arg(add = settings())]
        key: String,
        /// Its value
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// Check the home's file
    Validate,
    /// Print a file with all settings, their meaning and their defaults, to be changed and put into the home
    Generate,
}

impl ConfigArgs {
    pub(crate) fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let (home, output) = (&context.home, &context.output);
        match self.command {
            ConfigCommand::Show => {
                let settings = config::show(home)?;
                if output.is_for_programs() {
                    let settings: Vec<_> = settings.iter().map(answer).collect();
                    output.answer_rows(&settings, "", columns::SETTINGS)?;
                } else {
                    let mut table = Table::new(&["SETTING", "VALUE", "FROM", "MEANING"]);
                    for setting in &settings {
                        table.row([setting.key, &setting.value, &setting.origin, setting.about]);
                    }
                    output.table(&table)?;
                }
            }
            ConfigCommand::Get { key } => {
                let setting = config::get(home, &key)?;
                if output.is_for_programs() {
                    output.answer(&answer(&setting))?;
                } else {
                    output.line(crate::output::visible(&setting.value))?;
                }
            }
            ConfigCommand::Set { key, value } => {
                config::set(home, &key, &value)?;
                let setting = config::get(home, &key)?;
                if output.is_for_programs() {
                    output.answer(&answer(&setting))?;
                } else {
                    output.line(format!(
                        "{} = {}",
                        setting.key,
                        crate::output::visible(&setting.value)
                    ))?;
                    if setting.origin == "environment" {
                        output.warn("the environment says otherwise and is what counts");
                    }
                    let when = match datamesh_node::counts_at_once(setting.key) {
                        true => "at SIGHUP",
                        false => "when it is started again",
                    };
                    output.note(format!("a running service takes it up {when}"));
                }
            }
            ConfigCommand::Generate => output.raw(&config::generate())?,
            ConfigCommand::Validate => {
                config::validate(home)?;
                if output.is_for_programs() {
                    output.answer(&json!({ "valid": true }))?;
                } else {
                    output.line("the settings are valid")?;
                }
            }
        }
        Ok(Outcome::Done)
    }
}

fn answer(setting: &Setting) -> serde_json::Value {
    json!({
        "key": setting.key,
        "value": setting.value,
        "origin": setting.origin,
        "about": setting.about,
    })
}
