//! Who may begin.

use std::time::Duration;

use staunch::Ledger;
use staunch_guard::{GradientOptions, Guard, Level, Priority, Refused, Why};

use crate::support::{Memory, until, with_guard};

fn why(admitted: Result<staunch_guard::Admission, Refused>) -> Option<Why> {
    admitted.err().map(|refused| refused.why)
}

#[staunch::test(start_paused = true)]
async fn the_least_is_shed_first_and_the_critical_never() {
    let memory = Memory::default();
    with_guard(memory.options(), async |guard, _| {
        use Priority::{Critical, High, Low, Normal};
        let check = |refused: &[Priority], streams: &[Priority]| {
            for priority in [Low, Normal, High, Critical] {
                let level = refused.contains(&priority).then_some(Why::Level);
                assert_eq!(why(guard.admit(priority)), level, "{priority}");
                let stream = streams.contains(&priority).then_some(Why::Stream);
                assert_eq!(why(guard.admit_stream(priority)), level.or(stream), "{priority}");
            }
        };
        for (bytes, level, refused, streams) in [
            (0, Level::Normal, &[][..], &[][..]),
            (80, Level::Warn, &[], &[]),
            (90, Level::Shed, &[Low], &[Low, Normal, High]),
            (95, Level::Refuse, &[Low, Normal, High], &[Low, Normal, High]),
            (0, Level::Normal, &[], &[]),
        ] {
            memory.set(bytes);
            until(&guard, level).await;
            check(refused, streams);
        }
        let refused = guard.status().refused;
        let count = |priority, why| {
            refused.iter().find(|(p, w, _)| (*p, *w) == (priority, why)).map(|(.., count)| *count)
        };
        assert_eq!(count(Low, Why::Level), Some(4));
        assert_eq!(count(High, Why::Level), Some(2));
        assert_eq!(count(High, Why::Stream), Some(1));
        assert_eq!(count(Critical, Why::Level), Some(0));
        assert_eq!(guard.status().refused_total(), 10);
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn a_refusal_says_why_and_when_to_try_again() {
    let memory = Memory::default();
    memory.set(95);
    let mut options = memory.options();
    options.retry_after = Duration::from_secs(3);
    with_guard(options, async |guard, _| {
        let refused = guard.admit(Priority::Normal).unwrap_err();
        let text = "refused: requests of this priority are shed (level refuse); try again in 3s";
        assert_eq!(refused.to_string(), text);
    })
    .await;
}

/// No look comes between: all that is admitted must fit, at its full size, below the mark.
#[staunch::test(start_paused = true)]
async fn a_burst_between_two_looks_finds_room_below_the_mark_or_is_refused() {
    let memory = Memory::default();
    memory.set(20);
    let mut options = memory.options();
    options.request_bytes = 10;
    with_guard(options, async |guard, _| {
        let mut burst: Vec<_> = (0..7).map(|_| guard.admit(Priority::High).unwrap()).collect();
        assert_eq!(why(guard.admit(Priority::High)), Some(Why::Room));
        burst.push(guard.admit(Priority::Critical).unwrap());
        assert_eq!(guard.status().in_flight, 8);
        burst.truncate(6); // one that has ended takes nothing any more
        assert!(guard.admit(Priority::High).is_ok());
        memory.set(80); // they have taken it
        until(&guard, Level::Warn).await;
        assert_eq!(why(guard.admit(Priority::High)), Some(Why::Room), "perhaps not all of it yet");
        tokio::time::sleep(Duration::from_millis(60)).await; // a look
        let one = guard.admit(Priority::High);
        assert!(one.is_ok() && why(guard.admit(Priority::High)) == Some(Why::Room));
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn beyond_the_limit_of_concurrency_nobody_waits() {
    let memory = Memory::default();
    let mut options = memory.options();
    options.concurrency = Some(GradientOptions { initial: 8, min: 2, ..Default::default() });
    with_guard(options, async |guard, _| {
        assert_eq!(guard.status().concurrency_limit, Some(8));
        let mut held: Vec<_> = (0..6).map(|_| guard.admit(Priority::Low).unwrap()).collect();
        assert_eq!(why(guard.admit(Priority::Low)), Some(Why::Concurrency), "three quarters");
        held.push(guard.admit(Priority::Normal).unwrap());
        held.push(guard.admit(Priority::High).unwrap());
        assert_eq!(why(guard.admit(Priority::High)), Some(Why::Concurrency));
        held.push(guard.admit(Priority::Critical).unwrap());
        assert_eq!(guard.status().in_flight, 9);
        drop(held);
        assert_eq!(guard.status().in_flight, 0);
        learn(&guard, 2000).await;
        let grown = guard.status().concurrency_limit.unwrap();
        assert!(grown > 12, "{grown}");
        memory.set(91);
        until(&guard, Level::Shed).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(guard.status().concurrency_limit, Some(2), "lowered, look after look");
    })
    .await;
}

/// As many answers, 10 ms each, as many at a time as may be.
async fn learn(guard: &Guard, answers: usize) {
    let mut made = 0;
    while made < answers {
        let admitted = std::iter::from_fn(|| guard.admit(Priority::Normal).ok());
        let mut admitted: Vec<_> = admitted.collect();
        tokio::time::sleep(Duration::from_millis(10)).await;
        admitted.iter_mut().for_each(staunch_guard::Admission::answered);
        made += admitted.len();
    }
}

/// Whoever could be answered may be kept out by it.
#[staunch::test(start_paused = true)]
async fn a_probe_ends_by_itself() {
    let mut options = Memory::default().options();
    options.concurrency = Some(GradientOptions { initial: 8, min: 2, ..Default::default() });
    with_guard(options, async |guard, _| {
        let limit = || guard.status().concurrency_limit.unwrap();
        for _ in 0..100 {
            if limit() > 2 {
                learn(&guard, 1).await;
            }
        }
        assert_eq!(limit(), 2, "it is measured what an answer takes");
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(limit() >= 8, "{}", limit());
    })
    .await;
}

/// What its client gave up says nothing of how long an answer takes.
#[staunch::test(start_paused = true)]
async fn what_was_not_answered_teaches_nothing() {
    let memory = Memory::default();
    let mut options = memory.options();
    options.concurrency = Some(GradientOptions { initial: 8, min: 2, ..Default::default() });
    with_guard(options, async |guard, _| {
        for _ in 0..200 {
            let all = std::iter::from_fn(|| guard.admit(Priority::Normal).ok());
            let all: Vec<_> = all.collect();
            tokio::time::sleep(Duration::from_millis(10)).await;
            drop(all);
        }
        assert_eq!(guard.status().concurrency_limit, Some(8));
    })
    .await;
}

#[staunch::test(start_paused = true)]
async fn an_admission_is_on_the_ledger_with_the_line_that_asked() {
    let memory = Memory::default();
    with_guard(memory.options(), async |guard, _| {
        let line = line!() + 1;
        let admission = guard.admit(Priority::Normal).unwrap();
        let leases = || {
            let snapshot = Ledger::current().snapshot();
            let leases = snapshot.entries().iter().filter(|it| it.kind() == staunch::Kind::LEASE);
            leases.map(|it| it.born_at().line()).collect::<Vec<_>>()
        };
        assert_eq!(leases(), [line]);
        drop(admission);
        assert!(leases().is_empty());
    })
    .await;
}
