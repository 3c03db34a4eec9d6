//! Partitions, loss, delay, duplicates, resets, stalls.

use std::time::Duration;

use datamesh_core::TransportError;
use datamesh_testkit::sim::{self, Limits, NetFault, What};
use futures::future::join_all;
use tokio::time::sleep;

use crate::peers::{Echo, MINUTE, message, node, steady};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_partition_parts_groups_and_heals() {
    sim::run(1, |world| async move {
        let transports: Vec<_> = (0..6).map(|n| world.join(node(n), Echo::at_once())).collect();
        world.partition(&[&[node(0), node(1)], &[node(2), node(3)]]);
        let call = |from: usize, to: u8| transports[from].call(node(to), message("x", 0), MINUTE);
        // 4 and 5 are in no group, which is a group as well.
        let group = |n: usize| n / 2;
        for from in 0..6 {
            for to in (0..6).filter(|to| *to != from) {
                let result = call(from, to as u8).await;
                if group(from) == group(to) {
                    result.unwrap();
                } else {
                    let error = result.unwrap_err();
                    assert!(matches!(error, TransportError::Unreachable { .. }), "{error}");
                }
            }
        }
        world.heal();
        for from in 0..6 {
            for to in (0..6).filter(|to| *to != from) {
                call(from, to as u8).await.unwrap();
            }
        }
    });
}

#[test]
fn dialling_across_a_partition_takes_until_the_dial_is_given_up() {
    sim::run(1, |world| async move {
        let caller = world.attach(node(1));
        world.join(node(2), Echo::at_once());
        world.partition(&[&[node(1)]]);
        let error = caller.call(node(2), message("x", 0), MINUTE).await.unwrap_err();
        assert!(matches!(error, TransportError::Unreachable { .. }), "{error}");
        assert_eq!(world.elapsed(), 10 * SECOND);
        let error = caller.call(node(2), message("x", 0), SECOND).await.unwrap_err();
        assert!(matches!(error, TransportError::Timeout { .. }), "{error}");
    });
}

#[test]
fn a_short_partition_only_delays_what_is_under_way() {
    sim::run(1, |world| async move {
        steady(&world);
        let caller = world.attach(node(1));
        let echo = Echo::at_once();
        world.join(node(2), echo.clone());
        caller.call(node(2), message("connect", 0), MINUTE).await.unwrap();
        let call = caller.call(node(2), message("x", 0), MINUTE);
        let weather = async {
            sleep(5 * MS).await;
            world.partition(&[&[node(1)], &[node(2)]]);
            sleep(20 * SECOND).await;
            assert_eq!(echo.begun(), 1, "nothing passes a partition");
            world.heal();
        };
        let (result, ()) = futures::join!(call, weather);
        result.unwrap();
        assert_eq!(echo.begun(), 2);
        assert_eq!(world.trace().count_of(&What::Dial), 1);
    });
}

#[test]
fn a_long_partition_closes_the_connection_on_both_sides() {
    sim::run(1, |world| async move {
        steady(&world);
        let caller = world.attach(node(1));
        let callee = world.join(node(2), Echo::at_once());
        caller.call(node(2), message("connect", 0), MINUTE).await.unwrap();
        let before = world.elapsed();
        world.partition(&[&[node(1)], &[node(2)]]);
        let error = caller.call(node(2), message("x", 0), 10 * MINUTE).await.unwrap_err();
        assert!(matches!(error, TransportError::Closed { .. }), "{error}");
        assert_eq!(world.elapsed() - before, 40 * SECOND);
        assert!(caller.connected().is_empty() && callee.connected().is_empty());
        world.heal();
        caller.call(node(2), message("x", 0), MINUTE).await.unwrap();
    });
}

#[test]
fn a_partition_that_healed_leaves_the_connection_alone() {
    sim::run(1, |world| async move {
        let caller = world.attach(node(1));
        world.join(node(2), Echo::at_once());
        caller.call(node(2), message("connect", 0), MINUTE).await.unwrap();
        for _ in 0..3 {
            world.partition(&[&[node(1)]]);
            sleep(30 * SECOND).await;
            world.heal();
        }
        sleep(10 * MINUTE).await;
        assert_eq!(caller.connected(), [node(2)]);
    });
}

