//! Looking at a ledger again and again, so that a leak is noticed without anybody asking.
//!
//! A look escalates the sites it comes to suspect, so the next births there record where they
//! come from; and calms them again when nothing has been overdue there for a while.

use std::{cmp::Reverse, collections::HashMap, fmt, time::Duration};

use crate::{
    clock::Stamp,
    ledger::Ledger,
    observation::Observation,
    site::Site,
    snapshot::{Detector, Entry},
};

/// Sites suspected at a time; those with the most overdue entries first. Each costs its births
/// a backtrace.
pub const MAX_SUSPECTS: usize = 32;

/// A site is calmed after so many looks that found nothing overdue there.
const CALM_AFTER: u32 = 6;

/// Looks at a ledger again and again, and keeps whom it suspects.
///
/// Each suspicion is also noted on the ledger, once ([`Ledger::observations`], rule `overdue`).
/// Dropping the patrol calms the sites that it escalated.
///
/// # Examples
/// ```
/// use staunch_ledger::{Kind, Ledger, Obligation, Patrol};
/// use std::time::Duration;
///
/// let ledger = Ledger::new();
/// let mut patrol = Patrol::new(*ledger);
/// let forgotten = ledger.open(Kind::LEASE, Obligation::ProgressWithin(Duration::from_secs(30)));
/// ledger.advance_clock(Duration::from_secs(60));
/// patrol.look(); // overdue, but perhaps it is just about to end
/// ledger.advance_clock(Duration::from_secs(60));
/// let suspects = patrol.look().suspects;
/// assert_eq!(suspects[0].site.location(), ledger.entry(forgotten.id()).unwrap().born_at());
/// println!("{}", suspects[0]);
/// ```
#[derive(Debug)]
pub struct Patrol {
    ledger: Ledger,
    last_look: Stamp,
    suspects: HashMap<&'static Site, Watched>,
}

/// What the patrol remembers of a suspect.
#[derive(Debug)]
struct Watched {
    /// Somebody else may have escalated it, who will calm it, too.
    escalated_by_us: bool,
    clean_looks: u32,
}

/// What a look found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Look {
    /// Sites that were not suspected before this look.
    pub suspects: Vec<Suspicion>,
    /// Sites that are no longer suspected.
    pub calmed: Vec<&'static Site>,
    /// Whether the look can be believed.
    pub detector: Detector,
}

/// A line whose entries have broken their promise, and not only for a moment: they had before
/// the look before this one.
#[derive(Debug)]
#[non_exhaustive]
pub struct Suspicion {
    /// Where they were born.
    pub site: &'static Site,
    /// How many of them there are.
    pub count: usize,
    /// The one that broke its promise first.
    pub worst: Entry,
}

impl Patrol {
    /// A patrol that has not looked yet.
    pub fn new(ledger: Ledger) -> Patrol {
        Patrol { ledger, last_look: ledger.now(), suspects: HashMap::new() }
    }

    /// Looks at everything live, about 20 ns each, and stops nobody.
    pub fn look(&mut self) -> Look {
        let snapshot = self.ledger.snapshot();
        let since_last = snapshot.taken().since(self.last_look);
        self.last_look = snapshot.taken();
        let (overdue, detector) = snapshot.overdue();
        let overdue = by_site(&overdue, since_last);
        let calmed = self.calm(&overdue);
        Look { suspects: self.suspect(overdue), calmed, detector }
    }

    /// Escalates sites that are not suspected yet, as far as there is room.
    fn suspect(&mut self, overdue: HashMap<&'static Site, Suspicion>) -> Vec<Suspicion> {
        let is_new = |it: &Suspicion| !self.suspects.contains_key(it.site);
        let mut found: Vec<Suspicion> = overdue.into_values().filter(is_new).collect();
        found.sort_by_key(|suspicion| Reverse(suspicion.count));
        found.truncate(MAX_SUSPECTS - self.suspects.len());
        for suspicion in &found {
            let escalated_by_us = suspicion.site.escalate();
            self.suspects.insert(suspicion.site, Watched { escalated_by_us, clean_looks: 0 });
            self.ledger.observe(suspicion.observation(self.last_look));
        }
        found
    }

    /// Lets go of the sites that have been clean for long enough.
    fn calm(&mut self, overdue: &HashMap<&'static Site, Suspicion>) -> Vec<&'static Site> {
        let innocent = self.suspects.extract_if(|site, watched| {
            let clean = !overdue.contains_key(site);
            watched.clean_looks = if clean { watched.clean_looks + 1 } else { 0 };
            watched.clean_looks >= CALM_AFTER
        });
        innocent.map(|(site, watched)| watched.let_go(site)).collect()
    }
}

impl Drop for Patrol {
    fn drop(&mut self) {
        for (site, watched) in self.suspects.drain() {
            watched.let_go(site);
        }
    }
}

impl Watched {
    fn let_go(self, site: &'static Site) -> &'static Site {
        if self.escalated_by_us {
            site.calm();
        }
        site
    }
}

impl Suspicion {
    fn observation(&self, at: Stamp) -> Observation {
        Observation {
            rule: "overdue",
            kind: self.worst.kind(),
            born_at: self.site.location(),
            text: self.text(),
            at,
        }
    }

    fn text(&self) -> String {
        let Suspicion { count, worst, .. } = self;
        let by = worst.overdue_by().unwrap_or_default();
        let (promise, state, label) = (worst.obligation(), worst.state(), worst.label());
        format!("{count} overdue, the worst by {by:?} ({promise}; {state}; {label})")
    }
}

impl fmt::Display for Suspicion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} born at {}: {}", self.worst.kind(), self.site.location(), self.text())
    }
}

/// The entries that have been overdue for at least `by`, by the site of their birth. The first of
/// a site is the worst.
fn by_site(overdue: &[&Entry], by: Duration) -> HashMap<&'static Site, Suspicion> {
    let mut sites = HashMap::<&'static Site, Suspicion>::new();
    for entry in overdue.iter().filter(|entry| entry.overdue_by() >= Some(by)) {
        let new = || Suspicion { site: entry.site(), count: 0, worst: (*entry).clone() };
        sites.entry(entry.site()).or_insert_with(new).count += 1;
    }
    sites
}
