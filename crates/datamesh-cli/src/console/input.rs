//! Where lines come from: an editor on a terminal, or whatever standard input is.

use std::io::{BufRead, Write};

use datamesh_node::Home;

use super::editor::Editor;
use super::status::Status;
use super::unreadable;
use crate::error::Stop;
use crate::waiting::waiting;

/// Longest line in bytes that is read from a pipe.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// What was read.
pub(super) enum Line {
    Text(String),
    /// Ctrl-C while a line was edited.
    Interrupted,
    /// Nothing more comes.
    End,
}

/// Lines, one after another.
pub(super) enum Input {
    /// From an editor; nothing while it is at work.
    Edited(Option<Box<Editor>>, super::editor::Break),
    /// From standard input, with a prompt where somebody sees it.
    Plain { prompts: bool },
}

impl Input {
    /// Lines that somebody types and edits.
    pub(super) fn edited(home: &Home, status: Option<&Status>) -> Result<Self, Stop> {
        let editor = Editor::new(home, status)?;
        let stop = editor.stop();
        Ok(Self::Edited(Some(Box::new(editor)), stop))
    }

    /// Lines as they come.
    pub(super) fn plain(prompts: bool) -> Self {
        Self::Plain { prompts }
    }

    /// The next line.
    pub(super) async fn next(&mut self) -> Result<Line, Stop> {
        match self {
            Self::Plain { prompts } => {
                let prompts = *prompts;
                waiting(move || read_plain(prompts)).await?
            }
            Self::Edited(editor, _) => {
                let Some(mut at_work) = editor.take() else { return Ok(Line::End) };
                let (back, line) = waiting(move || {
                    let line = at_work.read();
                    (at_work, line)
                })
                .await?;
                *editor = Some(back);
                line
            }
        }
    }

    /// Gives the terminal back, also where a line is still being edited.
    pub(super) fn leave(&self) {
        if let Self::Edited(None, stop) = self {
            stop.now();
        }
    }
}

fn read_plain(prompts: bool) -> Result<Line, Stop> {
    if prompts {
        let mut out = std::io::stdout().lock();
        write!(out, "datamesh> ").and_then(|()| out.flush())?;
    }
    let mut line = Vec::new();
    let mut input = std::io::Read::take(std::io::stdin().lock(), LINE_BYTES_MAX);
    let count = input.read_until(b'\n', &mut line).map_err(unreadable)?;
    if count == 0 {
        return Ok(Line::End);
    }
    if line.last() != Some(&b'\n') && count as u64 == LINE_BYTES_MAX {
        return Err(unreadable("it is longer than 1 MiB"));
    }
    // A script may come from where lines end with two characters.
    let line = line.strip_suffix(b"\r\n").unwrap_or(&line).to_vec();
    String::from_utf8(line).map(Line::Text).map_err(|_| unreadable("it is not Unicode"))
}
