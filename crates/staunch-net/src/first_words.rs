//! What a peer says before a connection is of use, and a drain meanwhile.

use std::{
    future::{Future, poll_fn},
    task::{Poll, ready},
};

use staunch_ledger::State;
use staunch_scope::{Cancelled, Wait, with_current_account};
use tokio::time::sleep;

use crate::limits::FIRST_WORDS;

/// Runs what a peer has to say before anything else. If the task is asked to stop the peer has [`FIRST_WORDS`] to
/// end it: it was accepted, and may be saying it. In memory of its own, and no `async fn`: that would keep room in the
/// task for what is moved into memory of its own.
pub(crate) fn until_drained<F: Future>(
    handshake: F,
) -> impl Future<Output = Result<F::Output, Cancelled>> {
    let (mut handshake, mut wait, mut moment) = (Box::pin(handshake), Wait::new(), None);
    poll_fn(move |cx| {
        if let Poll::Ready(done) = handshake.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        with_current_account(|task| task.set_state(State::Handshake));
        let cancelled = ready!(wait.poll_cancelled(cx));
        let moment = moment.get_or_insert_with(|| Box::pin(sleep(FIRST_WORDS)));
        ready!(moment.as_mut().poll(cx));
        Poll::Ready(Err(cancelled))
    })
}
