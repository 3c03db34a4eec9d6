//! Commands that find files.

mod filter;
mod order;
mod popular;
mod recent;
mod search;
mod show;

pub(crate) use filter::{FilterArgs, limit};
pub(crate) use order::{By, sort};
pub(crate) use popular::PopularArgs;
pub(crate) use recent::RecentArgs;
pub(crate) use search::SearchArgs;
pub(crate) use show::show;
