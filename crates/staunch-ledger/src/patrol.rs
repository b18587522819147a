//! Looking at a ledger again and again, so that a leak is noticed without anybody asking.
//!
//! A look escalates the sites it comes to suspect, so the next births there record where they
//! come from; and calms them again when nothing has been overdue there for a while.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    fmt, mem,
};

use crate::{
    clock::Stamp,
    ledger::{EntryId, Ledger},
    observation::Observation,
    site::Site,
    snapshot::{Detector, Entry},
};

/// Sites that a patrol escalates at a time; those with the most overdue entries first. Each costs
/// its births a backtrace. Others are suspected, told and calmed as well, only not escalated.
pub const MAX_ESCALATED: usize = 32;

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
    /// Who was overdue at the last look; no more than are live.
    overdue: HashSet<EntryId>,
    suspects: HashMap<&'static Site, Watched>,
}

/// What the patrol remembers of a suspect.
#[derive(Debug)]
struct Watched {
    /// Somebody else may have escalated it, who will calm it, too; or there was no room.
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

/// A line whose entries have broken their promise, and not only for a moment: each of them was
/// overdue at two looks in a row.
#[derive(Debug)]
#[non_exhaustive]
pub struct Suspicion {
    /// Where they were born.
    pub site: &'static Site,
    /// How many of them there are.
    pub count: usize,
    /// The one that has been overdue for longest; an orphan is taken to be so since its last
    /// progress.
    pub worst: Entry,
}

impl Patrol {
    /// A patrol that has not looked yet.
    pub fn new(ledger: Ledger) -> Patrol {
        Patrol { ledger, overdue: HashSet::new(), suspects: HashMap::new() }
    }

    /// Looks at everything live, about 20 ns each, and stops nobody.
    pub fn look(&mut self) -> Look {
        let snapshot = self.ledger.snapshot();
        let (overdue, detector) = snapshot.overdue();
        let ids = overdue.iter().map(|entry| entry.id()).collect();
        let before = mem::replace(&mut self.overdue, ids);
        let overdue = by_site(overdue.into_iter().filter(|entry| before.contains(&entry.id())));
        let calmed = self.calm(&overdue);
        Look { suspects: self.suspect(overdue, snapshot.taken()), calmed, detector }
    }

    /// Tells of sites that are not suspected yet, and escalates them as far as there is room.
    fn suspect(
        &mut self,
        overdue: HashMap<&'static Site, Suspicion>,
        now: Stamp,
    ) -> Vec<Suspicion> {
        let is_new = |it: &Suspicion| !self.suspects.contains_key(it.site);
        let mut found: Vec<Suspicion> = overdue.into_values().filter(is_new).collect();
        found.sort_by_key(|suspicion| Reverse(suspicion.count));
        let escalated = self.suspects.values().filter(|watched| watched.escalated_by_us).count();
        let mut room = MAX_ESCALATED.saturating_sub(escalated);
        for suspicion in &found {
            let escalated_by_us = room > 0 && suspicion.site.escalate();
            room -= usize::from(escalated_by_us);
            self.suspects.insert(suspicion.site, Watched { escalated_by_us, clean_looks: 0 });
            self.ledger.observe(suspicion.observation(now));
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

/// Entries by the site of their birth. The first of a site is the worst.
fn by_site<'a>(overdue: impl Iterator<Item = &'a Entry>) -> HashMap<&'static Site, Suspicion> {
    let mut sites = HashMap::<&'static Site, Suspicion>::new();
    for entry in overdue {
        let new = || Suspicion { site: entry.site(), count: 0, worst: entry.clone() };
        sites.entry(entry.site()).or_insert_with(new).count += 1;
    }
    sites
}
