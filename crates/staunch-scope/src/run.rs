//! The life of a scope: run, ask, wait for the grace, force, end.
//!
//! The body runs inside the scope's own future, in a frame of its own, so it need be neither
//! `Send` nor `'static`; children are tasks of the runtime. Whatever happens, the scope ends
//! only when its members' table is empty, or by being dropped ([`Owner`]).

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    panic::Location,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use staunch_ledger::{Account, Kind, Ledger, Obligation, State};
use tokio::time::timeout_at;

use crate::{
    book::Shared,
    context::{Cancelled, Context},
    frame::{self, Signal},
    members::{Members, Role},
    scope::{Ended, Scope, ScopeBuilder},
    sleep::after,
    task::Task,
    wait::Wait,
};

pub(crate) async fn run<T, E, F, Fut>(
    builder: ScopeBuilder<E>,
    born_at: &'static Location<'static>,
    body: F,
) -> Ended<T, E>
where
    F: FnOnce(Scope<E>) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    E: Send + 'static,
{
    let ScopeBuilder { context, grace, max_children, policy } = builder;
    let account = Ledger::current().open_at(
        born_at,
        Kind::SCOPE,
        Obligation::EndsWithParent,
        frame::current_task(),
    );
    account.set_state(State::Join);
    let shared = Arc::new(Shared::new(context.clone(), policy, &account, max_children));
    let members = Arc::clone(&shared.members);
    let mut owner = Owner { members: &members, account: Some(account), grace };

    let mut value = None;
    let frame = shared
        .admit(Role::Child, born_at, Some("body of the scope"))
        .expect("a new scope has room for its body");
    let body = async { body(Scope::new(Arc::clone(&shared))).await };
    let mut body = pin!(Task::new(frame, body, |outcome| {
        value = shared.body_ended(born_at, outcome);
    }));
    let stopped = run_until_stop(&shared, &context, body.as_mut()).await;
    let mut forced = Vec::new();
    if let Some(stop) = stopped {
        members.raise(Signal::Asked, stop.cause());
        if timeout_at(after(grace), run_until_empty(&members, body.as_mut())).await.is_err() {
            forced = members.force(stop.cause());
            run_until_empty(&members, body.as_mut()).await;
        }
    }
    owner.release();
    let result = shared.result(value, stopped.and_then(Stop::outside_cause));
    let unheard = shared.unheard();
    if unheard > 0 {
        tracing::debug!(%born_at, unheard, "errors came while a scope was stopping");
    }
    Ended { result, forced, unheard }
}

/// Why a scope stops before everybody has ended by themselves.
#[derive(Clone, Copy)]
enum Stop {
    /// A failure, or the scope's own wish; or nobody is left but daemons.
    FromInside,
    /// Its context was cancelled, or the task it runs in was asked to stop.
    FromOutside(Cancelled),
}

impl Stop {
    fn outside_cause(self) -> Option<Cancelled> {
        match self {
            Stop::FromInside => None,
            Stop::FromOutside(cause) => Some(cause),
        }
    }

    fn cause(self) -> Cancelled {
        self.outside_cause().unwrap_or(Cancelled::Requested)
    }
}

/// Runs the body until everybody has ended (`None`), or something stops the scope: also that only
/// daemons are left.
async fn run_until_stop<E: Send + 'static, B: Future<Output = ()>>(
    shared: &Shared<E>,
    context: &Context,
    mut body: Pin<&mut B>,
) -> Option<Stop> {
    let mut wait = Wait::new();
    let mut asked = pin!(poll_fn(|cx| wait.poll_cancelled(cx)));
    let mut cancelled = pin!(context.until_cancelled());
    if let Some(cause) = context.cause() {
        return Some(Stop::FromOutside(cause)); // the body hears it in its first poll
    }
    let mut running = true;
    while !shared.members.close_if_empty() {
        tokio::select! {
            biased;
            cause = &mut asked => return Some(Stop::FromOutside(cause)),
            () = body.as_mut(), if running => running = false,
            () = shared.members.changed() => {}
            // `Scope::stop` cancels the context too; that is no cancellation from outside.
            cause = &mut cancelled => {
                let inside = shared.members.is_stopping();
                return Some(if inside { Stop::FromInside } else { Stop::FromOutside(cause) });
            }
            never = joining(&shared.members) => match never {},
        }
        let members = &shared.members;
        if shared.must_stop() || members.is_stopping() || members.dismiss() {
            return Some(Stop::FromInside);
        }
    }
    None
}

/// Runs the body, and waits, until every member has left.
async fn run_until_empty<B: Future<Output = ()>>(members: &Members, mut body: Pin<&mut B>) {
    let mut running = true;
    while !members.close_if_empty() {
        tokio::select! {
            biased;
            () = body.as_mut(), if running => running = false,
            () = members.changed() => {}
            never = joining(members) => match never {},
        }
    }
}

/// Never ready; shows that the task waits for the scope's members to end.
fn joining(members: &Members) -> impl Future<Output = Infallible> {
    poll_fn(|_| {
        if let Some(scope) = members.scope() {
            frame::with_current(|frame| frame.waits_to_join(scope));
        }
        Poll::Pending
    })
}

/// Owns the scope's entry. Dropped before [`Owner::release`], it means that the scope's future
/// was dropped: the children are left to themselves, with a deadline.
struct Owner<'a> {
    members: &'a Arc<Members>,
    account: Option<Account>,
    grace: Duration,
}

impl Owner<'_> {
    fn release(&mut self) {
        self.account = None;
    }
}

impl Drop for Owner<'_> {
    fn drop(&mut self) {
        if let Some(account) = self.account.take() {
            self.members.orphan(account, self.grace);
        }
    }
}
