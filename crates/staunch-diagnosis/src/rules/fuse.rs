//! One leak, one finding: what several rules have seen of one mistake becomes the evidence of whoever knows most.
//!
//! Rules about goroutines know where something waits, and come before those about memory, which know what is kept;
//! both come before counts of descriptors and sockets, which are what the others look like from outside. Two belong
//! together if they name one line, or a type or function of the program that is neither's `main`, whose handlers are
//! all that it has in common. Rows and a response's body that one function leaves open on two lines are two leaks,
//! though: what has to be ended by a call of its own is told apart by what it is. A count belongs to whatever grows by
//! at least half as much.

use std::collections::BTreeSet;

use crate::{Finding, Kind, stack};

use super::defect::Defect;

/// Adds what `defects` say to `findings`: as findings of their own, or as evidence.
pub(super) fn add(findings: &mut Vec<Finding>, defects: &[Defect<'_>]) {
    let mut owners: Vec<BTreeSet<String>> = findings.iter().map(owners_of).collect();
    for defect in defects {
        let found = defect.finding();
        let own = owners_of(&found);
        let kin = std::iter::zip(&mut *findings, &owners).find(|(other, others)| {
            let mut telling = own.union(&defect.owners).filter(|owner| is_telling(owner));
            is_one(other, &found)
                || (!are_apart(other.rule, found.rule)
                    && telling.any(|owner| others.contains(owner)))
        });
        if let Some((other, _)) = kin {
            absorb(other, &found);
        } else {
            owners.push(own);
            findings.push(found);
        }
    }
}

/// Counts of descriptors and of sockets in CLOSE_WAIT that others explain.
pub(super) fn add_counts(findings: &mut Vec<Finding>, counts: Vec<Finding>) {
    let known = findings.len();
    for count in counts {
        let explains =
            |it: &&mut Finding| it.kind != Kind::Memory && 2 * grown(it) >= grown(&count);
        match findings[..known].iter_mut().find(explains) {
            Some(cause) => absorb(cause, &count),
            None => findings.push(count),
        }
    }
}

/// A context that is not cancelled is why what waits for it goes on waiting.
fn absorb(finding: &mut Finding, other: &Finding) {
    if other.rule == "cancel-not-called" {
        finding.cause.clone_from(&other.cause);
        finding.fix.clone_from(&other.fix);
    }
    finding.evidence.push(format!("{}: {}", other.rule, other.summary));
}

fn grown(finding: &Finding) -> u64 {
    match &finding.count[..] {
        [first, .., last] => last.saturating_sub(*first),
        _ => 0,
    }
}

/// Whether two rules are about things of which each has to be ended for itself.
fn are_apart(one: &str, other: &str) -> bool {
    let (one, other) = (ended(one), ended(other));
    one.is_some() && other.is_some() && one != other
}

/// What has to be ended; contexts and timers are not among them, for what waits for them is the same leak.
fn ended(rule: &str) -> Option<&'static str> {
    Some(match rule {
        // A transaction that is not ended keeps the connection that rows wait for.
        "rows-not-closed" | "transaction-not-ended" | "pool-exhausted" => "connection of a pool",
        "statement-not-closed" => "statement",
        "body-not-closed" | "deadline-not-set" | "transport-per-request" => "response",
        "connection-not-closed" => "connection",
        "descriptor-not-closed" => "descriptor",
        _ => return None,
    })
}

/// Whether two name one line.
fn is_one(one: &Finding, other: &Finding) -> bool {
    let places = |it: &Finding| -> BTreeSet<(String, u32)> {
        let birth = it.birth.iter().map(|it| (it.file.clone(), it.line));
        birth.chain(it.wait.iter().map(|it| (it.file.clone(), it.line))).collect()
    };
    !places(one).is_disjoint(&places(other))
}

fn owners_of(finding: &Finding) -> BTreeSet<String> {
    let birth = finding.birth.iter().map(|it| &it.function);
    let functions = birth.chain(finding.wait.iter().map(|it| &it.function));
    functions.map(|it| stack::owner(it)).filter(|owner| is_telling(owner)).collect()
}

fn is_telling(owner: &str) -> bool {
    owner != "main.main"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::frames;
    use crate::trend::Reading;
    use std::time::Duration;

    const READINGS: [Reading; 2] = [(Duration::ZERO, 10), (Duration::from_secs(9), 50)];

    fn defect<'a>(rule: &'static str, kind: Kind, birth: &'a crate::Frame) -> Defect<'a> {
        let readings = READINGS.to_vec();
        Defect { confidence: 0.9, readings, birth: Some(birth), ..Defect::new(rule, kind) }
    }

    fn rules(findings: &[Finding]) -> Vec<&'static str> {
        findings.iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn what_is_of_one_type_is_one_finding() {
        let frames = frames(&["main.(*quotes).quote", "main.(*quotes).watch", "main.other"]);
        let of = |rule, index: usize| defect(rule, Kind::Goroutine, &frames[index]);
        let mut findings = Vec::new();
        add(&mut findings, &[of("one", 0), of("same", 1), of("other", 2)]);
        assert_eq!(rules(&findings), ["one", "other"]);
        assert!(findings[0].evidence[0].starts_with("same: "), "{:?}", findings[0].evidence);
    }

    #[test]
    fn what_has_to_be_ended_for_itself_is_a_leak_of_its_own() {
        let frames = frames(&["main.find", "main.find", "main.find"]);
        let of = |rule, index: usize| defect(rule, Kind::Pool, &frames[index]);
        let mut findings = Vec::new();
        let defects = [of("rows-not-closed", 0), of("body-not-closed", 1), of("heap-growth", 2)];
        add(&mut findings, &defects);
        assert_eq!(rules(&findings), ["rows-not-closed", "body-not-closed"]);
        add(&mut findings, &[of("transaction-not-ended", 2), of("statement-not-closed", 0)]);
        assert_eq!(rules(&findings), ["rows-not-closed", "body-not-closed"]);
    }

    #[test]
    fn handlers_in_main_are_not_all_one() {
        let frames = frames(&["main.main.func1", "main.main.func2"]);
        let of = |rule, index: usize| defect(rule, Kind::Goroutine, &frames[index]);
        let mut findings = Vec::new();
        add(&mut findings, &[of("one", 0), of("other", 1)]);
        assert_eq!(rules(&findings), ["one", "other"]);
    }

    #[test]
    fn a_count_belongs_to_what_grows_as_much() {
        let frames = frames(&["main.dial"]);
        let count = |now| {
            let mut finding = defect("fd-growth", Kind::Fd, &frames[0]).finding();
            finding.count = vec![10, now];
            vec![finding]
        };
        let mut findings = vec![defect("cause", Kind::Socket, &frames[0]).finding()];
        add_counts(&mut findings, count(60));
        assert_eq!(rules(&findings), ["cause"]);
        add_counts(&mut findings, count(600));
        assert_eq!(rules(&findings), ["cause", "fd-growth"]);
    }
}