#[test]
fn death_behind_a_partition_is_not_heard_of() {
    sim::run(1, |world| async move {
        steady(&world);
        let caller = world.attach(node(1));
        world.join(node(2), Echo::after(MINUTE));
        let call = caller.call(node(2), message("x", 0), 10 * MINUTE);
        let weather = async {
            sleep(SECOND).await;
            world.partition(&[&[node(1)]]);
            sleep(SECOND).await;
            world.kill(node(2));
        };
        let (result, ()) = futures::join!(call, weather);
        assert!(matches!(result, Err(TransportError::Closed { .. })), "{result:?}");
        assert_eq!(world.elapsed(), 41 * SECOND, "the pings told it, not the peer");
    });
}

#[test]
fn a_one_way_cut_lets_the_peer_act_and_not_answer() {
    sim::run(1, |world| async move {
        steady(&world);
        let caller = world.attach(node(1));
        let echo = Echo::at_once();
        world.join(node(2), echo.clone());
        caller.call(node(2), message("connect", 0), MINUTE).await.unwrap();
        world.cut(node(2), node(1));
        let error = caller.call(node(2), message("x", 0), 5 * SECOND).await.unwrap_err();
        assert!(matches!(error, TransportError::Timeout { .. }), "{error}");
        assert_eq!(echo.done(), 2, "the request arrived");
        world.mend(node(2), node(1));
        caller.call(node(2), message("x", 0), SECOND).await.unwrap();
        world.cut(node(1), node(2));
        let error = caller.call(node(2), message("x", 0), 5 * SECOND).await.unwrap_err();
        assert!(matches!(error, TransportError::Timeout { .. }), "{error}");
        assert_eq!(echo.done(), 3, "the request did not arrive");
    });
}

#[test]
fn a_lost_message_is_a_timeout_at_the_deadline() {
    sim::run(1, |world| async move {
        steady(&world);
        let caller = world.attach(node(1));
        let echo = Echo::at_once();
        world.join(node(2), echo.clone());
        caller.call(node(2), message("connect", 0), MINUTE).await.unwrap();
        world.set_fault(node(2), NetFault { loss: 1000, ..NetFault::default() });
        let before = world.elapsed();
        let error = caller.call(node(2), message("x", 0), 7 * SECOND).await.unwrap_err();
        assert_eq!(error, TransportError::Timeout { peer: node(2), after: 7 * SECOND });
        assert_eq!(world.elapsed() - before, 7 * SECOND);
        assert_eq!(echo.begun(), 1);
        assert_eq!(world.trace().count_of(&What::Lose), 1);
        world.set_fault(node(2), NetFault::default());
        caller.call(node(2), message("x", 0), MINUTE).await.unwrap();
    });
}

#[test]
fn loss_strikes_with_its_chance() {
    sim::run(1, |world| async move {
        world.set_limits(Limits { peer_exchanges_max: 1000, ..Limits::default() });
        let caller = world.attach(node(1));
        let echo = Echo::at_once();
        world.join(node(2), echo.clone());
        caller.call(node(2), message("connect", 0), MINUTE).await.unwrap();
        world.set_fault(node(2), NetFault { loss: 100, ..NetFault::default() });
        let calls = (0..1000).map(|_| caller.call(node(2), message("x", 0), 60 * MINUTE));
        let results = join_all(calls).await;
        let good = results.iter().filter(|result| result.is_ok()).count();
        // 0.9 for the request, 0.9 for the reply.
        assert!((760..860).contains(&good), "{good}");
        let served = echo.done() - 1;
        assert!((860..940).contains(&served), "{served}");
    });
}

#[test]
fn a_duplicate_is_served_twice_and_answered_once() {
    sim::run(1, |world| async move {
        let caller = world.attach(node(1));
        let echo = Echo::at_once();
        world.join(node(2), echo.clone());
        world.set_fault(node(2), NetFault { duplicate: 1000, ..NetFault::default() });
        caller.call(node(2), message("x", 0), MINUTE).await.unwrap();
        sleep(MINUTE).await;
        assert_eq!(echo.done(), 2);
        assert_eq!(world.trace().count_of(&What::Serve), 1);
        assert_eq!(world.trace().count_of(&What::ServeAgain), 1);
        assert_eq!(world.trace().count_of(&What::Finish), 1);
    });
}

#[test]
fn delays_change_the_order() {
    let order = |seed, delay| {
        sim::run(seed, |world| async move {
            steady(&world);
            let caller = world.attach(node(1));
            world.join(node(2), Echo::at_once());
            caller.call(node(2), message("connect", 0), MINUTE).await.unwrap();
            world.set_fault(node(2), NetFault { delay, ..NetFault::default() });
            let done = std::cell::RefCell::new(Vec::new());
            join_all((0..10).map(|n| {
                let (caller, done) = (&caller, &done);
                async move {
                    sleep(n * MS).await;
                    caller.call(node(2), message("x", 0), MINUTE).await.unwrap();
                    done.borrow_mut().push(n);
                }
            }))
            .await;
            done.into_inner()
        })
    };
    let in_order: Vec<u32> = (0..10).collect();
    assert_eq!(order(1, Duration::ZERO), in_order);
    assert_ne!(order(1, SECOND), in_order);
    assert_ne!(order(1, SECOND), order(2, SECOND));
}

