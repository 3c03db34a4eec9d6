//! Exchanges that nothing disturbs, and the bounds on them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datamesh_core::seam::{BODY_BYTES_MAX, HEAD_BYTES_MAX};
use datamesh_core::{Message, TransportError};
use datamesh_testkit::sim::{self, Limits, Link, What};
use futures::future::join_all;
use tokio::time::{sleep, timeout};

use crate::peers::{Canned, Echo, MINUTE, message, node, steady};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_call_dials_once_and_takes_the_way_there_and_back() {
    sim::run(1, |world| async move {
        steady(&world);
        let caller = world.attach(node(1));
        let callee = world.join(node(2), Echo::after(30 * MS));
        assert_eq!(caller.local(), node(1));
        assert!(caller.connected().is_empty());
        let reply = caller.call(node(2), message("hello", 9), MINUTE).await.unwrap();
        assert_eq!(reply, message("hello", 9));
        assert_eq!(world.elapsed(), 90 * MS, "two round trips to connect, one for the exchange");
        assert_eq!(caller.connected(), [node(2)]);
        assert_eq!(callee.connected(), [node(1)]);
        caller.call(node(2), message("again", 0), MINUTE).await.unwrap();
        assert_eq!(world.elapsed(), 140 * MS);
        assert_eq!(world.trace().count_of(&What::Dial), 1);
    });
}

#[test]
fn the_accepting_side_calls_over_the_same_connection() {
    sim::run(1, |world| async move {
        let one = world.join(node(1), Echo::at_once());
        let other = world.join(node(2), Echo::at_once());
        one.call(node(2), message("x", 0), MINUTE).await.unwrap();
        other.call(node(1), message("y", 0), MINUTE).await.unwrap();
        assert_eq!(world.trace().count_of(&What::Dial), 1);
    });
}

#[test]
fn bytes_take_time_and_share_a_link() {
    sim::run(1, |world| async move {
        let none = Duration::ZERO..=Duration::ZERO;
        world.set_links(Link { latency: none.clone(), bandwidth: 1_000_000_000_000 });
        let caller = world.attach(node(1));
        world.join(node(2), Arc::new(Canned(Some(Message::default()))));
        world.join(node(3), Arc::new(Canned(Some(Message::default()))));
        world.set_link(node(1), Link { latency: none, bandwidth: 1_000_000 });
        let call = |to| caller.call(node(to), message("", 1_000_000), MINUTE);
        call(2).await.unwrap();
        assert_eq!(world.elapsed().as_millis(), 1000);
        let (one, other) = futures::join!(call(2), call(3));
        one.unwrap();
        other.unwrap();
        assert_eq!(world.elapsed().as_millis(), 3000);
    });
}

#[test]
fn a_body_is_not_slowed_twice_by_equal_links() {
    sim::run(1, |world| async move {
        let none = Duration::ZERO..=Duration::ZERO;
        world.set_links(Link { latency: none, bandwidth: 1_000_000 });
        let caller = world.attach(node(1));
        world.join(node(2), Arc::new(Canned(Some(Message::default()))));
        caller.call(node(2), message("", 1_000_000), MINUTE).await.unwrap();
        assert_eq!(world.elapsed().as_millis(), 1000);
    });
}

#[test]
fn a_deadline_ends_the_call_and_not_the_service() {
    sim::run(1, |world| async move {
        steady(&world);
        let caller = world.attach(node(1));
        let echo = Echo::after(MINUTE);
        world.join(node(2), echo.clone());
        let deadline = Duration::from_secs(2);
        let error = caller.call(node(2), message("x", 0), deadline).await.unwrap_err();
        assert_eq!(error, TransportError::Timeout { peer: node(2), after: deadline });
        assert_eq!(world.elapsed(), deadline);
        assert_eq!((echo.begun(), echo.done()), (1, 0));
        sleep(MINUTE).await;
        assert_eq!(echo.done(), 1, "the peer acted on it");
    });
}

