use std::{panic::Location, sync::atomic::AtomicU64};

use staunch::{BoxError, scope};

use super::*;
use crate::{Guard, Priority, Usage, Watermarks};

/// As on a kernel before Linux 6.2.
#[staunch::test]
async fn where_the_kernel_does_not_count_fds_they_are_listed() {
    let ended = scope(&Context::current(), |s| async move {
        let options = GuardOptions { interval: Duration::from_millis(1), ..Default::default() };
        let shared = Arc::new(Shared::new(options, Location::caller()));
        let mut sampler = Sampler::new(Arc::clone(&shared), s.id());
        sampler.look();
        let counted = shared.sample().0.reading.fds;
        sampler.sources.fds.forget();
        sampler.look();
        assert_eq!(shared.sample().0.reading.fds, 0);
        let watching = sampler.watch();
        s.spawn(async {
            watching.await;
            Ok(())
        });
        let seen = async {
            while shared.sample().0.reading.fds == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), seen).await?;
        // Other tests have some of their own.
        assert!(shared.sample().0.reading.fds.abs_diff(counted) < 100, "{counted}");
        s.stop();
        Ok::<_, BoxError>(())
    });
    ended.await.unwrap();
}

#[staunch::test]
async fn a_rest_is_no_longer_than_growth_can_wait() {
    let ended = scope(&Context::current(), |s| async move {
        let rest = |interval: u64, window: u64| {
            let marks =
                Watermarks { growth_window: Duration::from_millis(window), ..Default::default() };
            let interval = Duration::from_millis(interval);
            let options = GuardOptions { marks, interval, ..calm_options(&Arc::default()) };
            let shared = Arc::new(Shared::new(options, Location::caller()));
            let mut sampler = Sampler::new(shared, s.id());
            is_calm(&mut sampler);
            (sampler.pace.is_rest, sampler.pace.after.as_millis())
        };
        assert_eq!(rest(50, 10_000), (true, 500));
        assert_eq!(rest(50, 1_000), (true, 100));
        assert_eq!(rest(50, 500), (false, 50));
        Ok::<_, BoxError>(())
    });
    ended.await.unwrap();
}

/// Nobody has asked for long.
fn is_calm(sampler: &mut Sampler) {
    sampler.look(); // the first has to come
    sampler.look();
    assert!(!sampler.pace.is_rest && sampler.calm_from.is_some());
    (sampler.calm_from, sampler.far_from) = (Some(Duration::ZERO), Some(Duration::ZERO));
    sampler.look();
}

/// It is nowhere near a mark, and counts its looks.
fn calm_options(looks: &Arc<AtomicU64>) -> GuardOptions {
    let looks = Arc::clone(looks);
    let usage = move || {
        looks.fetch_add(1, Ordering::SeqCst);
        Usage { bytes: 1, limit: Some(100) }
    };
    GuardOptions { memory: Some(Arc::new(usage)), request_bytes: 0, ..Default::default() }
}

/// It would sleep for ten hours.
#[staunch::test]
async fn who_rests_looks_again_once_somebody_asks() {
    type Ask = fn(&Guard);
    let admits: Ask = |guard| drop(guard.admit(Priority::Normal).unwrap());
    let connects: Ask = |guard| assert!(!guard.refuses_connections());
    for (own_thread, ask) in [(false, admits), (true, admits), (false, connects), (true, connects)]
    {
        let ended = scope(&Context::current(), |s| async move {
            let looks = Arc::new(AtomicU64::new(0));
            let growth_window = 1000 * Duration::from_hours(1);
            let options = GuardOptions {
                own_thread,
                interval: Duration::from_hours(1),
                marks: Watermarks { growth_window, ..Default::default() },
                ..calm_options(&looks)
            };
            let shared = Arc::new(Shared::new(options, Location::caller()));
            let mut sampler = Sampler::new(Arc::clone(&shared), s.id());
            is_calm(&mut sampler);
            assert_eq!(sampler.pace, Pace { after: 10 * Duration::from_hours(1), is_rest: true });
            let (seen, watching) = (looks.load(Ordering::SeqCst), sampler.watch());
            s.spawn(async {
                watching.await;
                Ok(())
            });
            let until = async |what: &str, condition: &dyn Fn() -> bool| {
                let holds = async {
                    while !condition() {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                };
                tokio::time::timeout(Duration::from_secs(20), holds).await.expect(what);
            };
            until("it rests", &|| shared.stir.is_resting()).await;
            ask(&Guard { shared: Arc::clone(&shared) });
            until("it looks again", &|| looks.load(Ordering::SeqCst) == seen + 1).await;
            s.stop();
            Ok::<_, BoxError>(())
        });
        ended.await.unwrap();
    }
}

/// `cargo test -p staunch-guard --lib -- --ignored --nocapture`
#[staunch::test]
#[ignore = "says what a look costs when the processor has nothing else in its caches"]
async fn looks_back_to_back() {
    const LOOKS: u32 = 10_000;
    let ended = scope(&Context::current(), |s| async move {
        let options = GuardOptions { memory_limit: Some(1 << 40), ..Default::default() };
        let shared = Arc::new(Shared::new(options, Location::caller()));
        let mut sampler = Sampler::new(shared, s.id());
        let begun = RealInstant::now();
        (0..LOOKS).for_each(|_| sampler.look());
        println!("{:?} a look", begun.elapsed() / LOOKS);
        Ok::<_, BoxError>(())
    });
    ended.await.unwrap();
}
