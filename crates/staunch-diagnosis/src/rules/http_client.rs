//! `deadline-not-set`, `body-not-closed`, `transport-per-request`: requests and connections of `net/http`'s client
//! that do not end.
//!
//! **Proves**: more and more goroutines wait for a response, and none of them has got one (`deadline-not-set`: no
//! deadline or context ends the wait); or more and more connections are there whose reader waits for its response's
//! body to be read or closed (`body-not-closed`), or for a next request that does not come (`transport-per-request`: a
//! transport that is shared keeps but a few idle ones).
//!
//! **Cannot**: see on a connection's goroutines who has asked for it. The line comes from the heap, which keeps what
//! the request allocated; without heaps there is none.

use crate::{History, Kind, stack};

use super::defect::Defect;
use super::pile::{By, Pile, piles};
use super::retained::{Retained, Use};

const READER: &str = "net/http.(*persistConn).readLoop";
const ROUND_TRIP: &str = "net/http.(*persistConn).roundTrip";

pub(super) fn find<'a>(history: &'a History, retained: &Retained<'a>) -> Vec<Defect<'a>> {
    let waiting = piles(history, By::Call, |group| stack::calls(&group.frames, ROUND_TRIP));
    let waiting: Vec<_> = waiting.iter().filter(|pile| pile.grows()).collect();
    let explained: u64 = waiting.iter().map(|pile| pile.grown()).sum();
    let mut defects: Vec<_> = waiting.into_iter().map(deadline).collect();
    let readers = piles(history, By::Birth, |group| stack::calls(&group.frames, READER));
    let readers = readers.iter().filter(|pile| pile.grows() && pile.grown() > 2 * explained);
    defects.extend(readers.map(|pile| connection(pile, retained)));
    defects
}

fn deadline<'a>(pile: &Pile<'a>) -> Defect<'a> {
    Defect {
        what: "goroutines wait for a response that does not come, and nothing ends the wait",
        label: "Deadline not set",
        why: "the request has no deadline, and does not carry the context of whom it is made for",
        fix: "make the request with `http.NewRequestWithContext` and a context that ends (`context.WithTimeout` of the caller's), and set the client's `Timeout`",
        ..pile.defect("deadline-not-set", Kind::Goroutine)
    }
}

fn connection<'a>(pile: &Pile<'a>, retained: &Retained<'a>) -> Defect<'a> {
    let is_idle = pile.calls("bufio.(*Reader).Peek");
    let defect = Defect { birth: retained.line(Use::Request), ..pile.defect("", Kind::Socket) };
    if is_idle {
        return Defect {
            rule: "transport-per-request",
            what: "connections are idle, and more come all the time",
            label: "Transport per request",
            why: "each request has a transport of its own, whose idle connection nobody uses again or closes",
            fix: "make one `http.Client` and share it; look at who makes the client used",
            ..defect
        };
    }
    Defect {
        rule: "body-not-closed",
        what: "connections wait for the body of their response to be read or closed",
        label: "Body not closed",
        why: "a body that is neither read to its end nor closed keeps its connection and the goroutines behind it",
        fix: "put `defer resp.Body.Close()` behind the check of the error of the request",
        ..defect
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Waiting;
    use crate::rules::testing::{crowd, found};

    #[test]
    fn who_waits_for_a_response_is_named_by_its_line() {
        let functions = [ROUND_TRIP, "net/http.(*Client).Do", "main.fetch"];
        let history = |more| crowd(&functions, "main.rates", Waiting::Select, more);
        assert_eq!(found(&history(5)), [("deadline-not-set", Some(99), Some(3))]);
        assert_eq!(found(&history(0)), []);
    }

    #[test]
    fn readers_are_told_apart_by_what_they_wait_for() {
        let dial = "net/http.(*Transport).dialConn";
        let body = crowd(&[READER], dial, Waiting::Select, 5);
        assert_eq!(found(&body), [("body-not-closed", None, None)]);
        let idle = crowd(&["bufio.(*Reader).Peek", READER], dial, Waiting::Io, 5);
        assert_eq!(found(&idle), [("transport-per-request", None, None)]);
        assert_eq!(found(&crowd(&[READER], dial, Waiting::Select, 0)), []);
    }
}