#[test]
fn a_reset_breaks_every_exchange_of_the_pair() {
    sim::run(1, |world| async move {
        steady(&world);
        let caller = world.attach(node(1));
        let echo = Echo::after(MINUTE);
        world.join(node(2), echo.clone());
        world.join(node(3), Echo::after(MINUTE));
        let long = caller.call(node(2), message("long", 0), 10 * MINUTE);
        let other = caller.call(node(3), message("other", 0), 10 * MINUTE);
        let breaking = async {
            sleep(SECOND).await;
            world.set_fault(node(2), NetFault { reset: 1000, ..NetFault::default() });
            caller.call(node(2), message("x", 0), MINUTE).await
        };
        let (long, other, breaking) = futures::join!(long, other, breaking);
        assert!(matches!(long, Err(TransportError::Closed { .. })), "{long:?}");
        assert!(matches!(breaking, Err(TransportError::Closed { .. })), "{breaking:?}");
        other.unwrap();
        assert_eq!(echo.begun(), 1, "the request that broke the connection is not served");
    });
}

#[test]
fn a_stall_holds_everything_and_keeps_connections() {
    sim::run(1, |world| async move {
        steady(&world);
        let caller = world.attach(node(1));
        let echo = Echo::at_once();
        world.join(node(2), echo.clone());
        caller.call(node(2), message("connect", 0), MINUTE).await.unwrap();
        world.set_fault(node(2), NetFault { stall: true, ..NetFault::default() });
        let error = caller.call(node(2), message("x", 0), 5 * MINUTE).await.unwrap_err();
        assert!(matches!(error, TransportError::Timeout { .. }), "{error}");
        assert_eq!(caller.connected(), [node(2)]);
        let call = caller.call(node(2), message("x", 0), MINUTE);
        let end = async {
            sleep(3 * SECOND).await;
            world.set_fault(node(2), NetFault::default());
        };
        futures::join!(call, end).0.unwrap();
        assert_eq!(echo.begun(), 2);
    });
}

#[test]
fn after_the_storm_everybody_reaches_everybody() {
    sim::run_seeds(0..40, |world| async move {
        let mut transports: Vec<_> =
            (0..5).map(|n| world.join(node(n), Echo::after(20 * MS))).collect();
        for _ in 0..60 {
            let one = world.draw(5) as u8;
            let other = (one + 1 + world.draw(4) as u8) % 5;
            match world.draw(8) {
                0 => world.partition(&[&[node(one), node(other)]]),
                1 => world.cut(node(one), node(other)),
                2 => world.heal(),
                3 if world.is_up(node(one)) => world.kill(node(one)),
                3 => transports[usize::from(one)] = world.revive(node(one), Echo::after(20 * MS)),
                4 => {
                    let [loss, duplicate, reset] = [200; 3].map(|most| world.draw(most) as u32);
                    let delay = world.draw(5) as u32 * SECOND;
                    let stall = world.draw(4) == 0;
                    let fault = NetFault { loss, duplicate, reset, delay, stall };
                    world.set_fault(node(one), fault);
                }
                _ => {
                    let transport = transports[usize::from(one)].clone();
                    let deadline = world.draw(20_000) as u32 * MS;
                    let executor = world.executor(node(one));
                    executor.spawn(Box::pin(async move {
                        let request = message("x", 1 << 20);
                        let result = transport.call(node(other), request.clone(), deadline).await;
                        if let Ok(reply) = result {
                            assert_eq!(reply, request);
                        }
                    }));
                    sleep(world.draw(8000) as u32 * MS).await;
                }
            }
        }
        world.heal();
        for n in 0..5 {
            world.set_fault(node(n), NetFault::default());
            if !world.is_up(node(n)) {
                transports[usize::from(n)] = world.revive(node(n), Echo::at_once());
            }
        }
        // The last resets and closings get around.
        sleep(MINUTE).await;
        for transport in &transports {
            for to in (0..5).map(node).filter(|to| *to != transport.local()) {
                transport.call(to, message("y", 9), SECOND).await.unwrap();
            }
        }
    });
}
