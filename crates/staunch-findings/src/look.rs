//! Looks at a ledger again and again, and remembers what it saw.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    panic::Location,
    time::Duration,
};

use staunch_diagnosis::{
    EntryGroup, Finding, Frame, Held, History, Names, Options, Snapshot, diagnose,
};
use staunch_ledger::{
    Detector, EntryId, Group, Holding, Kind, Ledger, Snapshot as LedgerSnapshot, Stamp,
};

use crate::{canary, report::Report};

/// Looks that are remembered. When there are more, every other one of the older half is forgotten:
/// rules see the last looks, and as much of those before as growth needs to be told from noise.
pub const LOOKS_MAX: usize = 64;

/// Birth lines (by kind) that are remembered of a look: those with something overdue first, then the
/// largest. A program has hundreds.
pub const GROUPS_MAX: usize = 1000;

/// The rules ask for so many looks before they believe that something grows.
pub(crate) const LOOKS_OF_GROWTH: usize = 5;

/// Looks at a ledger when it is told to; [`watch`](crate::watch) does so at intervals.
///
/// # Examples
/// ```
/// use staunch_findings::Lookout;
/// use staunch_ledger::{Deadline, Kind, Ledger, Obligation};
/// use std::time::Duration;
///
/// let ledger = Ledger::new();
/// let by = Obligation::EndsBy(Deadline::after(Duration::from_secs(5)));
/// let forgotten = ledger.open(Kind::FILE, by);
/// ledger.advance_clock(Duration::from_secs(60));
///
/// let mut lookout = Lookout::new(*ledger);
/// let report = lookout.look();
/// let birth = report.findings[0].birth.as_ref().unwrap();
/// let born_at = ledger.entry(forgotten.id()).unwrap().born_at();
/// assert_eq!((&*birth.file, birth.line), (born_at.file(), born_at.line()));
/// ```
#[derive(Debug)]
pub struct Lookout {
    ledger: Ledger,
    history: History,
    names: Names,
    begun: Stamp,
    looks: u64,
    /// What was overdue at the last look.
    overdue: HashSet<EntryId>,
}

/// A kind, and where it was born.
type Line = (Kind, &'static Location<'static>);

impl Lookout {
    /// One that has not looked yet.
    pub fn new(ledger: Ledger) -> Lookout {
        Lookout {
            ledger,
            history: History::new(),
            names: Names::default(),
            begun: ledger.now(),
            looks: 0,
            overdue: HashSet::new(),
        }
    }

    /// Looks, and says what the rules find in all that it has seen.
    ///
    /// Takes about 0.1 µs for each live entry and some for each birth line, allocates, and stops
    /// nobody.
    pub fn look(&mut self) -> Report {
        let seen = self.ledger.snapshot();
        self.looks += 1;
        let (lasting, detector) = self.lasting(&seen);
        let entries = Some(groups(&seen, self.looks, &lasting, &mut self.names));
        let held = Some(held(&seen, self.looks, &mut self.names));
        let at = seen.taken().since(self.begun);
        self.history.add(at, Snapshot { entries, held, ..Snapshot::default() });
        self.history.thin(LOOKS_MAX);
        self.names.forget_unused();
        let (findings, is_awake) = self.diagnose();
        let is_awake = is_awake && detector == Detector::Awake;
        Report {
            findings,
            detector: if is_awake { Detector::Awake } else { Detector::Broken },
            looks: self.looks,
            watched: at,
            unrecorded: seen.unrecorded(),
        }
    }

    /// The lines of what is overdue and was at the last look, too.
    fn lasting(&mut self, seen: &LedgerSnapshot) -> (HashSet<Line>, Detector) {
        let (overdue, detector) = seen.overdue();
        let ids = overdue.iter().map(|entry| entry.id()).collect();
        let before = std::mem::replace(&mut self.overdue, ids);
        let lasting = overdue.iter().filter(|entry| before.contains(&entry.id()));
        (lasting.map(|entry| (entry.kind(), entry.born_at())).collect(), detector)
    }

    /// What is found, and whether the canaries were among it.
    fn diagnose(&self) -> (Vec<Finding>, bool) {
        let mut findings = diagnose(&self.history, &Options::default());
        let sees_growth = self.history.instants().len() >= LOOKS_OF_GROWTH;
        let is_awake = canary::take(&mut findings, sees_growth);
        (findings, is_awake)
    }
}

/// What rules know of a ledger, with the canaries of this look.
fn groups(
    seen: &LedgerSnapshot,
    looks: u64,
    lasting: &HashSet<Line>,
    names: &mut Names,
) -> Vec<EntryGroup> {
    let mut lines = by_line(seen.groups());
    lines.sort_by_key(|group| Reverse((group.overdue, group.count)));
    lines.truncate(GROUPS_MAX);
    let groups = lines.iter().map(|group| {
        // The rule goes by age; here it is known which of them they are.
        let is_lasting = lasting.contains(&(group.kind, group.born_at));
        let oldest_overdue = if is_lasting { group.oldest_overdue } else { Duration::ZERO };
        EntryGroup { oldest_overdue, ..entry_group(group, names) }
    });
    canary::groups(looks).into_iter().chain(groups).collect()
}

/// Those of one birth line and kind together, whatever they are doing: no rule tells them apart. What
/// they have promised is what those that are overdue have.
fn by_line(groups: Vec<Group>) -> Vec<Group> {
    let mut places = HashMap::new();
    let mut lines: Vec<Group> = Vec::new();
    for group in groups {
        let place = *places.entry((group.kind, group.born_at)).or_insert(lines.len());
        let Some(line) = lines.get_mut(place) else {
            lines.push(group);
            continue;
        };
        if line.overdue == 0 && group.overdue > 0 {
            line.obligation = group.obligation;
        }
        line.count += group.count;
        line.overdue += group.overdue;
        line.oldest_overdue = line.oldest_overdue.max(group.oldest_overdue);
        line.orphans += group.orphans;
        line.bytes += group.bytes;
        line.oldest = line.oldest.max(group.oldest);
    }
    lines
}

