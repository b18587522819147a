//! `heap-growth`, `cancel-not-called`, `timer-not-stopped`, `statement-not-closed` and `descriptor-not-closed`: what
//! the heap keeps of what was allocated while it was watched.
//!
//! **Proves**: of all that a line allocated between two collections, at least half is still in use. Contexts, timers,
//! statements, files and connections have to be ended by whoever makes them, so some tens that stay are enough; of
//! anything else it takes [`BYTES_MIN`].
//!
//! **Cannot**: tell what is kept for ever from what is kept for long: a cache that fills up, a list of the last
//! thousand. What has to be ended and is in use (a transaction of an hour) looks the same as well.

use crate::{Frame, History, Kind, Severity};

use super::defect::Defect;
use super::retained::{Grown, Retained, Use};

/// What a service builds up by and by is less.
const BYTES_MIN: u64 = 256 << 10;
/// So many samples are no chance.
const SAMPLES_MIN: u64 = 8;

pub(super) fn find<'a>(history: &History, retained: &Retained<'a>) -> Vec<Defect<'a>> {
    let times: Vec<_> = history
        .instants()
        .iter()
        .filter(|instant| instant.snapshot.heap.is_some())
        .map(|instant| instant.at)
        .collect();
    let lines = retained.lines.iter();
    lines
        .filter(|((kind, _), grown)| is_enough(*kind, grown, retained.sampled_every))
        .filter_map(|((kind, line), grown)| {
            let (first, last) = (*times.first()?, *times.last()?);
            let readings = vec![(first, grown.objects.0), (last, grown.objects.1)];
            Some(Defect { readings, ..defect(*kind, line, grown)? })
        })
        .collect()
}

fn is_enough(kind: Use, grown: &Grown, sampled_every: u64) -> bool {
    kind != Use::Memory || grown.bytes >= BYTES_MIN.max(SAMPLES_MIN * sampled_every)
}

fn defect<'a>(kind: Use, line: &'a Frame, grown: &Grown) -> Option<Defect<'a>> {
    let defect = said(kind)?;
    let kept = format!("the heap keeps {} more KiB of what this line allocated", grown.bytes >> 10);
    Some(Defect {
        confidence: if kind == Use::Memory { 0.75 } else { 0.85 },
        birth: Some(line),
        evidence: vec![
            kept,
            "at least half of what was allocated between two collections is still in use"
                .to_owned(),
        ],
        owners: grown.owners.clone(),
        ..defect
    })
}

/// What a rule says of what is kept; `None` where another rule knows more.
fn said(kind: Use) -> Option<Defect<'static>> {
    Some(match kind {
        Use::Context => Defect {
            what: "contexts are not cancelled",
            label: "Cancel not called",
            why: "a context that is not cancelled stays a child of its parent's, with all that it carries",
            fix: "put `defer cancel()` behind the line that makes the context",
            ..Defect::new("cancel-not-called", Kind::Memory)
        },
        Use::Timer => Defect {
            what: "timers and tickers are not stopped",
            label: "Timer not stopped",
            why: "a timer that is not stopped stays, with all that its function refers to, until its time has come",
            fix: "put `defer timer.Stop()` behind the line that makes it",
            ..Defect::new("timer-not-stopped", Kind::Timer)
        },
        Use::Statement => Defect {
            what: "prepared statements are not closed",
            label: "Statement not closed",
            why: "a statement is kept, here and by the database, until it is closed",
            fix: "put `defer statement.Close()` behind the check of the error, or prepare it once",
            ..Defect::new("statement-not-closed", Kind::Memory)
        },
        Use::Connection => Defect {
            what: "connections are open, and nobody closes them",
            label: "Connection not closed",
            why: "a path leaves without closing the connection, or what is deferred closes another one",
            fix: "close the connection on every path: `defer conn.Close()` behind the check of the error",
            ..Defect::new("connection-not-closed", Kind::Socket)
        },
        Use::File => Defect {
            what: "files are open, and nobody closes them",
            label: "File not closed",
            why: "a path leaves without closing the file, or it is deferred in a loop that does not end",
            fix: "close the file where its work is done: `defer` waits for the end of the function, not of the turn",
            ..Defect::new("descriptor-not-closed", Kind::Fd)
        },
        Use::Memory => Defect {
            severity: Severity::Warning,
            what: "objects are kept, and more all the time",
            label: "Memory kept",
            why: "what is allocated here is still referred to: by a map or list without end, or by a part that keeps the whole",
            fix: "bound what keeps it (expiry, a size), or keep a copy of the part that is needed instead of what is allocated",
            ..Defect::new("heap-growth", Kind::Memory)
        },
        Use::Accepted | Use::Request | Use::Transaction => return None,
    })
}

#[cfg(test)]
mod tests {
    use crate::rules::testing::{found, heap};

    #[test]
    fn what_has_to_be_ended_is_found_by_tens() {
        for (called, rule) in [
            ("context.WithCancel", "cancel-not-called"),
            ("time.AfterFunc", "timer-not-stopped"),
            ("database/sql.(*DB).Prepare", "statement-not-closed"),
        ] {
            let history = |kept| heap(&[called, "main.f", "main.g"], 40, kept, 96);
            assert_eq!(found(&history(40)), [(rule, Some(2), None)]);
            assert_eq!(found(&history(15)), [], "{rule}: most were ended");
        }
        let history = heap(&["os.newFile", "os.Open", "main.f"], 40, 40, 64);
        assert_eq!(found(&history), [("descriptor-not-closed", Some(3), None)]);
    }

    #[test]
    fn memory_is_found_by_its_size() {
        let kept = heap(&["main.f"], 50, 50, 64 << 10);
        assert_eq!(found(&kept), [("heap-growth", Some(1), None)]);
        assert_eq!(found(&heap(&["main.f"], 50, 50, 64)), [], "small");
        assert_eq!(found(&heap(&["main.f"], 500, 50, 64 << 10)), [], "explained by traffic");
        assert_eq!(found(&heap(&["net/http.(*conn).serve"], 50, 50, 64 << 10)), [], "not its own");
    }
}
