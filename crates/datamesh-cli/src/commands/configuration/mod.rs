//! Commands about this home's settings and their soundness.

mod config;
mod doctor;

pub(crate) use config::ConfigArgs;
pub(crate) use doctor::DoctorArgs;
