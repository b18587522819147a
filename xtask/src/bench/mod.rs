//! `cargo xtask bench NAME`: Staunch side by side with its peers.
//!
//! A bench runs in rounds. Each round measures every subject once, in an order that rotates from
//! round to round, so that whatever else the machine does falls on all of them alike. The load
//! generator shares the machine's cores with the servers, which makes absolute figures noisy; the
//! ratio of two subjects *within a round* is the steady figure, and the table shows its median and
//! range.

mod abuse;
mod cancel;
mod doctor;
mod echo;
mod gateway;
mod http;
mod idle;
mod ledger;
mod live;
mod pool;
mod postgres;
mod proxy;
mod record;
mod reload;
mod slow;
mod soak;
mod stats;
mod subject;
mod table;

use std::path::PathBuf;

use anyhow::bail;

use record::{Format, Record};

/// Measure Staunch side by side with its peers.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure.
    name: Name,
    /// Print each measurement as a line of JSON instead of a table at the end.
    #[arg(long)]
    json: bool,
    /// How often to measure each subject.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Measure only these subjects (repeat the option for several).
    #[arg(long)]
    subject: Vec<String>,
    /// How long `soak` loads the gateway, 20 by default, or `reload` changes it, 1 by default.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: Option<u64>,
    /// Where `doctor` finds dumps with their truth; ../shared/corpus/goroutines by default.
    #[arg(long)]
    corpus: Option<PathBuf>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Name {
    /// How long an honest client waits beside attacks.
    Abuse,
    /// How long a handler works on after its client has given it up.
    Cancel,
    /// What the doctor finds in goroutine dumps whose truth is known.
    Doctor,
    /// Line echo over 64 connections: server CPU, throughput, latency.
    Echo,
    /// An HTTP server that says hello: server CPU, throughput, latency.
    Http,
    /// Memory held for each idle connection.
    Idle,
    /// Birth and death of a ledger entry, and a snapshot.
    Ledger,
    /// Memory held for each idle HTTP connection that is kept alive.
    Parked,
    /// Acquire and release on a pool of trivial connections.
    Pool,
    /// `SELECT 1` on a pool of PostgreSQL connections: throughput, CPU, latency.
    Postgres,
    /// HTTP/1 proxies before one server: server CPU, throughput, latency.
    Proxy,
    /// How long a server works on after a client of the proxy before it has left.
    ProxyCancel,
    /// Memory that proxies hold for each idle connection that is kept alive.
    ProxyParked,
    /// Memory that proxies hold for each client that reads slowly, and the kernel for them.
    ProxySlow,
    /// What clients notice of reloads and upgrades, and what is left of them.
    Reload,
    /// Memory held for each client that reads slowly, by the server and by the kernel.
    Slow,
    /// Requests and streams through the gateway for a long time: whether memory grows.
    Soak,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let (name, bench): (_, fn(&Args, &mut Record) -> anyhow::Result<()>) = match args.name {
        Name::Abuse => ("abuse", abuse::run),
        Name::Cancel => ("cancel", cancel::run),
        // It counts and measures nothing, so there is nothing to record.
        Name::Doctor => return doctor::run(args),
        Name::Echo => ("echo", echo::run),
        Name::Http => ("http", http::run),
        Name::Idle => ("idle", idle::run),
        Name::Ledger => ("ledger", ledger::run),
        Name::Parked => ("parked", idle::run_parked),
        Name::Pool => ("pool", pool::run),
        Name::Postgres => ("postgres", postgres::run),
        Name::Proxy => ("proxy", proxy::run),
        Name::ProxyCancel => ("proxy-cancel", cancel::run_through),
        Name::ProxyParked => ("proxy-parked", idle::run_through),
        Name::ProxySlow => ("proxy-slow", slow::run_through),
        Name::Reload => ("reload", reload::run),
        Name::Slow => ("slow", slow::run),
        Name::Soak => ("soak", soak::run),
    };
    let format = if args.json { Format::Json } else { Format::Table };
    let mut record = Record::new(name, format);
    bench(args, &mut record)?;
    record.finish();
    Ok(())
}

impl Args {
    /// Those of `all` whose subject was asked for, in the order of `all`; all of them by default.
    fn select<T: Clone>(&self, all: &[T], subject: impl Fn(&T) -> &str) -> anyhow::Result<Vec<T>> {
        let subjects = distinct(all.iter().map(&subject));
        if let Some(unknown) = self.subject.iter().find(|it| !subjects.contains(&it.as_str())) {
            bail!("no subject `{unknown}` in this bench: it has {}", subjects.join(", "));
        }
        let is_wanted =
            |name: &str| self.subject.is_empty() || self.subject.iter().any(|it| it == name);
        Ok(all.iter().filter(|it| is_wanted(subject(it))).cloned().collect())
    }
}

/// The values without repetition, in order of first appearance.
fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut distinct = Vec::new();
    for value in values {
        if !distinct.contains(&value) {
            distinct.push(value);
        }
    }
    distinct
}

/// `items` from the one at `offset`, around the end, to the one before it.
fn rotated<T>(items: &[T], offset: u32) -> impl Iterator<Item = &T> {
    let start = offset as usize % items.len().max(1);
    items[start..].iter().chain(&items[..start])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_rotates() {
        let order = |round| rotated(&["a", "b", "c"], round).copied().collect::<String>();
        assert_eq!([0, 1, 2, 3].map(order), ["abc", "bca", "cab", "abc"]);
        assert_eq!(rotated::<u8>(&[], 5).count(), 0);
    }

    fn select(wanted: &[&str]) -> anyhow::Result<Vec<&'static str>> {
        let subject = wanted.iter().map(ToString::to_string).collect();
        let args =
            Args { name: Name::Echo, json: false, rounds: 1, subject, minutes: None, corpus: None };
        args.select(&["staunch", "tokio", "go"], |name| name)
    }

    #[test]
    fn subjects_keep_their_order() {
        assert_eq!(select(&[]).unwrap(), ["staunch", "tokio", "go"]);
        assert_eq!(select(&["go", "staunch"]).unwrap(), ["staunch", "go"]);
    }

    #[test]
    fn an_unknown_subject_is_named_with_those_there_are() {
        let error = select(&["go", "rust"]).unwrap_err().to_string();
        assert!(error.contains("`rust`") && error.contains("staunch, tokio, go"), "{error}");
    }
}
