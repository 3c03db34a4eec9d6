//! The line editor: history, completion, hints, and a prompt that tells how the mesh stands.

use std::borrow::Cow;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use datamesh_node::Home;
use reedline::{
    ColumnarMenu, DefaultHinter, Emacs, FileBackedHistory, KeyCode, KeyModifiers, MenuBuilder,
    Prompt, PromptEditMode, PromptHistorySearch, PromptHistorySearchStatus, Reedline,
    ReedlineEvent, ReedlineMenu, Signal, default_emacs_keybindings,
};

use super::complete::Commands;
use super::input::Line;
use super::status::{Status, Text};
use super::unreadable;
use crate::error::{Stop, failed};
use crate::output::is_plain;

/// Lines that the history keeps.
const HISTORY_LINES: usize = 1000;

/// How often an editor that waits for a key looks whether the prompt changed.
const POLL: Duration = Duration::from_millis(250);

/// The menu of what may come next.
const MENU: &str = "completions";

/// Ends an editor that waits for a key.
#[derive(Clone)]
pub(super) struct Break(Arc<AtomicBool>);

impl Break {
    /// Ends it, and waits long enough for the terminal to be as it was.
    pub(super) fn now(&self) {
        self.0.store(true, Ordering::SeqCst);
        std::thread::sleep(POLL * 2);
    }
}

/// Reads lines that somebody edits.
pub(super) struct Editor {
    lines: Reedline,
    prompt: MeshPrompt,
    stop: Break,
}

impl Editor {
    /// An editor with the history of the home.
    pub(super) fn new(home: &Home, status: Option<&Status>) -> Result<Self, Stop> {
        let mut keys = default_emacs_keybindings();
        keys.add_binding(
            KeyModifiers::NONE,
            KeyCode::Tab,
            ReedlineEvent::UntilFound(vec![
                ReedlineEvent::Menu(MENU.to_owned()),
                ReedlineEvent::MenuNext,
            ]),
        );
        keys.add_binding(KeyModifiers::SHIFT, KeyCode::BackTab, ReedlineEvent::MenuPrevious);
        let menu = Box::new(ColumnarMenu::default().with_name(MENU));
        let stop = Break(Arc::default());
        let mut lines = Reedline::create()
            .with_completer(Box::new(Commands))
            .with_menu(ReedlineMenu::EngineCompleter(menu))
            .with_partial_completions(true)
            .with_quick_completions(true)
            .with_edit_mode(Box::new(Emacs::new(keys)))
            .with_hinter(Box::new(DefaultHinter::default()))
            .with_ansi_colors(!is_plain())
            .with_history_exclusion_prefix(Some(" ".to_owned()))
            .with_poll_interval(POLL)
            .with_break_signal(Arc::clone(&stop.0))
            .use_bracketed_paste(true);
        if let Some(history) = history(home) {
            lines = lines.with_history(Box::new(history));
        }
        let text = status.map(Status::text).unwrap_or_default();
        if let Some(status) = status {
            let signal = lines.repaint_signal();
            status.repaints(Box::new(move || signal.request_repaint()));
        }
        Ok(Self { lines, prompt: MeshPrompt { text }, stop })
    }

    /// What ends it from elsewhere.
    pub(super) fn stop(&self) -> Break {
        self.stop.clone()
    }

    /// The next line. Blocks.
    pub(super) fn read(&mut self) -> Result<Line, Stop> {
        match self.lines.read_line(&self.prompt).map_err(unreadable)? {
            Signal::Success(text) => {
                // What another console of the home adds is kept, and so is this line if the power goes.
                self.lines.sync_history().map_err(failed)?;
                Ok(Line::Text(text))
            }
            Signal::CtrlC => Ok(Line::Interrupted),
            Signal::CtrlD | Signal::ExternalBreak(_) => Ok(Line::End),
            Signal::HostCommand(_) => Ok(Line::Interrupted),
            _ => Ok(Line::End),
        }
    }
}

/// The history of the home, which its owner alone may read; nothing where there is no home yet or it
/// cannot be written.
fn history(home: &Home) -> Option<FileBackedHistory> {
    let file = home.console_history()?;
    std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&file).ok()?;
    FileBackedHistory::with_file(HISTORY_LINES, file).ok()
}

/// The prompt, with the state of the mesh at its right.
struct MeshPrompt {
    text: Text,
}

impl Prompt for MeshPrompt {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        Cow::Borrowed("datamesh")
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        Cow::Owned(self.text.get())
    }

    fn render_prompt_indicator(&self, _mode: PromptEditMode) -> Cow<'_, str> {
        Cow::Borrowed("> ")
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        Cow::Borrowed("... ")
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        let state = match search.status {
            PromptHistorySearchStatus::Passing => "",
            PromptHistorySearchStatus::Failing => "nothing like it: ",
        };
        Cow::Owned(format!(" ({state}search {}) ", search.term))
    }
}