#[test]
fn a_deadline_of_zero_times_out() {
    sim::run(1, |world| async move {
        let caller = world.attach(node(1));
        world.join(node(2), Echo::at_once());
        let error = caller.call(node(2), message("x", 0), Duration::ZERO).await.unwrap_err();
        assert!(matches!(error, TransportError::Timeout { .. }));
    });
}

#[test]
fn a_service_that_takes_too_long_is_given_up_by_its_node() {
    sim::run(1, |world| async move {
        let caller = world.attach(node(1));
        world.join(node(2), Arc::new(Canned(None)));
        let error = caller.call(node(2), message("x", 0), 60 * MINUTE).await.unwrap_err();
        assert!(matches!(error, TransportError::Closed { .. }), "{error}");
        assert_eq!(world.elapsed().as_secs(), 120);
        assert_eq!(caller.connected(), [node(2)], "only the exchange ended");
    });
}

#[test]
fn messages_above_their_bounds_are_refused() {
    sim::run(1, |world| async move {
        let caller = world.attach(node(1));
        let echo = Echo::at_once();
        world.join(node(2), echo.clone());
        let head = |length| Message { head: vec![0; length].into(), body: Bytes::new() };
        let body = |length| Message { head: Bytes::new(), body: vec![0; length].into() };
        for largest in [head(HEAD_BYTES_MAX), body(BODY_BYTES_MAX)] {
            caller.call(node(2), largest, MINUTE).await.unwrap();
        }
        for (request, length, bound) in [
            (head(HEAD_BYTES_MAX + 1), HEAD_BYTES_MAX + 1, HEAD_BYTES_MAX),
            (body(BODY_BYTES_MAX + 1), BODY_BYTES_MAX + 1, BODY_BYTES_MAX),
        ] {
            let expected = TransportError::TooLarge { peer: node(2), length, bound };
            assert_eq!(caller.call(node(2), request.clone(), MINUTE).await, Err(expected.clone()));
            world.serve(node(2), Arc::new(Canned(Some(request))));
            assert_eq!(caller.call(node(2), message("x", 0), MINUTE).await, Err(expected));
        }
        assert_eq!(echo.begun(), 2);
    });
}

#[test]
fn a_service_gets_so_many_exchanges_at_once_and_the_rest_in_order() {
    sim::run(1, |world| async move {
        world.set_limits(Limits { exchanges_served_max: 3, ..Limits::default() });
        let echo = Echo::after(Duration::from_secs(1));
        world.join(node(9), echo.clone());
        let callers: Vec<_> = (0..4).map(|n| world.attach(node(n))).collect();
        let calls = (0..20).map(|n| callers[n % 4].call(node(9), message("x", 0), MINUTE));
        let results = join_all(calls).await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        assert_eq!(echo.most_at_once.load(std::sync::atomic::Ordering::Relaxed), 3);
        assert_eq!(world.elapsed().as_secs(), 7);
    });
}

#[test]
fn a_caller_has_bounds_for_each_peer() {
    sim::run(1, |world| async move {
        world.set_limits(Limits {
            peer_exchanges_max: 2,
            peer_exchanges_waiting_max: 3,
            ..Limits::default()
        });
        let echo = Echo::after(Duration::from_secs(1));
        let caller = world.attach(node(1));
        world.join(node(2), echo.clone());
        world.join(node(3), Echo::at_once());
        let call = || caller.call(node(2), message("x", 0), MINUTE);
        let (results, other) = futures::join!(
            join_all((0..8).map(|_| call())),
            caller.call(node(3), message("y", 0), MINUTE)
        );
        other.unwrap();
        let busy = Err(TransportError::Busy { peer: node(2) });
        assert_eq!(results.iter().filter(|result| **result == busy).count(), 3);
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 5);
        assert_eq!(echo.most_at_once.load(std::sync::atomic::Ordering::Relaxed), 2);
        call().await.unwrap();
    });
}

