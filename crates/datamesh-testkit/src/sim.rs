//! A whole mesh inside one test, from one seed.
//!
//! A [`World`] gives every node the seams that `datamesh-core` names: a network ([`World::join`]),
//! a clock ([`World::clock`]), chance ([`World::entropy`]), and tasks and blocking work
//! ([`World::executor`]). [`run`] drives a scenario in that world on one thread and in virtual
//! time: an hour in which nobody does anything takes no time at all.
//!
//! Promised: the same seed, scenario and program give the same run, event by event; [`Trace`] logs
//! it, its digest proves it, and [`assert_replays`] compares two runs. A node that is killed stops
//! at once: its tasks are dropped before [`World::kill`] returns, so that its files may be opened
//! again. A panic in any task fails the run, and the message names the seed.
//!
//! Not promised: TCP. Messages are carried whole, one after the other through the sender's and the
//! receiver's bandwidth; connections without exchanges are never closed; a failed dial may be tried
//! again at once; [`Transport::connected`](datamesh_core::Transport::connected) forgets a killed
//! peer at once. Virtual time moves in whole milliseconds.
//!
//! What code must keep to, so that it replays:
//! - `tokio::select!` says `biased`: otherwise it draws from a generator whose seed stable Tokio
//!   does not let us set.
//! - No `tokio::sync::watch` with several receivers, where the order of their waking matters: it
//!   draws from the same generator. `Notify`, `Semaphore`, `mpsc` and `oneshot` keep their order.
//! - No threads, no `spawn_blocking`, no time but Tokio's and the [`Clock`](datamesh_core::Clock)'s,
//!   no iteration over a `HashMap` where the order shows.
//! - Blocking work runs inline, so it must end without anything else happening.

mod connection;
mod exchange;
mod liar;
mod life;
mod limits;
mod link;
mod run;
mod seams;
mod steps;
mod trace;
mod world;

pub use liar::{Liar, Lie};
pub use limits::Limits;
pub use link::{Link, NetFault};
pub use run::{assert_replays, run, run_many, run_seeds, run_within};
pub use trace::{Event, Trace, What};
pub use world::World;
