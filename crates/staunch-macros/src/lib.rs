//! The attribute `#[staunch::test]`; use it by way of the `staunch` crate.

mod options;
mod test;

use proc_macro::TokenStream;

/// Runs an asynchronous test on a ledger of its own, and fails it if anything is left at its
/// end: a task, a connection, a channel, a lease. Each leftover is named with its birth line; and
/// what the doctor's rules find of it, with its cause and what to change.
///
/// Like any test it may return a `Result`, and carry `#[should_panic]` or `#[ignore]`. For a
/// harness without attributes there is `staunch::testing::Runner`.
///
/// # Options
/// - `flavor = "current_thread"` (default) or `"multi_thread"`
/// - `worker_threads = 4`: for `multi_thread`; 2 unless told otherwise
/// - `start_paused = true`: time jumps ahead when every task waits for it; `current_thread` only
/// - `crate = path::to::staunch`: for crates that re-export `staunch`
///
/// # Examples
/// ```ignore
/// use staunch::{BoxError, Context, scope, sleep};
/// use std::time::Duration;
///
/// #[staunch::test(start_paused = true)]
/// async fn children_end_first() -> Result<(), BoxError> {
///     scope(&Context::current(), |s| async move {
///         s.spawn(async { Ok(sleep(Duration::from_secs(3600)).await?) });
///         Ok::<_, BoxError>(())
///     })
///     .await?;
///     Ok(())
/// }
/// ```
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    test::expand(options.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
