//! What scopes promise, promise by promise. Every test runs under `#[staunch::test]`: it fails
//! if anything is left on the ledger, too.

mod awaits;
mod blocking;
mod cancelling;
mod channels;
mod common;
mod context;
mod detaching;
mod dooming;
mod eager;
mod ending;
mod failing;
mod ledger;
mod patrolling;
mod policies;
mod reaping;
mod stopping;
mod supervising;
mod testing;
