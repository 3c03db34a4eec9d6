//! Leases of the home's account: what is known of their end, and their renewal.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use datamesh_api::{
    Finding, LeaseEnds, LeaseRun, LeaseState, OperationError, Severity, WorkUnit, WorkerProgress,
};
use datamesh_client::{LeaseLook, LeaseRenewal, LeaseScope};
use datamesh_core::{Clock, Timestamp};
use serde::{Deserialize, Serialize};

use super::HomeOperations;
use crate::convert::client_error;
use crate::home::Home;
use crate::mesh;
use crate::system::SystemClock;

/// What was last found and done, for commands that cannot ask.
const KNOWN: &str = "account/leases.json";

/// What holders told so lately is shown without asking again.
const RECENT_MS: u64 = 3600 * 1000;

/// How long somebody who wants to see something else waits for holders to tell.
const PATIENCE: Duration = Duration::from_secs(15);

/// Time between two batches of a renewal that nobody waits for: 256 segments a second.
const PAUSE: Duration = Duration::from_secs(1);

/// One day in milliseconds.
const DAY_MS: u64 = 24 * 3600 * 1000;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Known {
    look: Option<LeaseEnds>,
    run: Option<LeaseRun>,
}

/// What this home knows of its account's leases.
pub(crate) struct LeaseWatch {
    home: Home,
    known: Mutex<Known>,
    progress: Mutex<Option<WorkerProgress>>,
}

