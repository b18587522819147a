//! Fds that run out. A process of its own: its limit is lowered.

use std::{
    collections::VecDeque,
    fs::File,
    sync::{Arc, Mutex},
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use staunch::{BoxError, Context, Ledger, scope};
use staunch_guard::{Admission, Cause, Guard, GuardOptions, Level, Priority};

const LIMIT: u64 = 256;

/// A server that keeps connections open: when fds run short, those that are idle for longest go.
#[staunch::test]
async fn when_fds_run_out_the_idlest_are_closed_and_it_goes_on() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(LIMIT), maximum }).unwrap();
    let ended = scope(&Context::current(), |s| async move {
        let guard = Guard::start(&s, GuardOptions::default())?;
        assert_eq!((guard.level(), guard.status().fds_limit), (Level::Normal, Some(LIMIT)));
        let idle: Arc<Mutex<VecDeque<(u64, File, Admission)>>> = Arc::default();
        let closes = Arc::clone(&idle);
        let _closes = guard.on(Level::Shed, "idle connections", move |pressing| {
            assert_eq!(pressing.cause, Cause::Fds);
            let mut idle = closes.lock().unwrap();
            let half = idle.len() / 2;
            idle.drain(..half); // the idlest are in front
        });
        let (mut opened, mut refused) = (0, 0);
        while opened < 4 * LIMIT {
            let Ok(admission) = guard.admit(Priority::Normal) else {
                refused += 1;
                tokio::time::sleep(Duration::from_millis(4)).await;
                continue;
            };
            let file = File::open("/dev/null")?; // `EMFILE` fails the test
            idle.lock().unwrap().push_back((opened, file, admission));
            opened += 1;
            if opened % 4 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        println!("{refused} refused, {:?}", guard.status().level_began);
        let newest = idle.lock().unwrap().back().unwrap().0;
        assert_eq!(newest, opened - 1, "what was used last is there");
        idle.lock().unwrap().clear();
        let normal = async {
            while guard.level() != Level::Normal {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), normal).await?;
        let said = Ledger::current().observations();
        assert!(said[0].text.contains("of 256 fds are open"), "{said:#?}");
        s.stop();
        Ok::<_, BoxError>(())
    });
    ended.await.unwrap();
}
