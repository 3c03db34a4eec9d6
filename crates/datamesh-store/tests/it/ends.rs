//! Leases that end: every short life of a shard beside the rules.

use datamesh_store::{CollectionTerms, LeaseOutcome, ShardState};
use datamesh_testkit::FaultyDisk;

use crate::collection::{State, at, change, release, renewal};
use crate::sample::{MIB, Segment, grant, open, put_leased};

const DAY: u64 = 24 * 3600 * 1000;

/// A shard whose lease ends: the rules of ends in a few lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ends {
    state: State,
    epoch: u64,
    end: u64,
    released: bool,
}

/// All sequences of six steps with leases that end, each from a shard that was just stored.
#[test]
fn every_short_life_of_a_shard_whose_lease_ends_is_as_the_rules_say() {
    const TERMS: CollectionTerms =
        CollectionTerms { trash_ms: 7 * DAY, expired_ms: 9 * DAY, tombstone_ms: 400 * DAY };
    // A renewal's epoch and end, a release, eight days and a pass, the same and a new start.
    const STEPS: u32 = 7;
    let segment = Segment::small(1);
    let id = segment.id();
    for life in 0..STEPS.pow(6) {
        let disk = FaultyDisk::new(1, 2 * MIB);
        let mut store = open(disk.mount(), 64 << 10).unwrap();
        let mut power = store.collection(TERMS);
        let (mut now, mut since) = (DAY, 0);
        let first = 10 * DAY;
        put_leased(&store, &segment, 0, &grant(1, u64::MAX), (0, first)).unwrap();
        let mut rules = Ends { state: State::Live, epoch: 0, end: first, released: false };
        let mut rest = life;
        for _ in 0..6 {
            let step = rest % STEPS;
            rest /= STEPS;
            let here = matches!(rules.state, State::Live | State::Trash);
            match step {
                0..4 => {
                    let (epoch, end) = [(0, 20), (0, 30), (1, 15), (1, 40)][step as usize];
                    let end = end * DAY;
                    let outcome = change(&store, renewal(id, epoch, end), now);
                    let newer = epoch > rules.epoch
                        || epoch == rules.epoch && (rules.released || end > rules.end);
                    if epoch < rules.epoch && (here || rules.released) {
                        assert_eq!(outcome, LeaseOutcome::Behind { epoch: rules.epoch });
                    } else if newer && (here || rules.released) {
                        let state = if here { State::Live } else { State::Absent };
                        rules = Ends { state, epoch, end, released: false };
                    }
                }
                4 => {
                    change(&store, release(id, 1), now);
                    if here && rules.epoch < 1 {
                        if rules.state == State::Live {
                            since = now;
                        }
                        rules = Ends { state: State::Trash, epoch: 1, end: 0, released: true };
                    }
                }
                _ => {
                    now += 8 * DAY;
                    power.as_mut().unwrap().collect(&at(now)).unwrap();
                    let over = rules.released || rules.end + TERMS.expired_ms <= now;
                    match rules.state {
                        State::Live if over => (rules.state, since) = (State::Trash, now),
                        State::Trash if over && since + TERMS.trash_ms <= now => {
                            rules.state = State::Gone;
                        }
                        _ => {}
                    }
                    if step == 6 {
                        drop(power.take());
                        drop(store);
                        store = open(disk.mount(), 64 << 10).unwrap();
                        power = store.collection(TERMS);
                    }
                }
            }
            let state = match store.shard_state(id, 0) {
                Some(ShardState::Held) => State::Live,
                Some(ShardState::Trash) => State::Trash,
                None if rules.state == State::Absent => State::Absent,
                None => State::Gone,
                other => panic!("{other:?}"),
            };
            assert_eq!(state, rules.state, "life {life}, step {step}");
            if let Some(lease) = store.lease(id).filter(|_| here) {
                let seen = (lease.epoch, lease.released);
                assert_eq!(seen, (rules.epoch, rules.released), "life {life}, step {step}");
                assert!(rules.released || lease.expiry == rules.end, "life {life}, step {step}");
            }
        }
    }
}
