//! The commands: one file each, whose documentation is the command's help.

pub(crate) mod archives;
pub(crate) mod batch;
pub(crate) mod configuration;
pub(crate) mod demo;
pub(crate) mod discovery;
pub(crate) mod files;
pub(crate) mod maintenance;
pub(crate) mod network;
pub(crate) mod nodes;
pub(crate) mod security;