impl LeaseWatch {
    /// What was last known. Damage is as nothing: holders can be asked again.
    pub(crate) fn of(home: &Home) -> Self {
        let read = home.read(KNOWN).ok().flatten();
        let known = read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { home: home.clone(), known: Mutex::new(known), progress: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, note: impl FnOnce(&mut Known)) {
        let mut known = self.known();
        note(&mut known);
        let written = serde_json::to_vec_pretty(&*known).map_err(|error| error.to_string());
        let written =
            written.and_then(|text| self.home.write(KNOWN, &text).map_err(|error| error.message));
        if let Err(error) = written {
            tracing::warn!(error, "what is known of leases is not kept");
        }
    }

    /// How far a renewal by the worker is, while there is one.
    pub(crate) fn progress(&self) -> Option<WorkerProgress> {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_progress(&self, progress: Option<WorkerProgress>) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }
}

fn lease_ends(look: &LeaseLook) -> LeaseEnds {
    LeaseEnds {
        looked: look.looked,
        segments: look.segments,
        earliest: look.earliest,
        due: look.due,
        ended: look.ended,
        unheld: look.unheld,
        silent: look.silent,
        unread: look.unread,
    }
}

/// What leases say about whether files stay.
pub(super) fn judge_leases(state: &LeaseState, now: Timestamp) -> Finding {
    let finding = |severity, message| {
        let hint = match (severity, state.renewing) {
            (Severity::Ok, _) => None,
            (_, true) => Some("the service renews them; its log says more".to_owned()),
            (_, false) => Some("renew them now with: datamesh repair --renew".to_owned()),
        };
        Finding { subject: "leases".to_owned(), severity, message, hint }
    };
    let Some(look) = &state.look else {
        return match state.renewing {
            true => finding(Severity::Ok, "holders are about to be asked for them".to_owned()),
            false => finding(Severity::Warning, "it is not known when they end".to_owned()),
        };
    };
    let quarter = u64::from(state.days) * DAY_MS / 4;
    let day = |time: Timestamp| {
        let days = time.abs_diff(now) as f64 / DAY_MS as f64;
        if time <= now { format!("{days:.1} days ago") } else { format!("in {days:.1} days") }
    };
    match look.earliest {
        Some(end) if end <= now => finding(
            Severity::Critical,
            format!("the first of {} segments ended {}", look.segments, day(end)),
        ),
        _ if look.unheld > 0 => finding(
            if look.silent == 0 { Severity::Critical } else { Severity::Warning },
            format!(
                "{} of {} segments are held by no node that answers",
                look.unheld, look.segments
            ),
        ),
        Some(end) if end < now.saturating_add(quarter) => finding(
            Severity::Warning,
            format!("the first of {} segments ends {}", look.segments, day(end)),
        ),
        Some(end) => finding(
            Severity::Ok,
            format!("the first of {} segments ends {}", look.segments, day(end)),
        ),
        None => finding(Severity::Ok, "there is nothing to renew".to_owned()),
    }
}

impl HomeOperations {
    /// What is known of leases; nothing where they do not end, or without an account. Holders are asked
    /// where that is long ago, no worker does it, and nobody need be asked for a password.
    pub(super) async fn lease_state(&self) -> Result<Option<LeaseState>, OperationError> {
        let genesis = mesh::genesis(self.home())?.filter(|genesis| genesis.lease_days != 0);
        let (Some(genesis), Some(_)) = (genesis, &self.shared.catalog) else { return Ok(None) };
        let now = SystemClock.now();
        let looked = self.shared.leases.known().look.as_ref().map(|look| look.looked);
        let recent = looked.is_some_and(|looked| looked.abs_diff(now) < RECENT_MS);
        // A service that renews asks by itself.
        let renewing = self.shared.node.is_some() && self.shared.keys.is_some();
        let open = self.shared.keys.is_some() || self.client.get().is_some();
        if !recent && open && !renewing {
            match tokio::time::timeout(PATIENCE, self.look_at_leases()).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(error = %error.message, "holders were not asked for leases");
                }
                Err(_) => tracing::warn!("holders take long to tell when leases end"),
            }
        }
        let known = self.shared.leases.known().clone();
        let (days, Known { look, run }) = (genesis.lease_days, known);
        Ok(Some(LeaseState { days, renewing, look, run }))
    }

    async fn look_at_leases(&self) -> Result<Option<LeaseLook>, OperationError> {
        let client = self.client().await?;
        let look = client.look_at_leases().await.map_err(|error| client_error(&error))?;
        if let Some(look) = &look {
            self.shared.leases.note(|known| known.look = Some(lease_ends(look)));
        }
        Ok(look)
    }

    /// Renews leases and asks holders afterwards when they end.
    pub(super) async fn renew_leases(
        &self,
        renewal: LeaseRenewal<'_>,
    ) -> Result<LeaseRun, OperationError> {
        let renewed = self.client().await?.renew_leases(renewal).await;
        let (failure, done) = match &renewed {
            Ok(done) => (None, *done),
            Err(error) => (Some(error.to_string()), Default::default()),
        };
        let run = LeaseRun {
            ended: SystemClock.now(),
            segments: done.segments,
            renewed: done.renewed,
            few: done.few,
            released: done.released,
            until: done.until,
            failure,
        };
        self.shared.leases.note(|known| known.run = Some(run.clone()));
        renewed.map_err(|error| client_error(&error))?;
        self.look_at_leases().await?;
        Ok(run)
    }

    /// Renews what is due, a batch a second. Says whether nothing is due any more.
    pub(crate) async fn renew_due_leases(&self) -> Result<bool, OperationError> {
        let Some(look) = self.look_at_leases().await? else { return Ok(true) };
        if look.due == 0 {
            return Ok(look.silent == 0 && look.unread == 0);
        }
        let watch = &self.shared.leases;
        let progress = |done, total| {
            watch.set_progress(Some(WorkerProgress { done, total, unit: WorkUnit::Segments }));
        };
        let renewal = LeaseRenewal { scope: LeaseScope::Due, pause: PAUSE, progress: &progress };
        let done = self.renew_leases(renewal).await;
        watch.set_progress(None);
        let run = done?;
        tracing::info!(renewed = run.renewed, few = run.few, "leases were renewed");
        Ok(watch.known().look.as_ref().is_some_and(|look| look.due == 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_warns_in_the_last_quarter_and_is_critical_once_something_ended() {
        let ends = |days: u64| LeaseEnds {
            looked: 0,
            segments: 5,
            earliest: Some(1000 * DAY_MS + days * DAY_MS),
            due: 0,
            ended: 0,
            unheld: 0,
            silent: 0,
            unread: 0,
        };
        let judge = |look: Option<LeaseEnds>, renewing, day: u64| {
            let state = LeaseState { days: 100, renewing, look, run: None };
            judge_leases(&state, (1000 + day) * DAY_MS).severity
        };
        assert_eq!(judge(Some(ends(100)), false, 75), Severity::Ok);
        assert_eq!(judge(Some(ends(100)), true, 76), Severity::Warning);
        assert_eq!(judge(Some(ends(100)), true, 100), Severity::Critical);
        assert_eq!(judge(None, false, 0), Severity::Warning);
        assert_eq!(judge(None, true, 0), Severity::Ok);
        let gone = |silent| LeaseEnds { unheld: 1, silent, ..ends(100) };
        assert_eq!(judge(Some(gone(0)), true, 0), Severity::Critical);
        assert_eq!(judge(Some(gone(1)), true, 0), Severity::Warning);
    }
}
