//! A process that runs out of file descriptors backs off, and is back when there are some.

use std::os::fd::AsRawFd;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use staunch_ledger::{Kind, Ledger};

use crate::harness::{
    address, ask, bind, connect, echo, eventually, healthy, in_own_process, observed, serving,
    unlimited,
};

#[test]
fn without_descriptors_accepting_waits_and_then_goes_on() {
    in_own_process("descriptors::without_descriptors_accepting_waits_and_then_goes_on", || {
        staunch::testing::run(exhaustion());
    });
}

/// Every number below it is taken (open(2)).
fn lowest_free_descriptor() -> u64 {
    let file = std::fs::File::open("/dev/null").unwrap();
    u64::try_from(file.as_raw_fd()).unwrap()
}

async fn exhaustion() {
    let listener = bind(unlimited());
    let address = address(&listener);
    let served = serving(listener, echo, async || {
        let mut old = connect(address).await;
        ask(&mut old, "before").await;
        let mut late = connect(address).await;
        eventually("both are accepted", || Ledger::current().births(Kind::CONNECTION) == 2).await;

        // Both ends are in this process: one more for the client, none for the server.
        let limits = getrlimit(Resource::Nofile);
        let current = Some(lowest_free_descriptor() + 1);
        setrlimit(Resource::Nofile, Rlimit { current, ..limits }).unwrap();
        let mut waiting = connect(address).await;
        eventually("the listener backs off", || !observed("cannot-accept").is_empty()).await;

        assert_eq!(ask(&mut old, "meanwhile").await, "Echo: meanwhile");
        assert_eq!(ask(&mut late, "meanwhile").await, "Echo: meanwhile");
        let before = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let after = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let burnt =
            (after.tv_sec - before.tv_sec) * 1_000 + (after.tv_nsec - before.tv_nsec) / 1_000_000;
        assert!(burnt < 100, "it burnt {burnt} ms of CPU in 300 ms");

        drop(old);
        assert_eq!(ask(&mut waiting, "at last").await, "Echo: at last");
        setrlimit(Resource::Nofile, limits).unwrap();
        healthy(address).await;
        drop(late);
        assert_eq!(observed("cannot-accept").len(), 1, "said once, not once a try");
    });
    assert_eq!(served.await.accepted, 4);
}
