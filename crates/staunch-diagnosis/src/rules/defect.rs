//! What a rule about libraries has found, before it becomes a [`Finding`].

use std::collections::BTreeSet;
use std::time::Duration;

use crate::trend::{Reading, Trend};
use crate::{Cause, Confidence, Finding, Fix, Frame, Kind, Place, Severity, Wait};

/// What leaks, where, and what is said of it.
pub(super) struct Defect<'a> {
    pub(super) rule: &'static str,
    pub(super) kind: Kind,
    pub(super) severity: Severity,
    pub(super) confidence: f64,
    /// What there is of it, behind its number: `goroutines wait for a response`.
    pub(super) what: &'static str,
    pub(super) label: &'static str,
    pub(super) why: &'static str,
    pub(super) fix: &'static str,
    pub(super) readings: Vec<Reading>,
    pub(super) oldest: Option<Duration>,
    pub(super) birth: Option<&'a Frame>,
    pub(super) wait: Option<Line<'a>>,
    pub(super) evidence: Vec<String>,
    /// The types and functions of the program that it belongs to.
    pub(super) owners: BTreeSet<String>,
}

/// A line on which something waits.
pub(super) struct Line<'a> {
    pub(super) frame: &'a Frame,
    pub(super) state: &'a str,
}

impl<'a> Defect<'a> {
    /// Of a rule; all that is known of it is to be filled in.
    pub(super) fn new(rule: &'static str, kind: Kind) -> Defect<'a> {
        Defect {
            rule,
            kind,
            severity: Severity::Leak,
            confidence: 0.0,
            what: "",
            label: "",
            why: "",
            fix: "",
            readings: Vec::new(),
            oldest: None,
            birth: None,
            wait: None,
            evidence: Vec::new(),
            owners: BTreeSet::new(),
        }
    }

    pub(super) fn finding(&self) -> Finding {
        let place = self.birth.or(self.wait.as_ref().map(|wait| wait.frame));
        let line = place.map(|it| format!("{}:{}", it.file, it.line));
        let function = place.map_or("", |it| &*it.function);
        let at = line.as_ref().map_or_else(String::new, |line| format!(" at {line}"));
        let now = self.readings.last().map_or(0, |reading| reading.1);
        Finding {
            id: Finding::id(self.rule, [function, line.as_deref().unwrap_or("")]),
            rule: self.rule,
            kind: self.kind,
            severity: self.severity,
            confidence: Confidence::new(self.confidence),
            summary: format!("{now} {}{at}", self.what),
            count: self.readings.iter().map(|reading| reading.1).collect(),
            oldest: self.oldest,
            birth: self.birth.map(Place::from),
            wait: self.wait.as_ref().map(Line::wait),
            cause: Some(Cause {
                label: self.label.to_owned(),
                text: self.why.to_owned(),
                file: place.map(|it| it.file.to_string()),
                line: place.map(|it| it.line),
            }),
            fix: Some(Fix {
                text: format!("{}{at}", self.fix),
                patch: None,
                places: place.map(Place::from).into_iter().collect(),
            }),
            forecast: self.forecast(now),
            evidence: self.evidence.clone(),
            guide: Finding::guide(self.rule),
        }
    }

    fn forecast(&self, now: u64) -> Option<String> {
        let trend = Trend::of(&self.readings)?;
        let tenfold = trend.reaches(now, now.saturating_mul(10))?;
        let pace = trend.slope * 60.0;
        Some(format!("{pace:.0} more a minute: ten times as many in {}", super::span(tenfold)))
    }
}

impl Line<'_> {
    fn wait(&self) -> Wait {
        Wait {
            function: self.frame.function.to_string(),
            file: self.frame.file.to_string(),
            line: self.frame.line,
            state: self.state.to_owned(),
            code: None,
        }
    }
}
