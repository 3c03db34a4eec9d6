//! Commands that set up homes and run nodes.

mod bootstrap;
mod init;
mod interactive;
mod invite;
mod join;
mod recover;
mod service;

pub(crate) use bootstrap::BootstrapArgs;
pub(crate) use init::InitArgs;
pub(crate) use interactive::InteractiveArgs;
pub(crate) use invite::InviteArgs;
pub(crate) use join::JoinArgs;
pub(crate) use recover::RecoverArgs;
pub(crate) use service::ServiceArgs;
