//! What every command needs, made once from what the user typed.

use std::path::PathBuf;
use std::sync::Arc;

use datamesh_api::{OperationError, Operations};
use datamesh_node::Home;

use crate::error::usage;
use crate::output::{Format, Output};
use crate::password::Password;

/// Options that every command takes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct GlobalArgs {
    /// Where all state of this account or node lives [default: the platform's data folder] [env:
    /// DATAMESH_HOME]
    // What comes from the environment is read here: the parser would show it in the usage of every error.
    #[arg(long, global = true, value_name = "FOLDER")]
    home: Option<PathBuf>,

    /// How answers are written to standard output
    #[arg(long, global = true, value_enum, default_value = "table")]
    format: Format,

    /// Short for --format json
    #[arg(long, global = true)]
    json: bool,

    /// A file whose first line is the keystore's password [env: DATAMESH_PASSWORD_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    password_file: Option<PathBuf>,

    /// Only answers, warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,

    /// Say more; twice or thrice for what goes on inside
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// A file or folder that the environment names.
pub(crate) fn named(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from)
}

/// What every command needs.
pub(crate) struct Context {
    pub(crate) home: Home,
    pub(crate) output: Output,
    pub(crate) password: Password,
    pub(crate) global: GlobalArgs,
    /// Whether the command came from a console, which reads standard input itself.
    pub(crate) console: bool,
}

impl GlobalArgs {
    /// The options of a command of a console: what is not typed there is the console's.
    pub(crate) fn within(self, console: &Self, is_typed: impl Fn(&str) -> bool) -> Self {
        let styled = is_typed("format") || is_typed("json");
        let told = is_typed("quiet") || is_typed("verbose");
        Self {
            home: if is_typed("home") { self.home } else { console.home.clone() },
            format: if styled { self.format } else { console.format },
            json: if styled { self.json } else { console.json },
            password_file: match is_typed("password_file") {
                true => self.password_file,
                false => console.password_file.clone(),
            },
            quiet: if told { self.quiet } else { console.quiet },
            verbose: if told { self.verbose } else { console.verbose },
        }
    }

    /// Answers and errors are JSON.
    pub(crate) fn wants_json(&self) -> bool {
        self.json || self.format == Format::Json
    }

    /// The file that holds the password, if one was named.
    pub(crate) fn password_file(&self) -> Option<&std::path::Path> {
        self.password_file.as_deref()
    }

    /// What logs say where `RUST_LOG` does not tell: warnings, or `usual` if that is more.
    pub(crate) fn log_level(&self, usual: &'static str) -> &'static str {
        match (self.quiet, self.verbose) {
            (true, _) => "error",
            (_, 0) => usual,
            (_, 1) => "info",
            (_, 2) => "debug",
            _ => "trace",
        }
    }
}

impl Context {
    /// Makes sense of the options.
    ///
    /// # Errors
    /// [`OperationError`] where no home was named and the platform has no place for one.
    pub(crate) fn new(mut global: GlobalArgs) -> Result<Self, OperationError> {
        if let Some(home) = &global.home {
            crate::output::set_home(home);
        }
        global.home = global.home.or_else(|| named("DATAMESH_HOME"));
        global.password_file = global.password_file.or_else(|| named("DATAMESH_PASSWORD_FILE"));
        let home = match global.home.clone().or_else(Home::default_path) {
            Some(home) if home.as_os_str().is_empty() => {
                return Err(usage("the home's name is empty"));
            }
            Some(home) => std::path::absolute(&home).unwrap_or(home),
            None => {
                return Err(usage("no home is known on this system")
                    .hint("name one with --home or DATAMESH_HOME"));
            }
        };
        let format = if global.json { Format::Json } else { global.format };
        Ok(Self {
            home: Home::at(home),
            output: Output::new(format, global.quiet, global.verbose > 0),
            password: Password::new(global.password_file.clone()),
            global,
            console: false,
        })
    }

    /// The same for a console, which asks for the password once.
    pub(crate) fn in_console(&self) -> Self {
        Self {
            home: self.home.clone(),
            output: self.output.clone(),
            password: self.password.remembering(),
            global: self.global.clone(),
            console: true,
        }
    }

    /// That of a command with these options in this console.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn with(&self, global: GlobalArgs) -> Result<Self, OperationError> {
        let own = Self { console: true, ..Self::new(global)? };
        let same = own.home.path() == self.home.path()
            && own.global.password_file == self.global.password_file;
        Ok(if same { Self { password: self.password.clone(), ..own } } else { own })
    }

    /// The running daemon of the home, or the same operations in this process.
    pub(crate) async fn connect(&self) -> Result<Arc<dyn Operations>, OperationError> {
        let at_hand = self.password.is_known();
        datamesh_node::connect(&self.home, self.password.source(), at_hand).await
    }
}
