//! The pure parts of audits: who audits what when, and what outcomes come to.

use std::collections::BTreeMap;
use std::time::Duration;

use datamesh_core::{NodeId, SegmentId};
use datamesh_engine::audit::Outcome;
use datamesh_engine::audit::duty::{Place, auditor};
use datamesh_engine::audit::tally::{Verdict, book, flagged, fresh};
use datamesh_engine::scrub::due;
use datamesh_testkit::random::Dice;
use proptest::prelude::*;

const DAY_MS: u64 = 24 * 3600 * 1000;

fn id(dice: &mut Dice) -> [u8; 32] {
    let mut id = [0; 32];
    dice.fill(&mut id);
    id
}

#[test]
fn duty_is_drawn_evenly_and_changes_from_day_to_day() {
    let mut dice = Dice::new(7);
    let nodes: Vec<NodeId> = (0..6).map(|_| NodeId(id(&mut dice))).collect();
    let mut days: BTreeMap<NodeId, u32> = BTreeMap::new();
    let segment = SegmentId(id(&mut dice));
    for epoch in 0..6000 {
        let drawn = auditor(&segment, epoch, nodes.clone());
        drawn.into_iter().for_each(|node| *days.entry(node).or_default() += 1);
    }
    assert_eq!((days.len(), days.values().sum::<u32>()), (6, 6000));
    assert!(days.values().all(|count| (850..1150).contains(count)), "{days:?}");
    assert_eq!(auditor(&segment, 0, []), None);
}

/// A thousand honest nodes that are slow, busy or away most of the time, for a hundred days.
#[test]
fn none_of_a_thousand_honest_slow_nodes_is_ever_flagged() {
    let mut dice = Dice::new(8);
    let slow = [Outcome::Busy, Outcome::Timeout, Outcome::Offline];
    for number in 0..1000u64 {
        let mut audit = fresh(NodeId(id(&mut dice)));
        let proves = 1 + number % 100;
        for epoch in 0..100 {
            for _ in 0..20 {
                let outcome = match dice.below(100) < proves {
                    true => Outcome::Ok,
                    false => slow[dice.below(3) as usize],
                };
                book(&mut audit, Verdict { outcome, admitted: false }, epoch, epoch * DAY_MS);
                // Rot that it found itself, at a rate that no disk has.
                if dice.one_in(50) {
                    let verdict = Verdict { outcome: Outcome::Missing, admitted: true };
                    book(&mut audit, verdict, epoch, epoch * DAY_MS);
                }
                assert!(!flagged(&audit, epoch), "{audit:?}");
            }
        }
        assert!(audit.busy + audit.timeout + audit.offline > 0 || proves == 100);
    }
}

/// A node with a hundred shards that dropped ten: its five peers audit each shard once a day, but
/// for the sixth that it would audit itself.
#[test]
fn dropping_a_tenth_is_flagged_on_the_first_day() {
    let mut dice = Dice::new(9);
    let mut late = 0;
    for _ in 0..1000 {
        let mut peers = [fresh(NodeId([1; 32])); 5];
        let mut failures = 0;
        for shard in 0..100 {
            let draw = dice.below(6) as usize;
            let Some(audit) = peers.get_mut(draw) else { continue };
            let outcome = if shard % 10 == 0 { Outcome::Missing } else { Outcome::Ok };
            failures += u32::from(shard % 10 == 0);
            book(audit, Verdict { outcome, admitted: false }, 20_000, 20_000 * DAY_MS);
        }
        let flags = peers.iter().filter(|audit| flagged(audit, 20_000)).count();
        late += u32::from(flags == 0);
        assert!(failures <= 10);
    }
    assert!(late < 10, "{late} of 1000 were flagged by nobody on the first day");
}

#[test]
fn a_flag_falls_with_time() {
    let mut audit = fresh(NodeId([1; 32]));
    for _ in 0..4 {
        book(&mut audit, Verdict { outcome: Outcome::Corrupt, admitted: false }, 50, 1);
    }
    assert!(flagged(&audit, 50));
    assert!(flagged(&audit, 51));
    assert!(!flagged(&audit, 52));
    assert!(!flagged(&audit, u64::MAX));
    // A clock that went back forgives nothing.
    book(&mut audit, Verdict { outcome: Outcome::Ok, admitted: false }, 3, 1);
    assert!(flagged(&audit, 50));
    assert_eq!((audit.corrupt, audit.ok), (4, 1));
}

fn any_place() -> impl Strategy<Value = Place> {
    (0u64..6, any::<[u8; 32]>()).prop_map(|(epoch, id)| Place { epoch, segment: SegmentId(id) })
}

proptest! {
    /// Whatever the clock does, a walk comes to its target in a few stretches, each of which leads
    /// on, and passes over no more than a period's ids twice.
    #[test]
    fn a_walk_comes_to_its_target(from in any_place(), target in any_place()) {
        let mut place = from;
        let mut stretches = 0;
        while let Some((begin, until)) = place.stretch(target) {
            prop_assert!(begin.epoch <= target.epoch && begin.epoch + 1 >= target.epoch);
            prop_assert!(begin >= place);
            let next = Place { epoch: begin.epoch, segment: until };
            prop_assert!(next > place || next == target);
            place = next;
            stretches += 1;
            prop_assert!(stretches <= 2);
        }
        prop_assert_eq!(place, from.max(target));
    }

    /// Ids are walked in the order of the clock.
    #[test]
    fn the_place_follows_the_clock(a in 0u64..1 << 45, b in 0u64..1 << 45, period in 1u64..1 << 40) {
        let (early, late) = (a.min(b), a.max(b));
        prop_assert!(Place::at(early, period) <= Place::at(late, period));
        prop_assert!(Place::at(early, period).behind(Place::at(late, period)) <= 1000);
        prop_assert_eq!(Place::at(late, period).epoch, late / period);
    }

    #[test]
    fn a_pass_is_due_whole_at_the_end_of_its_period(
        total in 0u64..1 << 50, started in 0u64..1 << 45, elapsed in 0u64..1 << 45, days in 1u64..365,
    ) {
        let period = Duration::from_millis(days * DAY_MS);
        let now = started + elapsed;
        let part = due(total, started, now, period);
        prop_assert!(part <= total);
        prop_assert!(part <= due(total, started, now + 1, period));
        prop_assert_eq!(due(total, started, started + days * DAY_MS, period), total);
        prop_assert_eq!(due(total, now + 1, now, period), 0);
    }
}