#[test]
fn a_dropped_call_is_cancelled() {
    sim::run(1, |world| async move {
        steady(&world);
        let caller = world.attach(node(1));
        let echo = Echo::at_once();
        world.join(node(2), echo.clone());
        caller.call(node(2), message("connect", 0), MINUTE).await.unwrap();
        // Given up while the request is under way: the peer never gets it.
        let call = caller.call(node(2), message("x", 0), MINUTE);
        assert!(timeout(5 * MS, call).await.is_err());
        sleep(MINUTE).await;
        assert_eq!(echo.begun(), 1);
        assert_eq!(world.trace().count_of(&What::Cancel), 1);
        caller.call(node(2), message("y", 0), MINUTE).await.unwrap();
    });
}

#[test]
fn a_dropped_call_gives_its_place_back() {
    sim::run(1, |world| async move {
        world.set_limits(Limits { peer_exchanges_max: 1, ..Limits::default() });
        let caller = world.attach(node(1));
        world.join(node(2), Echo::after(MINUTE));
        assert!(timeout(MS * 500, caller.call(node(2), message("x", 0), MINUTE)).await.is_err());
        caller.call(node(2), message("y", 0), MINUTE * 2).await.unwrap();
    });
}

#[test]
fn a_node_without_service_answers_nothing_until_it_has_one() {
    sim::run(1, |world| async move {
        let caller = world.attach(node(1));
        world.attach(node(2));
        let error = caller.call(node(2), message("x", 0), MINUTE).await.unwrap_err();
        assert!(matches!(error, TransportError::Closed { .. }), "{error}");
        world.serve(node(2), Echo::at_once());
        caller.call(node(2), message("x", 0), MINUTE).await.unwrap();
    });
}

#[test]
fn unknown_peers_and_oneself_are_unreachable_at_once() {
    sim::run(1, |world| async move {
        let caller = world.join(node(1), Echo::at_once());
        for peer in [node(1), node(77)] {
            let error = caller.call(peer, message("x", 0), MINUTE).await.unwrap_err();
            assert!(matches!(error, TransportError::Unreachable { .. }), "{error}");
        }
        assert_eq!(world.elapsed(), Duration::ZERO);
    });
}

#[test]
fn addresses_may_be_needed() {
    sim::run(1, |world| async move {
        world.set_addresses_needed(true);
        let caller = world.join(node(1), Echo::at_once());
        let callee = world.join(node(2), Echo::at_once());
        let call = || caller.call(node(2), message("x", 0), MINUTE);
        assert!(matches!(call().await, Err(TransportError::Unreachable { .. })));
        caller.learn(node(2), &["/ip4/10.9.9.9/tcp/1".to_owned()]);
        assert!(matches!(call().await, Err(TransportError::Unreachable { .. })));
        caller.learn(node(2), &[world.address(node(2))]);
        call().await.unwrap();
        // Whoever was dialled needs no address to answer with a call of its own.
        callee.call(node(1), message("x", 0), MINUTE).await.unwrap();
    });
}

#[test]
fn calls_to_one_peer_finish_in_any_order() {
    let orders: std::collections::BTreeSet<Vec<usize>> = (0..8)
        .map(|seed| {
            sim::run(seed, |world| async move {
                let caller = world.attach(node(1));
                world.join(node(2), Echo::at_once());
                caller.call(node(2), message("connect", 0), MINUTE).await.unwrap();
                let order = std::cell::RefCell::new(Vec::new());
                join_all((0..6).map(|n| {
                    let (caller, order) = (&caller, &order);
                    async move {
                        caller.call(node(2), message("x", 0), MINUTE).await.unwrap();
                        order.borrow_mut().push(n);
                    }
                }))
                .await;
                order.into_inner()
            })
        })
        .collect();
    assert!(orders.len() > 4, "{orders:?}");
}
