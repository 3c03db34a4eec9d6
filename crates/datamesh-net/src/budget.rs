//! Places and bytes that peers take up here, of which strangers together get a half.
//!
//! Keys cost nothing, so a bound for each peer alone does not stop many strangers from taking all
//! there is. What they cannot take is left for peers that the service knows.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What all peers share.
#[derive(Debug)]
pub(crate) struct Budget {
    all: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
}

impl Budget {
    /// A budget of `count`. Strangers get half of it, but no less than `least`.
    pub(crate) fn new(count: usize, least: usize) -> Self {
        let strangers = (count / 2).max(least).min(count);
        Self {
            all: Arc::new(Semaphore::new(count)),
            strangers: Arc::new(Semaphore::new(strangers)),
        }
    }

    /// Takes `count` of what one peer may have and of what all may have, if it is there.
    pub(crate) fn try_take(
        &self,
        of_peer: &Arc<Semaphore>,
        is_known: bool,
        count: u32,
    ) -> Option<Held> {
        let mut held = Held(Vec::with_capacity(3));
        for part in self.parts(of_peer, is_known) {
            held.0.push(Arc::clone(part).try_acquire_many_owned(count).ok()?);
        }
        Some(held)
    }

    /// Waits until `count` may be taken; nothing if the budget was closed.
    pub(crate) async fn take(
        &self,
        of_peer: &Arc<Semaphore>,
        is_known: bool,
        count: u32,
    ) -> Option<Held> {
        let mut held = Held(Vec::with_capacity(3));
        for part in self.parts(of_peer, is_known) {
            held.0.push(Arc::clone(part).acquire_many_owned(count).await.ok()?);
        }
        Some(held)
    }

    /// The narrowest first: who waits for it must not hold what others wait for.
    fn parts<'a>(
        &'a self,
        of_peer: &'a Arc<Semaphore>,
        is_known: bool,
    ) -> impl Iterator<Item = &'a Arc<Semaphore>> {
        let strangers = (!is_known).then_some(&self.strangers);
        [Some(of_peer), strangers, Some(&self.all)].into_iter().flatten()
    }
}

/// What was taken, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held(Vec<OwnedSemaphorePermit>);

impl Held {
    /// Gives back what is above `count`.
    pub(crate) fn shrink_to(&mut self, count: u32) {
        for permit in &mut self.0 {
            let surplus = permit.num_permits().saturating_sub(count as usize);
            drop(permit.split(surplus));
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn peer() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(4))
    }

    #[test]
    fn strangers_leave_a_half_to_those_who_are_known() {
        let budget = Budget::new(10, 1);
        let strangers: Vec<_> = (0..4).map(|_| budget.try_take(&peer(), false, 2)).collect();
        assert_eq!(strangers.iter().flatten().count(), 2);
        let known: Vec<_> = (0..4).map(|_| budget.try_take(&peer(), true, 2)).collect();
        assert_eq!(known.iter().flatten().count(), 3);
        drop(strangers);
        assert!(budget.try_take(&peer(), true, 4).is_some());
    }

    #[test]
    fn one_peer_has_no_more_than_its_share_and_a_refusal_keeps_nothing() {
        let (budget, one) = (Budget::new(10, 1), peer());
        let held = budget.try_take(&one, true, 3).unwrap();
        assert!(budget.try_take(&one, true, 2).is_none());
        assert_eq!((one.available_permits(), budget.all.available_permits()), (1, 7));
        drop(held);
        assert_eq!((one.available_permits(), budget.all.available_permits()), (4, 10));
    }

    #[test]
    fn what_is_not_needed_is_given_back() {
        let (budget, one) = (Budget::new(10, 5), peer());
        let mut held = budget.try_take(&one, false, 4).unwrap();
        held.shrink_to(1);
        let left = [&one, &budget.strangers, &budget.all].map(|part| part.available_permits());
        assert_eq!(left, [3, 4, 9]);
        held.shrink_to(2);
        assert_eq!(one.available_permits(), 3);
        drop(held);
        assert_eq!(budget.all.available_permits(), 10);
    }
}
