//! Commands that find files.

mod filter;
mod popular;
mod recent;
mod search;
mod show;

pub(crate) use filter::{FilterArgs, limit};
pub(crate) use popular::PopularArgs;
pub(crate) use recent::RecentArgs;
pub(crate) use search::SearchArgs;
pub(crate) use show::show;
