//! Children of a scope by what they are for: who is newly wanted is started, who is wanted no longer ends,
//! and the others go on.

use std::{collections::HashMap, convert::Infallible, hash::Hash};

use staunch_scope::{Canceller, Scope};

/// The children that run.
#[derive(Debug)]
pub(crate) struct Children<K>(HashMap<K, Canceller>);

impl<K: Eq + Hash> Children<K> {
    pub(crate) fn new() -> Children<K> {
        Children(HashMap::new())
    }

    /// From now on there are those that are `wanted`; what one does, `start` says, which is called for
    /// new ones only.
    pub(crate) fn set<W, F>(
        &mut self,
        scope: &Scope<Infallible>,
        name: &'static str,
        wanted: impl IntoIterator<Item = (K, W)>,
        start: impl Fn(W) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut before = std::mem::take(&mut self.0);
        for (key, work) in wanted {
            let running = before.remove(&key).unwrap_or_else(|| {
                let (context, canceller) = scope.context().with_cancel();
                let work = start(work);
                scope.spawn_named(name, async move {
                    let _no_longer_wanted = context.run(work).await;
                    Ok(())
                });
                canceller
            });
            self.0.insert(key, running);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use staunch_scope::{Context, scope};

    use super::*;

    #[staunch::test]
    async fn who_stays_wanted_is_left_alone() {
        let log = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&log);
        let ended = scope(&Context::current(), |s| async move {
            let mut children = Children::new();
            let mut set = |wanted: &'static [u32]| {
                children.set(&s, "child", wanted.iter().map(|it| (*it, *it)), |it| {
                    written.lock().unwrap().push(format!("{it} begins"));
                    let ends = Ends(it, Arc::clone(&written));
                    async move {
                        let _ends = ends;
                        std::future::pending::<()>().await;
                    }
                });
            };
            for wanted in [&[1, 2][..], &[2, 3], &[2, 3], &[]] {
                set(wanted);
                // The body, and each child that is wanted.
                while s.live() != 1 + wanted.len() {
                    tokio::task::yield_now().await;
                }
                written.lock().unwrap().push("-".to_owned());
            }
            Ok::<_, Infallible>(())
        });
        ended.await.unwrap();
        let mut log = log.lock().unwrap().clone();
        log[7..9].sort(); // both end at once
        let expected = "1 begins, 2 begins, -, 3 begins, 1 ends, -, -, 2 ends, 3 ends, -";
        assert_eq!(log.join(", "), expected);
    }

    struct Ends(u32, Arc<Mutex<Vec<String>>>);

    impl Drop for Ends {
        fn drop(&mut self) {
            self.1.lock().unwrap().push(format!("{} ends", self.0));
        }
    }
}
