//! What is said of what was seen.

mod html;
mod json;
mod sarif;
mod text;

use std::{fmt::Write as _, time::Duration};

use staunch_diagnosis::{Finding, Options, Severity, diagnose, suspicions};

use crate::{
    canary,
    known::{Day, Known},
    watch::Seen,
};

/// Whether a report that finds nothing can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detector {
    /// It found the leak that was put there for it.
    Awake,
    /// It did not.
    Blind,
}

/// What a report says whose silence cannot be believed.
const BLIND: &str = "THE DETECTOR IS BLIND: it does not find the leak put there for it";

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For a terminal.
    Text,
    /// One document, for programs.
    Json,
    /// A page that needs nothing else.
    Html,
    /// For code scanning (SARIF 2.1.0).
    Sarif,
}

/// What was found, and what can be said of how.
#[derive(Clone, Debug)]
pub struct Report {
    targets: Vec<String>,
    detector: Detector,
    findings: Vec<Finding>,
    /// What only the source can confirm, and is no finding until then.
    suspicions: Vec<Finding>,
    /// What is known, with the reason why it is left out.
    known: Vec<(Finding, String)>,
    notes: Vec<String>,
    looks: usize,
    watched: Duration,
}

impl Report {
    /// Diagnoses what was seen.
    #[must_use]
    pub fn of(seen: &[Seen], options: &Options, known: &Known) -> Report {
        let detector = if canary::is_found() { Detector::Awake } else { Detector::Blind };
        let histories = || seen.iter().map(|seen| &seen.history);
        let mut report = Report {
            targets: seen.iter().flat_map(|seen| seen.targets.clone()).collect(),
            detector,
            findings: Vec::new(),
            suspicions: Vec::new(),
            known: Vec::new(),
            notes: seen.iter().flat_map(|seen| seen.notes.clone()).collect(),
            looks: histories().map(|history| history.instants().len()).max().unwrap_or(0),
            watched: (seen.iter().filter(|seen| seen.is_timed))
                .filter_map(|seen| Some(seen.history.last()?.at))
                .max()
                .unwrap_or_default(),
        };
        let today = Day::today();
        for seen in seen {
            for finding in diagnose(&seen.history, options) {
                // Dumps say how many there were, but not when.
                let forecast = finding.forecast.filter(|_| seen.is_timed);
                let finding = Finding { forecast, ..finding };
                match known.reason(&finding, today) {
                    Some(reason) => report.known.push((finding, reason.to_owned())),
                    None => report.findings.push(finding),
                }
            }
            let is_unknown = |it: &Finding| known.reason(it, today).is_none();
            report.suspicions.extend(suspicions(&seen.history).into_iter().filter(is_unknown));
        }
        report
    }

    /// Adds what the source of the targets tells: the lines that are named, causes, patches, and what was
    /// suspected if it shows the mistake.
    #[cfg(feature = "code")]
    #[must_use]
    pub fn with_source(mut self, source: &crate::Checkout) -> Report {
        self.notes.extend(source.explain(&mut self.findings));
        let line = |it: &Finding| it.birth.as_ref().map(|it| (it.file.clone(), it.line));
        let named: Vec<_> = self.findings.iter().filter_map(line).collect();
        let mut suspicions = std::mem::take(&mut self.suspicions);
        suspicions.retain(|it| line(it).is_none_or(|line| !named.contains(&line)));
        self.findings.extend(source.confirm(suspicions));
        self
    }

    /// What was found and is not known, the surest first.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether it can be believed.
    #[must_use]
    pub fn detector(&self) -> Detector {
        self.detector
    }

    /// Whether there is a finding at least that bad.
    #[must_use]
    pub fn has(&self, severity: Severity) -> bool {
        self.findings.iter().any(|finding| finding.severity >= severity)
    }

    /// The report as text of that format.
    #[must_use]
    pub fn write(&self, format: Format) -> String {
        match format {
            Format::Text => text::write(self),
            Format::Json => json::write(self),
            Format::Html => html::write(self),
            Format::Sarif => sarif::write(self),
        }
    }

