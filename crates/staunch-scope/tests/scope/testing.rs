//! The test helper itself: what it lets pass, and what it names.

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use staunch_ledger::{Kind, Ledger, Obligation};
use staunch_scope::{
    BoxError, Context, scope, sleep,
    testing::{self, Runner, cancel_at_every_await},
};

/// A runner that does not wait long for what never ends.
fn hasty() -> Runner {
    Runner::current_thread().settle_within(Duration::from_millis(20))
}

/// What a test run by the helper panics with.
fn panic_of<T: std::fmt::Debug>(run: impl FnOnce() -> T) -> String {
    let payload = catch_unwind(AssertUnwindSafe(run)).expect_err("the run should have panicked");
    match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => payload.downcast_ref::<&str>().expect("a message").to_string(),
    }
}

#[test]
fn a_value_is_returned_when_nothing_is_left() {
    assert_eq!(testing::run(async { 42 }), 42);
    assert_eq!(Runner::multi_thread(2).run(async { 42 }), 42);
}

#[staunch::test]
async fn the_test_runs_on_a_ledger_of_its_own_with_its_children() -> Result<(), BoxError> {
    let ledger = Ledger::current();
    assert!(ledger != Ledger::global());
    let child = scope(&Context::current(), |s| async move {
        s.fork(async { Ok::<_, BoxError>(Ledger::current()) }).join().await.map_err(Into::into)
    });
    assert!(child.await? == ledger);
    Ok(())
}

/// What `#[staunch::test]` makes of a test.
#[test]
fn a_finding_says_why_and_what_to_change() {
    let message = panic_of(|| {
        hasty().explained_by(staunch::testing::findings).run(async {
            let request = Ledger::current().open(Kind::REQUEST, Obligation::EndsWithParent);
            let body = request.child(Kind::BODY, Obligation::EndsWithParent);
            Box::leak(Box::new(body));
        });
    });
    let line = line!() - 4;
    for expected in [
        "1 thing is left:\n  body born at",
        "\nleak: 1 of 1 live bodies have outlived their owner",
        &format!("\n  born   {}:{line}\n", file!()),
        "\n  why    whoever the body belonged to has ended",
        "\n  fix    end or drop it",
    ] {
        assert!(message.contains(expected), "no `{expected}` in {message}");
    }
}

#[test]
fn a_leftover_is_named_with_kind_line_label_and_the_value_is_shown() {
    let message = panic_of(|| {
        hasty().run(async {
            let account =
                Ledger::current().open(Kind::FILE, Obligation::Perpetual("reference data"));
            account.label("/etc/services");
            Box::leak(Box::new(account));
            Err::<(), _>("not found")
        })
    });
    let line = line!() - 6;
    assert!(message.starts_with("1 thing is left:\n  file born at "), "{message}");
    assert!(message.contains(&format!("{}:{line}:", file!())), "{message}");
    assert!(message.contains(", open, /etc/services, perpetual: reference data"), "{message}");
    assert!(message.ends_with("The test itself returned Err(\"not found\")."), "{message}");
}

#[test]
fn a_task_that_no_scope_owns_is_found() {
    let message = panic_of(|| {
        hasty().run(async {
            #[expect(clippy::disallowed_methods, reason = "this is what must be found")]
            tokio::spawn(std::future::pending::<()>());
        });
    });
    assert!(message.contains("1 task(s) left on the runtime that no scope owns"), "{message}");
}

#[test]
fn the_tests_own_panic_wins() {
    let message = panic_of(|| {
        hasty().run(async {
            Box::leak(Box::new(Ledger::current().open(Kind::FILE, Obligation::EndsWithParent)));
            panic!("the assertion that failed");
        });
    });
    assert_eq!(message, "the assertion that failed");
}

#[staunch::test]
#[should_panic = "the assertion that failed"]
async fn should_panic_passes_through() {
    panic!("the assertion that failed");
}

#[staunch::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_soon_after_the_test_is_waited_for() {
    let account = Ledger::current().open(Kind::FILE, Obligation::EndsWithParent);
    let thread = std::thread::Builder::new().spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        drop(account);
    });
    drop(thread);
}

#[staunch::test(start_paused = true)]
async fn a_dropped_scope_is_waited_for_in_paused_time() {
    let work = scope(&Context::current(), |s| async move {
        s.spawn(async {
            tokio::time::sleep(Duration::from_hours(1)).await; // does not hear that it is asked
            Ok::<_, BoxError>(())
        });
        Ok(())
    });
    let _ = staunch_scope::timeout(Duration::from_secs(1), work).await;
}

#[staunch::test(start_paused = true)]
async fn awaits_are_counted_and_each_is_dropped_at() {
    let second = Duration::from_secs(1);
    let dropped_at = RefCell::new(Vec::new());
    let awaits = cancel_at_every_await(|| {
        let mut reached = Reached(&dropped_at, 0);
        async move {
            let reached = &mut reached; // the whole of it, with its destructor
            for _ in 0..3 {
                reached.1 += 1;
                let _ = sleep(second).await;
            }
        }
    });
    assert_eq!(awaits.await, 3);
    assert_eq!(dropped_at.into_inner(), [3, 0, 1, 2, 3]);
}

/// Tells how far a future came before it was dropped.
struct Reached<'a>(&'a RefCell<Vec<u32>>, u32);

impl Drop for Reached<'_> {
    fn drop(&mut self) {
        self.0.borrow_mut().push(self.1);
    }
}

#[test]
fn a_future_that_leaves_something_at_one_await_is_caught() {
    let message = panic_of(|| {
        Runner::paused().run(async {
            let awaits = cancel_at_every_await(|| async {
                let _ = sleep(Duration::from_secs(1)).await;
                let opened = Ledger::current().open(Kind::LEASE, Obligation::EndsWithParent);
                let lease = std::mem::ManuallyDrop::new(opened);
                let _ = sleep(Duration::from_secs(1)).await; // leaks when dropped here
                drop(std::mem::ManuallyDrop::into_inner(lease));
            });
            awaits.await
        })
    });
    assert!(
        message.starts_with("dropped after poll 2 of 2: 1 thing is left:\n  lease born at"),
        "{message}"
    );
}
