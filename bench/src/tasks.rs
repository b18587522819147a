//! Tasks that do the same work side by side, on workers of their own.

use std::future::Future;

use anyhow::Context as _;
use staunch_scope::{BoxError, Context, scope};

const WORKERS: usize = 2;

/// Runs `work` on two workers.
///
/// # Errors
/// When there is no runtime, and what `work` fails with.
pub fn on_two_workers(work: impl Future<Output = Result<(), BoxError>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(work).map_err(|error| anyhow::anyhow!(error))
}

/// Does `work` as so many tasks, `each` times in each: what they come to, in their order. The tasks
/// of every subject are children of a scope: what that costs, it costs all.
///
/// # Errors
/// What the first of them fails with.
pub async fn side_by_side<F, Fut, T>(tasks: u64, each: u64, work: F) -> Result<Vec<T>, BoxError>
where
    F: Fn(u64) -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, BoxError>> + Send + 'static,
    T: Send + 'static,
{
    let done = scope(&Context::background(), |s| async move {
        let tasks: Vec<_> = (0..tasks).map(|_| s.fork(work(each))).collect();
        let mut all = Vec::with_capacity(tasks.len());
        for task in tasks {
            all.push(task.join().await?);
        }
        Ok::<_, BoxError>(all)
    });
    Ok(done.await?)
}
