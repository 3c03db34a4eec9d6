//! Nodes that die and come back.

use std::sync::Arc;
use std::time::Duration;

use datamesh_core::TransportError;
use datamesh_testkit::sim::{self, What};
use tokio::time::sleep;

use crate::peers::{Echo, MINUTE, message, node, steady};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_peer_that_dies_in_the_middle_closes_the_exchange() {
    sim::run(1, |world| async move {
        steady(&world);
        let caller = world.attach(node(1));
        let echo = Echo::after(MINUTE);
        world.join(node(2), echo.clone());
        let call = caller.call(node(2), message("x", 0), 10 * MINUTE);
        let death = async {
            sleep(Duration::from_secs(3)).await;
            world.kill(node(2));
        };
        let (result, ()) = futures::join!(call, death);
        assert!(matches!(result, Err(TransportError::Closed { .. })), "{result:?}");
        assert_eq!(world.elapsed(), Duration::from_secs(3) + 10 * MS);
        assert!(caller.connected().is_empty());
        sleep(2 * MINUTE).await;
        assert_eq!((echo.begun(), echo.done()), (1, 0), "its work died with it");
    });
}

#[test]
fn death_at_any_moment_of_an_exchange_ends_the_call() {
    sim::run(1, |world| async move {
        steady(&world);
        let caller = world.attach(node(1));
        let mut ends = [0; 3];
        for after in 0..90 {
            let echo = Echo::after(20 * MS);
            if world.trace().count_of(&What::Join) < 2 {
                world.join(node(2), echo);
            } else {
                world.revive(node(2), echo);
            }
            let call = caller.call(node(2), message("x", 0), MINUTE);
            let death = async {
                sleep(after * MS).await;
                world.kill(node(2));
            };
            match futures::join!(call, death).0 {
                Ok(_) => ends[0] += 1,
                Err(TransportError::Closed { .. }) => ends[1] += 1,
                Err(TransportError::Unreachable { .. }) => ends[2] += 1,
                Err(error) => panic!("dead after {after} ms: {error}"),
            }
        }
        assert!(ends.iter().all(|count| *count > 5), "{ends:?}");
    });
}

#[test]
fn a_dead_peer_is_refused_quickly_and_a_revived_one_is_dialled_anew() {
    sim::run(1, |world| async move {
        steady(&world);
        let caller = world.attach(node(1));
        world.join(node(2), Echo::at_once());
        let call = || caller.call(node(2), message("x", 0), MINUTE);
        call().await.unwrap();
        world.kill(node(2));
        assert!(!world.is_up(node(2)));
        let before = world.elapsed();
        let error = call().await.unwrap_err();
        assert!(matches!(error, TransportError::Unreachable { .. }), "{error}");
        assert_eq!(world.elapsed() - before, 20 * MS);
        world.revive(node(2), Echo::at_once());
        call().await.unwrap();
        assert_eq!(world.trace().count_of(&What::Dial), 3);
        assert_eq!(world.trace().count_of(&What::Revive), 1);
    });
}

#[test]
fn a_dead_node_calls_nobody() {
    sim::run(1, |world| async move {
        let caller = world.attach(node(1));
        world.join(node(2), Echo::after(MINUTE));
        let call = caller.call(node(2), message("x", 0), 10 * MINUTE);
        let death = async {
            sleep(Duration::from_secs(1)).await;
            world.kill(node(1));
        };
        let (result, ()) = futures::join!(call, death);
        assert_eq!(result, Err(TransportError::Shutdown));
        assert_eq!(world.elapsed(), Duration::from_secs(1));
        let later = caller.call(node(2), message("x", 0), MINUTE).await;
        assert_eq!(later, Err(TransportError::Shutdown));
        // Another life does not wake the old transport.
        let again = world.attach(node(1));
        let old = caller.call(node(2), message("x", 0), MINUTE).await;
        assert_eq!(old, Err(TransportError::Shutdown));
        assert!(caller.connected().is_empty());
        again.call(node(2), message("x", 0), 2 * MINUTE).await.unwrap();
    });
}

/// Says when it is dropped.
struct Held(Arc<()>);

#[test]
fn a_kill_drops_tasks_and_service_before_it_returns() {
    sim::run(1, |world| async move {
        let held = Arc::new(());
        for _ in 0..3 {
            let inside = Held(Arc::clone(&held));
            world.executor(node(1)).spawn(Box::pin(async move {
                sleep(60 * MINUTE).await;
                drop(inside.0);
            }));
        }
        // One that was never polled, and three that were.
        sleep(MS).await;
        let inside = Held(Arc::clone(&held));
        world.executor(node(1)).spawn(Box::pin(async move { drop(inside.0) }));
        let echo = Echo::at_once();
        world.join(node(1), echo.clone());
        assert_eq!(Arc::strong_count(&held), 5);
        assert_eq!(Arc::strong_count(&echo), 2);
        world.kill(node(1));
        assert_eq!(Arc::strong_count(&held), 1);
        assert_eq!(Arc::strong_count(&echo), 1);
    });
}

#[test]
fn a_task_may_kill_its_own_node() {
    sim::run(1, |world| async move {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let inside = world.clone();
        world.attach(node(1));
        world.executor(node(1)).spawn(Box::pin(async move {
            sleep(MINUTE).await;
            inside.kill(node(1));
            sleep(MINUTE).await;
            sender.send("alive").unwrap();
        }));
        assert!(receiver.await.is_err(), "it went on after its death");
        assert_eq!(world.elapsed(), MINUTE);
    });
}

#[test]
fn an_old_life_starts_nothing() {
    sim::run(1, |world| async move {
        let executor = world.executor(node(1));
        world.attach(node(1));
        world.kill(node(1));
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        executor.spawn(Box::pin(async move { sender.send(()).unwrap() }));
        assert!(receiver.await.is_err());
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        executor.block(Box::new(move || sender.send(()).unwrap()));
        assert!(receiver.await.is_err());
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        world.executor(node(1)).spawn(Box::pin(async move { sender.send(()).unwrap() }));
        receiver.await.unwrap();
    });
}

#[test]
#[should_panic(expected = "is up already")]
fn a_node_does_not_join_twice() {
    sim::run(1, |world| async move {
        world.attach(node(1));
        world.attach(node(1));
    });
}

#[test]
#[should_panic(expected = "never joined")]
fn who_never_lived_is_not_revived() {
    sim::run(1, |world| async move {
        world.revive(node(1), Echo::at_once());
    });
}
