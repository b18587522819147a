//! A piece of a task's work that is not a task of its own.

use staunch_ledger::{Account, State};

use crate::{context::Context, frame};

/// A piece of a task's work with an account and a context of its own, such as one of the requests
/// that a connection's task answers. A scope costs more, and is for work that has children.
///
/// While it is polled [`Context::current`] is its own, and it is the owner of what is opened: scopes,
/// leases, connections. Whether the task is asked to stop it hears as ever.
///
/// # Examples
/// ```
/// use staunch_ledger::{Kind, Ledger, Obligation};
/// use staunch_scope::{Context, Piece, current_task};
/// use std::time::Duration;
///
/// let account = Ledger::current().open(Kind::REQUEST, Obligation::EndsWithParent);
/// let context = Context::background().with_timeout(Duration::from_secs(5));
/// let request = Piece::new(account, context);
/// request.poll(|| {
///     assert!(Context::current().deadline().is_some());
///     assert_eq!(current_task(), Some(request.account().id()));
/// });
/// assert_eq!(current_task(), None);
/// ```
#[derive(Debug)]
pub struct Piece {
    account: Account,
    context: Context,
}

impl Piece {
    /// One that has not begun.
    pub fn new(account: Account, context: Context) -> Piece {
        Piece { account, context }
    }

    /// Its account.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// What its work carries with it.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Does some of its work: one poll of a future. That is progress.
    pub fn poll<R>(&self, work: impl FnOnce() -> R) -> R {
        self.account.begin_poll();
        let inside = frame::enter_piece(&self.context, self.account.id());
        let done = work();
        drop(inside);
        self.account.set_state(State::Waiting);
        done
    }
}
