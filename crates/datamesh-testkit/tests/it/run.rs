//! The runner: failures name their seed, hanging ends, virtual time costs nothing.

use std::env;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::Duration;

use datamesh_core::seam::random;
use datamesh_testkit::sim::{self, World};
use tokio::time::sleep;

use crate::peers::{Canned, MINUTE, message, node};

fn failure<F: Future<Output = ()>>(seed: u64, scenario: impl FnOnce(World) -> F) -> String {
    let panic = catch_unwind(AssertUnwindSafe(|| sim::run(seed, scenario))).unwrap_err();
    panic.downcast_ref::<String>().unwrap().clone()
}

#[test]
fn a_run_returns_what_its_scenario_returns() {
    assert_eq!(sim::run(5, |world| async move { world.seed() + 1 }), 6);
}

#[test]
fn a_failure_names_the_seed_and_the_reason() {
    let text = failure(41, |_| async { panic!("no {} here", "luck") });
    assert_eq!(text, "seed = 41: no luck here");
}

#[test]
fn a_panic_in_a_task_fails_the_run() {
    let text = failure(42, |world| async move {
        world.executor(node(1)).spawn(Box::pin(async {
            sleep(MINUTE).await;
            panic!("in a task");
        }));
        sleep(MINUTE * 2).await;
    });
    assert_eq!(text, "seed = 42: in a task");
}

#[test]
fn a_panic_in_a_service_fails_the_run() {
    struct Broken;
    impl datamesh_core::Service for Broken {
        fn serve(
            &self,
            _: datamesh_core::NodeId,
            _: datamesh_core::Message,
        ) -> datamesh_core::BoxFuture<'_, datamesh_core::Message> {
            Box::pin(async { panic!("in a service") })
        }
    }
    let text = failure(43, |world| async move {
        let caller = world.attach(node(1));
        world.join(node(2), std::sync::Arc::new(Broken));
        drop(caller.call(node(2), message("x", 0), MINUTE).await);
        sleep(MINUTE).await;
    });
    assert_eq!(text, "seed = 43: in a service");
}

#[test]
fn a_scenario_that_waits_for_nothing_is_ended() {
    let text = failure(44, |_| std::future::pending());
    assert!(text.starts_with("seed = 44: the scenario did not end within"), "{text}");
}

#[test]
fn years_pass_at_once() {
    let passed = sim::run_within(1, MINUTE * 60 * 24 * 900, |world| async move {
        for _ in 0..800 {
            sleep(MINUTE * 60 * 24).await;
        }
        world.elapsed()
    });
    assert_eq!(passed, MINUTE * 60 * 24 * 800);
}

#[test]
fn every_seed_of_a_range_is_run() {
    let seen = std::cell::RefCell::new(Vec::new());
    sim::run_seeds(3..6, |world| {
        seen.borrow_mut().push(world.seed());
        async {}
    });
    assert_eq!(*seen.borrow(), [3, 4, 5]);
}

const FAIL_VARIABLE: &str = "DATAMESH_TESTKIT_FAIL";

#[test]
fn a_run_fails_if_its_environment_says_so() {
    sim::run_seeds(0..2, |world| async move {
        world.note("before the failure");
        assert!(env::var_os(FAIL_VARIABLE).is_none(), "told to fail");
    });
}

#[test]
fn the_environment_chooses_the_seed_and_gets_the_trace_of_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "run::a_run_fails_if_its_environment_says_so"])
        .env(FAIL_VARIABLE, "1")
        .env("DATAMESH_SEED", "11")
        .env("DATAMESH_TRACE", &file)
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("seed = 11: told to fail"), "{text}");
    assert_eq!(fs::read_to_string(file).unwrap(), "         0 ms  before the failure\n");
}

#[test]
fn nothing_of_a_world_outlives_its_run() {
    let service = std::sync::Arc::new(Canned(None));
    let given = std::sync::Arc::clone(&service);
    sim::run(1, |world| async move {
        let caller = world.attach(node(1));
        world.join(node(2), given);
        // A task that holds the transport, which holds the world, which holds the task.
        world.executor(node(1)).spawn(Box::pin(async move {
            drop(caller.call(node(2), message("x", 0), MINUTE * 60).await);
        }));
        sleep(Duration::from_secs(1)).await;
    });
    assert_eq!(std::sync::Arc::strong_count(&service), 1);
}

#[test]
fn chance_depends_on_seed_and_node_alone() {
    let draw = |seed, others: u8, number| {
        sim::run(seed, |world| async move {
            for other in 100..100 + others {
                let _: [u8; 16] = random(&*world.entropy(node(other)));
            }
            random::<16>(&*world.entropy(node(number)))
        })
    };
    assert_eq!(draw(1, 0, 1), draw(1, 3, 1));
    assert_ne!(draw(1, 0, 1), draw(1, 0, 2));
    assert_ne!(draw(1, 0, 1), draw(2, 0, 1));
}

#[test]
fn chance_goes_on_after_a_revival() {
    sim::run(1, |world| async move {
        let before: [u8; 16] = random(&*world.entropy(node(1)));
        world.attach(node(1));
        world.kill(node(1));
        world.attach(node(1));
        let after: [u8; 16] = random(&*world.entropy(node(1)));
        assert_ne!(before, after, "a revived node must not draw its old keys and nonces");
    });
}

#[test]
fn clocks_follow_virtual_time_and_jump_alone() {
    sim::run(1, |world| async move {
        let (one, other) = (world.clock(node(1)), world.clock(node(2)));
        let begin = one.now();
        assert_eq!(begin, 1_767_225_600_000);
        sleep(MINUTE).await;
        assert_eq!(one.now(), begin + 60_000);
        world.jump_clock(node(1), -3_600_000);
        assert_eq!(one.now(), begin + 60_000 - 3_600_000);
        assert_eq!(other.now(), begin + 60_000);
        world.jump_clock(node(1), 7_200_000);
        sleep(MINUTE).await;
        assert_eq!(one.now(), begin + 120_000 + 3_600_000);
        world.jump_clock(node(1), i64::MIN);
        assert_eq!(one.now(), 0, "the clock stops at the beginning of time");
    });
}

#[test]
fn blocking_work_runs_inline() {
    sim::run(1, |world| async move {
        let (sender, mut receiver) = tokio::sync::oneshot::channel();
        world.executor(node(1)).block(Box::new(move || sender.send(9).unwrap()));
        assert_eq!(receiver.try_recv().unwrap(), 9);
    });
}