    fn headline(&self) -> String {
        let leaks = self.findings.iter().filter(|it| it.severity >= Severity::Leak).count();
        let warnings = self.findings.len() - leaks;
        let mut line = match (leaks, warnings) {
            (0, 0) => "No leak found".to_owned(),
            (leaks, 0) => counted(leaks, "leak"),
            (0, warnings) => counted(warnings, "warning"),
            (leaks, warnings) => {
                format!("{}, {}", counted(leaks, "leak"), counted(warnings, "warning"))
            }
        };
        let _ = write!(line, " in {}", self.targets.join(" + "));
        let _ = match self.looks {
            0 | 1 => write!(line, " (one look)"),
            looks if self.watched.is_zero() => write!(line, " ({looks} looks)"),
            looks => write!(line, " ({looks} looks in {})", time(self.watched)),
        };
        line
    }
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// `43 s`, `12 min`, `3.5 h`.
fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        ..120.0 => format!("{seconds:.0} s"),
        ..7200.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}

/// Counts over time as bars, the highest full.
fn sparkline(counts: &[u64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let highest = counts.iter().copied().max().unwrap_or(0).max(1);
    let bar = |count: &u64| BARS[(count * 7).div_ceil(highest).min(7) as usize];
    counts.iter().map(bar).collect()
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Warning => "warning",
        Severity::Critical => "critical",
        _ => "leak",
    }
}

#[cfg(test)]
mod tests {
    use staunch_diagnosis::{Cause, Confidence, Fix, History, Kind, Place, Wait};

    use super::*;

    pub(super) fn report() -> Report {
        let finding = Finding {
            id: "00ff".into(),
            rule: "chan-send-abandoned",
            kind: Kind::Goroutine,
            severity: Severity::Leak,
            confidence: Confidence::new(0.95),
            summary: "25 goroutines wait to send <result>, and nobody receives".into(),
            count: vec![1, 5, 25],
            oldest: Some(Duration::from_mins(12)),
            birth: Some(Place {
                function: "main.f".into(),
                file: "app/main.go".into(),
                line: 21,
                code: Some("go func() {".into()),
            }),
            wait: Some(Wait {
                function: "main.f.func1".into(),
                file: "app/main.go".into(),
                line: 23,
                state: "chan send".into(),
                code: Some("results <- query()".into()),
            }),
            cause: Some(Cause {
                label: "Channel".into(),
                text: "main.f has returned".into(),
                file: None,
                line: None,
            }),
            fix: Some(Fix {
                text: "make the channel buffered".into(),
                patch: Some("-a\n+b\n".into()),
                places: Vec::new(),
            }),
            forecast: Some("descriptors run out in 43 min".into()),
            evidence: vec!["its creator is on no stack".into()],
            guide: "https://example/guide".into(),
        };
        Report {
            targets: vec!["http://127.0.0.1:6060".into()],
            detector: Detector::Awake,
            findings: vec![finding.clone()],
            suspicions: Vec::new(),
            known: vec![(finding, "it is in the baseline".into())],
            notes: vec!["the watch was ended after 10 s".into()],
            looks: 3,
            watched: Duration::from_secs(10),
        }
    }

    #[test]
    fn a_history_without_leaks_gives_a_report_without_findings() {
        let seen = Seen {
            targets: vec!["a".into()],
            history: History::new(),
            is_timed: true,
            notes: Vec::new(),
        };
        let report = Report::of(&[seen], &Options::default(), &Known::default());
        assert_eq!(report.detector(), Detector::Awake);
        assert!(report.findings().is_empty() && !report.has(Severity::Warning));
        assert!(report.write(Format::Text).starts_with("No leak found in a"));
    }

    #[test]
    fn every_format_says_that_the_detector_is_blind() {
        let blind = Report { detector: Detector::Blind, ..report() };
        for format in [Format::Text, Format::Html, Format::Sarif] {
            assert!(blind.write(format).contains(BLIND), "{format:?}");
            assert!(!report().write(format).contains(BLIND), "{format:?}");
        }
        assert!(blind.write(Format::Json).contains("\"detector\": \"blind\""));
    }

    #[test]
    fn a_finding_is_as_bad_as_its_severity() {
        let report = report();
        assert!(report.has(Severity::Warning) && report.has(Severity::Leak));
        assert!(!report.has(Severity::Critical));
    }

    #[test]
    fn bars_rise_with_counts() {
        assert_eq!(sparkline(&[0, 1, 5, 25]), "▁▂▃█");
        assert_eq!(sparkline(&[]), "");
        assert_eq!(sparkline(&[0]), "▁");
    }
}
