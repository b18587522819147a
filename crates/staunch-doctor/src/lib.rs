//! What a leaking service shows of itself, read into snapshots.
