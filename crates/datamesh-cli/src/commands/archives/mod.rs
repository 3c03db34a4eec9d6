//! Commands that take files out into an archive and bring archives in.

mod export;
mod import;

pub(crate) use export::ExportArgs;
pub(crate) use import::ImportArgs;
