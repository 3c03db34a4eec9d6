//! Commands about this home's settings and their soundness.

mod advanced;
mod completion;
mod config;
mod doctor;
mod quick_help;

pub(crate) use advanced::AdvancedArgs;
pub(crate) use completion::GenerateCompletionArgs;
pub(crate) use config::ConfigArgs;
pub(crate) use doctor::DoctorArgs;
pub(crate) use quick_help::QuickHelpArgs;
