//! `rows-not-closed`, `transaction-not-ended` and `pool-exhausted`: who waits for a connection of `database/sql`, and
//! who keeps one.
//!
//! **Proves**: goroutines that wait for a connection of the pool become more and more, and none of those that were
//! there has got one: the connections do not come back. Transactions with a context have a goroutine each
//! (`Tx.awaitDone`), rows with a context as well (`Rows.awaitDone`); more and more of them, who stay, are transactions
//! and rows that nobody ends.
//!
//! **Cannot**: see who holds the connections when neither has a goroutine (rows of a context without end). Then the
//! line where they wait is named: where all wait on one line, it is as a rule that line which takes and does not give
//! back.

use crate::{History, Kind, Severity, TaskGroup, Waiting, stack};

use super::defect::Defect;
use super::pile::{By, Pile, piles};
use super::retained::{Retained, Use};

pub(super) fn find<'a>(history: &'a History, retained: &Retained<'a>) -> Vec<Defect<'a>> {
    let mut defects: Vec<_> = piles(history, By::Call, is_of_database)
        .iter()
        .filter(|pile| pile.grows())
        .filter_map(|pile| defect(pile, retained))
        .collect();
    if defects.iter().any(|it| it.rule == "rows-not-closed") {
        defects.retain(|it| it.rule != "pool-exhausted");
    }
    defects
}

fn is_of_database(group: &TaskGroup) -> bool {
    matches!(group.state.waiting, Waiting::Select | Waiting::ChanReceive)
        && group.frames.iter().any(|it| stack::package(&it.function) == "database/sql")
}

fn defect<'a>(pile: &Pile<'a>, retained: &Retained<'a>) -> Option<Defect<'a>> {
    if pile.calls("database/sql.(*Tx).awaitDone") {
        let birth = retained.line(Use::Transaction);
        return Some(Defect {
            what: "transactions are open, and none of them ends",
            label: "Transaction not ended",
            why: "a path between Begin and Commit leaves without Rollback, and keeps the connection",
            fix: "put `defer tx.Rollback()` behind the check of the error of Begin: behind Commit it does nothing",
            birth,
            ..pile.defect("transaction-not-ended", Kind::Pool)
        });
    }
    if pile.calls("database/sql.(*Rows).awaitDone") {
        return Some(Defect { what: "rows are open, and nobody closes them", ..rows(pile) });
    }
    let is_query = |function: &str| function.contains(").Query");
    let waits = pile.calls("database/sql.(*DB).conn") && pile.call.is_some();
    let asks = pile.frames.iter().any(|it| is_query(&it.function));
    match (waits, asks) {
        (true, true) => Some(rows(pile)),
        (true, false) => Some(Defect {
            severity: Severity::Critical,
            what: "goroutines wait for a connection of the pool, and none comes back",
            label: "Pool exhausted",
            why: "whoever has taken connections keeps them: rows, statements or transactions that are not ended",
            fix: "end on every path what takes a connection; the first to look at is",
            ..pile.defect("pool-exhausted", Kind::Pool)
        }),
        _ => None,
    }
}

/// All who query wait for a connection: rows keep theirs until they are closed or read to the end.
fn rows<'a>(pile: &Pile<'a>) -> Defect<'a> {
    Defect {
        severity: Severity::Critical,
        what: "goroutines wait for a connection of the pool, and none comes back",
        label: "Rows not closed",
        why: "rows that are not read to their end keep their connection until they are closed",
        fix: "put `defer rows.Close()` behind the check of the error of the query",
        ..pile.defect("rows-not-closed", Kind::Pool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::{crowd, found};

    fn check(functions: &[&str], rule: &'static str, wait: Option<u32>) {
        let history = |more| crowd(functions, "net/http.(*Server).Serve", Waiting::Select, more);
        assert_eq!(found(&history(5)), [(rule, None, wait)]);
        assert_eq!(found(&history(0)), []);
    }

    #[test]
    fn who_waits_for_a_connection_is_told_apart_by_what_it_asks_for() {
        let pool = "database/sql.(*DB).conn";
        let handler = "net/http.(*conn).serve";
        let query = [pool, "database/sql.(*DB).Query", "main.find", handler];
        check(&query, "rows-not-closed", Some(3));
        let exec = [pool, "database/sql.(*DB).Exec", "main.store", handler];
        check(&exec, "pool-exhausted", Some(3));
        check(&["database/sql.(*Tx).awaitDone"], "transaction-not-ended", None);
        check(&["database/sql.(*Rows).awaitDone"], "rows-not-closed", None);
    }
}
