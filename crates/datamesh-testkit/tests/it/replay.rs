//! The same seed gives the same run.

use std::env;
use std::fs;
use std::process::Command;
use std::time::Duration;

use datamesh_core::Hash;
use datamesh_testkit::sim::{self, NetFault, World};
use futures::future::join_all;
use tokio::time::sleep;

use crate::peers::{Echo, MINUTE, message, node};

const DIGEST_FILE: &str = "DATAMESH_TESTKIT_DIGEST";

/// Seven nodes that all call each other while everything goes wrong.
async fn storm(world: World) {
    let transports: Vec<_> =
        (0..7).map(|n| world.join(node(n), Echo::after(Duration::from_millis(3)))).collect();
    world.set_fault(
        node(1),
        NetFault { loss: 100, duplicate: 200, reset: 50, ..NetFault::default() },
    );
    world.set_fault(node(2), NetFault { delay: Duration::from_millis(700), ..NetFault::default() });
    let calls = transports.iter().enumerate().flat_map(|(from, transport)| {
        (0..100).map(move |round: usize| {
            let to = node(((from + round) % 7) as u8);
            async move {
                sleep(Duration::from_millis(round as u64 * 37)).await;
                transport.call(to, message("ping", round * 1000), Duration::from_secs(5)).await
            }
        })
    });
    let weather = async {
        sleep(Duration::from_millis(800)).await;
        world.partition(&[&[node(0), node(1)], &[node(2), node(3)]]);
        sleep(Duration::from_millis(900)).await;
        world.heal();
        world.kill(node(4));
        sleep(Duration::from_millis(400)).await;
        let again = world.revive(node(4), Echo::at_once());
        again.call(node(5), message("back", 10), MINUTE).await
    };
    let (results, back) = futures::join!(join_all(calls), weather);
    back.unwrap();
    let good = results.iter().filter(|result| result.is_ok()).count();
    world.note(format!("{good} of {} calls succeeded", results.len()));
    assert!(good > 100 && good < results.len(), "{good}");
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let digests: Vec<Hash> = (0..5).map(|seed| sim::assert_replays(seed, storm)).collect();
    for (seed, digest) in digests.iter().enumerate() {
        assert!(!digests[..seed].contains(digest), "seed {seed} gave an earlier run");
    }
}

#[test]
fn a_digest_is_written_where_it_is_asked_for() {
    let digest = sim::assert_replays(77, storm);
    if let Ok(file) = env::var(DIGEST_FILE) {
        fs::write(file, digest.to_string()).unwrap();
    }
}

#[test]
fn two_processes_give_the_same_run() {
    let folder = tempfile::tempdir().unwrap();
    let digests = ["one", "other"].map(|name| {
        let file = folder.path().join(name);
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", "replay::a_digest_is_written_where_it_is_asked_for"])
            .env(DIGEST_FILE, &file)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        fs::read_to_string(file).unwrap()
    });
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[0].len(), 64);
}

#[test]
fn the_digest_covers_contents_and_order() {
    let digest = |first: &'static str, second: &'static str| {
        sim::run(1, |world| async move {
            let caller = world.attach(node(1));
            world.join(node(2), Echo::at_once());
            for head in [first, second] {
                caller.call(node(2), message(head, 1), MINUTE).await.unwrap();
            }
            world.trace().digest()
        })
    };
    assert_eq!(digest("a", "b"), digest("a", "b"));
    assert_ne!(digest("a", "b"), digest("b", "a"));
    assert_ne!(digest("a", "b"), digest("a", "c"));
}

#[test]
fn a_scenario_that_asks_the_outside_is_found_out() {
    let mut round = 0;
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        sim::assert_replays(3, |world| {
            round += 1;
            let text = format!("round {round}");
            async move { world.note(text) }
        })
    }));
    let panic = outcome.unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("seed = 3: two runs differ"), "{text}");
    assert!(text.contains("round 1") && text.contains("round 2"), "{text}");
}
