//! `server-without-timeouts` and `connection-not-closed`: goroutines that read from somebody who does not send.
//!
//! **Proves**: more and more goroutines read from a socket, and none of those that were there has come to an end. Where
//! they are handlers of `net/http` that read a request, its client has stopped sending and the server has no
//! `ReadTimeout` (`server-without-timeouts`); else the program keeps connections open that it does not need any more
//! (`connection-not-closed`).
//!
//! **Cannot**: tell a client that is slow from one that is gone before a timeout would. A server that accepts
//! connections and keeps them as long as its clients do is no leak of its own: goroutines that are started by who
//! accepts are left out, as are connections that a handler has taken over.

use crate::{Frame, History, Kind, TaskGroup, Waiting};

use super::defect::Defect;
use super::pile::{By, Pile, piles};
use super::retained::{Retained, Use};

const SERVE: &str = "net/http.(*conn).serve";

pub(super) fn find<'a>(history: &'a History, retained: &Retained<'a>) -> Vec<Defect<'a>> {
    let accepting = accepting(history);
    let is_accepted =
        |pile: &Pile<'_>| pile.birth.is_some_and(|birth| accepting.contains(&&*birth.function));
    piles(history, By::Call, is_reading)
        .iter()
        .filter(|pile| pile.grows())
        .filter_map(|pile| match pile.calls(SERVE) {
            true => server(pile),
            false if is_accepted(pile) => None,
            false => Some(connection(pile, retained)),
        })
        .collect()
}

fn is_reading(group: &TaskGroup) -> bool {
    group.state.waiting == Waiting::Io
        && group.frames.iter().any(|it| it.function.starts_with("net.(*"))
        && !group.frames.iter().any(|it| it.function.starts_with("net/http.(*persistConn)"))
}

/// The functions of those who accept connections.
fn accepting(history: &History) -> Vec<&str> {
    let tasks = history.last().and_then(|last| last.snapshot.tasks.as_ref());
    let groups = tasks.into_iter().flat_map(|tasks| &tasks.groups);
    let accepting =
        groups.filter(|group| group.frames.iter().any(|it| it.function.ends_with(").Accept")));
    accepting.flat_map(|group| group.frames.iter().map(|it| &*it.function)).collect()
}

fn server<'a>(pile: &Pile<'a>) -> Option<Defect<'a>> {
    let reads = |it: &Frame| {
        matches!(&*it.function, "net/http.(*body).Read" | "net/http.(*conn).readRequest")
    };
    // Between two requests a connection waits in `Peek`: `IdleTimeout` is about those.
    pile.frames.iter().any(reads).then(|| Defect {
        what: "requests have begun, and their clients do not send the rest",
        label: "Server without timeouts",
        why: "the server waits for ever for the rest of a request whose client has stopped sending",
        fix: "set `ReadHeaderTimeout`, `ReadTimeout` and `IdleTimeout` of the `http.Server`; they wait",
        ..pile.defect("server-without-timeouts", Kind::Socket)
    })
}

fn connection<'a>(pile: &Pile<'a>, retained: &Retained<'a>) -> Defect<'a> {
    let defect = pile.defect("connection-not-closed", Kind::Socket);
    Defect {
        what: "connections are open, and nobody closes them",
        label: "Connection not closed",
        why: "a path leaves without closing the connection, or what is deferred closes another one",
        fix: "close the connection on every path: `defer conn.Close()` behind the check of the error of what opens it",
        birth: defect.birth.or_else(|| retained.line(Use::Connection)),
        ..defect
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::{crowd, found};

    #[test]
    fn a_handler_that_reads_its_request_is_about_timeouts() {
        let functions = ["net.(*conn).Read", "net/http.(*body).Read", "main.upload", SERVE];
        let history = |more| crowd(&functions, "net/http.(*Server).Serve", Waiting::Io, more);
        assert_eq!(found(&history(5)), [("server-without-timeouts", None, Some(3))]);
        assert_eq!(found(&history(0)), []);
        let idle = ["net.(*conn).Read", "bufio.(*Reader).Peek", SERVE];
        assert_eq!(found(&crowd(&idle, "net/http.(*Server).Serve", Waiting::Io, 5)), []);
    }

    #[test]
    fn a_connection_that_was_opened_is_named_and_one_that_was_accepted_is_not() {
        let functions = ["net.(*conn).Read", "main.read"];
        let opened = crowd(&functions, "main.dial", Waiting::Io, 5);
        assert_eq!(found(&opened), [("connection-not-closed", Some(99), Some(2))]);
        let accepted = ["net.(*conn).Read", "main.(*listener).Accept", "main.serve"];
        assert_eq!(found(&crowd(&accepted, "main.serve", Waiting::Io, 5)), []);
    }
}
