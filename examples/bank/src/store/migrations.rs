//! The schema, step by step. A step that has been released is never changed.

/// For PostgreSQL.
pub(super) const POSTGRES: &[&str] = &[include_str!("migrations/postgres/1_accounts.sql")];

/// For SQLite.
pub(super) const SQLITE: &[&str] = &[include_str!("migrations/sqlite/1_accounts.sql")];