/// What is held for routes, with the canary of this look.
fn held(seen: &LedgerSnapshot, looks: u64, names: &mut Names) -> Vec<Held> {
    let mut holdings = seen.holdings();
    holdings.sort_by_key(|holding| Reverse((holding.still, holding.count)));
    holdings.truncate(GROUPS_MAX);
    let held = holdings.iter().map(|holding: &Holding| Held {
        route: names.of(&holding.route),
        kind: names.of(holding.kind.name()),
        birth: birth(holding.born_at, names),
        count: holding.count,
        still: holding.still,
        text: holding.to_string(),
    });
    std::iter::once(canary::held(looks)).chain(held).collect()
}

/// A ledger knows no functions.
fn birth(born_at: &Location<'_>, names: &mut Names) -> Frame {
    Frame { function: names.of(""), file: names.of(born_at.file()), line: born_at.line() }
}

fn entry_group(group: &Group, names: &mut Names) -> EntryGroup {
    EntryGroup {
        kind: names.of(group.kind.name()),
        birth: birth(group.born_at, names),
        state: None,
        obligation: names.of(&group.obligation.to_string()),
        count: group.count,
        overdue: group.overdue,
        oldest_overdue: group.oldest_overdue,
        orphans: group.orphans,
        bytes: group.bytes,
        oldest: group.oldest,
    }
}

#[cfg(test)]
mod tests {
    use staunch_ledger::{Account, Obligation};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_orphan_is_found_by_its_line_and_gone_when_it_ends() {
        let ledger = Ledger::new();
        let request = ledger.open(Kind::REQUEST, Obligation::EndsWithParent);
        let (kept, line) = (request.child(Kind::BODY, Obligation::EndsWithParent), line!());
        let mut lookout = Lookout::new(*ledger);
        assert!(lookout.look().findings.is_empty(), "its owner lives");
        drop(request);
        assert!(lookout.look().findings.is_empty(), "it may be about to end");
        let report = lookout.look();
        let [finding] = &report.findings[..] else { panic!("{report:?}") };
        assert_eq!(finding.rule, "orphan");
        assert_eq!(finding.birth.as_ref().unwrap().line, line);
        drop(kept);
        assert!(lookout.look().findings.is_empty());
    }

    /// Each look meets another one in its moment.
    #[test]
    fn two_that_are_orphans_for_a_moment_are_none() {
        let ledger = Ledger::new();
        let mut lookout = Lookout::new(*ledger);
        let open = || {
            let request = ledger.open(Kind::REQUEST, Obligation::EndsWithParent);
            let body = request.child(Kind::BODY, Obligation::EndsWithParent);
            (request, body)
        };
        let pairs: Vec<_> = (0..5).map(|_| open()).collect();
        ledger.advance_clock(60 * SECOND);
        lookout.look();
        for (request, body) in pairs {
            drop(request);
            ledger.advance_clock(SECOND);
            let report = lookout.look();
            assert_eq!((report.findings.len(), report.detector), (0, Detector::Awake));
            drop(body);
        }
    }

    #[test]
    fn what_only_grows_is_found_after_some_looks() {
        let ledger = Ledger::new();
        let mut lookout = Lookout::new(*ledger);
        let mut kept: Vec<Account> = Vec::new();
        let mut found = Vec::new();
        for _ in 0..10 {
            kept.extend((0..10).map(|_| ledger.open(Kind::OTHER, Obligation::EndsWithParent)));
            ledger.advance_clock(SECOND);
            let report = lookout.look();
            assert_eq!(report.detector, Detector::Awake);
            found.push(report.findings.len());
        }
        assert_eq!(found, [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn the_canaries_are_found_in_each_look_for_ever_and_shown_to_nobody() {
        let ledger = Ledger::new();
        let mut lookout = Lookout::new(*ledger);
        for _ in 0..1000 {
            ledger.advance_clock(SECOND);
            let report = lookout.look();
            assert_eq!((report.detector, report.findings.len()), (Detector::Awake, 0));
            assert!(lookout.history.instants().len() <= LOOKS_MAX);
        }
    }

    /// Beside traffic that grows, growth is silent; the canary's is not.
    #[test]
    fn a_look_is_awake_whatever_traffic_begins() {
        let ledger = Ledger::new();
        let mut lookout = Lookout::new(*ledger);
        let mut clients: Vec<Account> = Vec::new();
        for looks in 0..20 {
            if looks % 7 == 3 {
                let new =
                    (0..5000).map(|_| ledger.open(Kind::CONNECTION, Obligation::EndsWithParent));
                clients.extend(new);
            }
            ledger.advance_clock(SECOND);
            let report = lookout.look();
            assert_eq!((report.detector, report.findings.len()), (Detector::Awake, 0), "{looks}");
        }
    }

    #[test]
    fn a_look_that_misses_a_canary_is_blind() {
        let ledger = Ledger::new();
        let mut lookout = Lookout::new(*ledger);
        lookout.look();
        // Forgets what the canaries were at the look before, as a rule that fails would.
        lookout.history.add(
            lookout.history.last().unwrap().at,
            Snapshot { entries: Some(Vec::new()), ..Snapshot::default() },
        );
        assert_eq!(lookout.look().detector, Detector::Broken);
    }
}
