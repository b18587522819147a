//! What a scope does when a child ends.

use std::panic::Location;

/// What the scope does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The others go on.
    Continue,
    /// The others are asked to stop.
    Stop,
}

/// How a child ended, as a policy sees it.
#[derive(Debug)]
#[non_exhaustive]
pub enum ChildEnd<'a, E> {
    /// With success.
    Success,
    /// With an error.
    Error(&'a E),
    /// It panicked; the panic's message.
    Panic(&'a str),
}

/// Decides what the end of a child means for its siblings. Children that end while the scope is
/// already stopping are not asked about.
pub trait Policy<E>: Send + 'static {
    /// A child ended.
    fn child_ended(&mut self, born_at: &'static Location<'static>, end: ChildEnd<'_, E>)
    -> Verdict;

    /// Whether the scope succeeds although children failed. Asked once, at its end.
    fn forgives_failures(&self) -> bool {
        false
    }
}

/// The first error or panic stops the siblings: the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct FailFast;

impl<E> Policy<E> for FailFast {
    fn child_ended(&mut self, _: &'static Location<'static>, end: ChildEnd<'_, E>) -> Verdict {
        match end {
            ChildEnd::Success => Verdict::Continue,
            ChildEnd::Error(_) | ChildEnd::Panic(_) => Verdict::Stop,
        }
    }
}

/// Every child runs to its end; the failures are collected.
#[derive(Clone, Copy, Debug, Default)]
pub struct CollectAll;

impl<E> Policy<E> for CollectAll {
    fn child_ended(&mut self, _: &'static Location<'static>, _: ChildEnd<'_, E>) -> Verdict {
        Verdict::Continue
    }
}

/// Every child runs to its end; a failure is the child's own affair: for servers, where one
/// connection's error is no reason to end the others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Isolate;

impl<E> Policy<E> for Isolate {
    fn child_ended(&mut self, _: &'static Location<'static>, _: ChildEnd<'_, E>) -> Verdict {
        Verdict::Continue
    }

    fn forgives_failures(&self) -> bool {
        true
    }
}

/// The first success stops the siblings, and the failures before it are forgotten.
#[derive(Clone, Copy, Debug, Default)]
pub struct FirstSuccess {
    succeeded: bool,
}

impl<E> Policy<E> for FirstSuccess {
    fn child_ended(&mut self, _: &'static Location<'static>, end: ChildEnd<'_, E>) -> Verdict {
        match end {
            ChildEnd::Success => {
                self.succeeded = true;
                Verdict::Stop
            }
            ChildEnd::Error(_) | ChildEnd::Panic(_) => Verdict::Continue,
        }
    }

    fn forgives_failures(&self) -> bool {
        self.succeeded
    }
}
