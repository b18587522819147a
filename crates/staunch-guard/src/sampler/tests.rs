use std::panic::Location;

use staunch::{BoxError, scope};

use super::*;

/// As on a kernel before Linux 6.2.
#[staunch::test]
async fn where_the_kernel_does_not_count_fds_they_are_listed() {
    let ended = scope(&Context::current(), |s| async move {
        let options = GuardOptions { interval: Duration::from_millis(1), ..Default::default() };
        let shared = Arc::new(Shared::new(options, Location::caller()));
        let mut sampler = Sampler::new(Arc::clone(&shared), s.id());
        sampler.look();
        let counted = shared.sample().reading.fds;
        sampler.sources.fds.forget();
        sampler.look();
        assert_eq!(shared.sample().reading.fds, 0);
        let watching = sampler.watch();
        s.spawn(async {
            watching.await;
            Ok(())
        });
        let seen = async {
            while shared.sample().reading.fds == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), seen).await?;
        // Other tests have some of their own.
        assert!(shared.sample().reading.fds.abs_diff(counted) < 100, "{counted}");
        s.stop();
        Ok::<_, BoxError>(())
    });
    ended.await.unwrap();
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
