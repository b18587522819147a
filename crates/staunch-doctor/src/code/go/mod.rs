//! What is wrong in Go's source, once it is known what leaks and where: the line to change, and how.
//!
//! # Design
//!
//! A file for each shape of mistake. A shape looks at the lines that a finding names, and says nothing
//! unless the source shows the mistake; so that shapes may be tried one after another. What a shape
//! proposes are edits of lines. Nobody has run them: a shape proposes some only where they cannot do
//! harm (what is closed twice, is called twice in vain; what must not happen twice, is taken away where
//! it was), and whoever asks parses the result.
//!
//! Pure: text and trees go in, edits come out.

mod channel;
mod held;
mod http;
mod lease;
mod leaving;
mod memory;
mod owned;
mod release;
mod syntax;
#[cfg(test)]
mod tests;
mod ticker;
mod unread;

use tree_sitter::Node;

use super::{
    edit::Edit,
    file::{File, first},
};

pub(super) use syntax::{declaration, is_named};

/// The files of one folder.
pub(super) struct Package {
    pub(super) files: Vec<File>,
}

/// A line of one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) file: usize,
    pub(super) line: u32,
}

/// What is known of a leak: the rule that found it, and its lines as far as they are in the package.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Suspicion<'a> {
    pub(super) rule: &'a str,
    pub(super) birth: Option<Spot>,
    pub(super) wait: Option<Spot>,
    pub(super) cause: Option<Spot>,
}

/// What is to be changed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Repair {
    /// The line that is wrong, or behind which something is missing.
    pub(super) spot: Spot,
    /// Why it leaks, in one sentence.
    pub(super) cause: String,
    /// What to do; the line is named behind it.
    pub(super) fix: String,
    /// None where it is not sure what to change.
    pub(super) edits: Vec<Edit>,
}

type Shape = fn(&Package, &Suspicion<'_>) -> Option<Repair>;

/// The first shape that knows the mistake, and better one that can repair it.
pub(super) fn repair(package: &Package, suspicion: &Suspicion<'_>) -> Option<Repair> {
    let mut repairs: Vec<Repair> =
        shapes(suspicion.rule).iter().filter_map(|shape| shape(package, suspicion)).collect();
    let best = repairs.iter().position(|it| !it.edits.is_empty()).unwrap_or(0);
    (!repairs.is_empty()).then(|| repairs.swap_remove(best))
}

fn shapes(rule: &str) -> &'static [Shape] {
    match rule {
        "rows-not-closed"
        | "statement-not-closed"
        | "transaction-not-ended"
        | "body-not-closed"
        | "connection-not-closed"
        | "descriptor-not-closed"
        | "cancel-not-called"
        | "timer-not-stopped" => &[release::repair],
        "chan-send" => {
            &[release::before_check, lease::give_back, channel::send, channel::send_or_leave]
        }
        "chan-receive" => &[ticker::endless, lease::give_back, channel::receive],
        "handler-blocked" => {
            &[release::before_check, ticker::endless, lease::give_back, held::lock, http::request]
        }
        "unbounded-workers" => &[channel::send, lease::give_back],
        "lock" => &[held::lock],
        "wait-group" => &[held::group],
        "endless" => &[ticker::endless],
        "body-not-read" => &[unread::unread],
        "deadline-not-set" => &[http::request, http::deadline],
        "server-without-timeouts" => &[http::server],
        "transport-per-request" => &[http::transport],
        "heap-growth" => &[memory::without_expiry, memory::part, release::forgotten],
        _ => &[],
    }
}

impl Package {
    fn file(&self, spot: Spot) -> &File {
        &self.files[spot.file]
    }

    fn statement(&self, spot: Spot) -> Option<Node<'_>> {
        syntax::statement(self.file(spot), spot.line)
    }

    /// All nodes of a kind, with the number of their file.
    fn all<'p>(&'p self, kind: &'static str) -> impl Iterator<Item = (usize, Node<'p>)> {
        let files = self.files.iter().enumerate();
        files.flat_map(move |(index, it)| {
            syntax::of_kind(it.root(), kind).map(move |node| (index, node))
        })
    }
}

impl Suspicion<'_> {
    /// The lines that are named, each once.
    fn spots(&self) -> impl Iterator<Item = Spot> {
        let mut spots: Vec<Spot> = Vec::new();
        for spot in [self.cause, self.birth, self.wait].into_iter().flatten() {
            if !spots.contains(&spot) {
                spots.push(spot);
            }
        }
        spots.into_iter()
    }
}

impl Spot {
    fn of(file: usize, node: Node<'_>) -> Spot {
        Spot { file, line: first(node) }
    }
}
