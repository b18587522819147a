//! Goroutines that wait for others, and for ever; and those that never come to an end.
//!
//! # Design
//!
//! `site.rs` gathers waiting tasks by the line that started them, and follows them through the
//! instants. `evidence.rs` says what speaks for a site being a leak: who could still wake it
//! (`reach.rs`), whether it grows, for how long it has waited, whether the runtime itself has given
//! it up. Then the rule for what it waits for, a file each, weighs that evidence: the same facts mean
//! more for a lock, which no clock ever gives back, than for a channel, which a timer may send on.
//! `cause.rs` looks at all suspects that belong together and names the kind of mistake; `origin.rs` finds
//! lines to change that no dump shows in a heap.
//!
//! # What is never a finding here
//!
//! The main task, unless the runtime has found that nobody goes on; tasks that wait within a
//! standard library (connections of `net/http`, `database/sql`, `os/signal`); those that wait for the
//! kernel or for a time; a task that somebody alive may wake and that neither grows nor has waited
//! for long.

mod cause;
mod chan_receive;
mod chan_send;
mod cond;
mod endless;
mod evidence;
mod lock;
mod nil_chan;
mod origin;
mod reach;
mod score;
mod select;
mod select_no_cases;
mod semaphore;
mod site;
mod wait_group;

use std::fmt::Write as _;
use std::time::Duration;

use crate::trend::Trend;
use crate::{
    Confidence, Finding, Fix, Heap, History, Kind, Place, Runtime, Severity, Wait, Waiting,
};

use cause::{Label, Suspect};
use evidence::Evidence;
use score::Score;
use site::Site;

/// How a rule goes about one kind of wait.
pub(super) struct Rule {
    /// The name of its page in the guide.
    pub(super) name: &'static str,
    /// Weighs what is known of a site.
    weigh: fn(&Evidence<'_>) -> Score,
    /// What the tasks do, behind their number: `wait to send to a channel that nobody receives from`.
    does: &'static str,
    /// What to change, in front of the line that the fix names.
    fix: &'static str,
}

/// Of what the wait of a site is, and so by which rule it is judged.
fn rule(waiting: Waiting) -> &'static Rule {
    match waiting {
        Waiting::ChanSend => &chan_send::RULE,
        Waiting::NilChan => &nil_chan::RULE,
        Waiting::Select => &select::RULE,
        Waiting::SelectNoCases => &select_no_cases::RULE,
        Waiting::Lock | Waiting::ReadLock => &lock::RULE,
        Waiting::WaitGroup => &wait_group::RULE,
        Waiting::Cond => &cond::RULE,
        Waiting::Semaphore => &semaphore::RULE,
        Waiting::ChanReceive => &chan_receive::RULE,
        _ => &endless::RULE,
    }
}

/// Every site that is more than `confidence_min` likely to wait for ever.
pub(super) fn find(history: &History, confidence_min: f64) -> Vec<Finding> {
    if !history.tasks().all(|(_, tasks)| tasks.runtime == Runtime::Go) {
        return Vec::new();
    }
    let sites = site::sites(history);
    let suspects = evidence::gather(history, &sites).into_iter().filter_map(|evidence| {
        let rule = rule(evidence.site.wait().waiting);
        let score = (rule.weigh)(&evidence);
        (score.value() >= confidence_min).then_some(Suspect { site: evidence.site, rule, score })
    });
    let suspects: Vec<Suspect<'_>> = suspects.collect();
    let (labels, heap) = (cause::labels(&suspects), origin::heap(history));
    suspects.iter().zip(labels).map(|(suspect, label)| finding(suspect, label, heap)).collect()
}

fn finding(suspect: &Suspect<'_>, label: Label, heap: Option<&Heap>) -> Finding {
    let Suspect { site, rule, score } = suspect;
    let wait = site.wait();
    let birth = site.birth.map(Place::from);
    Finding {
        id: id(rule, site),
        rule: rule.name,
        kind: Kind::Goroutine,
        severity: if site.grows() { Severity::Critical } else { Severity::Leak },
        confidence: Confidence::new(score.value()),
        summary: summary(rule, site),
        count: site.readings.iter().map(|reading| reading.1).collect(),
        oldest: site.oldest(),
        birth,
        wait: Some(Wait {
            function: wait.call.function.to_string(),
            file: wait.call.file.to_string(),
            line: wait.call.line,
            state: wait.groups[0].state.text.to_string(),
            code: None,
        }),
        cause: Some(label.cause(wait.call)),
        fix: Some(fix(rule, site, label, heap)),
        forecast: forecast(site),
        evidence: evidence_lines(site, score),
        guide: Finding::guide(rule.name),
    }
}

/// Made of what stays: the line that starts the tasks and the function they run. The line on which
/// most of them wait may be another one in the next run.
fn id(rule: &Rule, site: &Site<'_>) -> String {
    let birth = site.birth.unwrap_or(site.entry);
    let place = format!("{}:{}", birth.file, birth.line);
    Finding::id(rule.name, [&*birth.function, &place, &*site.entry.function])
}

fn summary(rule: &Rule, site: &Site<'_>) -> String {
    let count = site.count();
    let (tasks, they) = if count == 1 { ("goroutine", "waits") } else { ("goroutines", "wait") };
    let call = site.wait().call;
    let born =
        site.birth.map_or(String::new(), |it| format!(", started at {}:{}", it.file, it.line));
    format!(
        "{count} {tasks} of {}{born}, {they} {} at {}:{}",
        site.entry.function, rule.does, call.file, call.line
    )
}

/// The line of the wait; and where the other end is, as far as a heap tells: the channel is to be made
/// otherwise, and a context is ended by whoever called for what carries it.
fn fix(rule: &Rule, site: &Site<'_>, label: Label, heap: Option<&Heap>) -> Fix {
    let call = site.wait().call;
    let mut text = format!("{} at {}:{}", rule.fix, call.file, call.line);
    let mut places = vec![Place::from(call)];
    let (what, line) = if label == Label::ChannelContext {
        ("what was started is ended by its caller", heap.and_then(|it| origin::caller(site, it)))
    } else {
        ("the channel is made", heap.and_then(|it| origin::channel(site, it)))
    };
    if let Some(line) = line {
        let _ = write!(text, "; {what} at {}:{}", line.file, line.line);
        places.push(Place::from(line));
    }
    Fix { text, patch: None, places }
}

fn forecast(site: &Site<'_>) -> Option<String> {
    let trend = Trend::of(&site.readings).filter(|trend| trend.slope > 0.0 && site.grows())?;
    let tenfold = trend.reaches(site.count(), site.count().saturating_mul(10))?;
    let pace = trend.slope * 60.0;
    Some(format!("{pace:.0} more a minute: ten times as many in {}", duration(tenfold)))
}

fn evidence_lines(site: &Site<'_>, score: &Score) -> Vec<String> {
    let mut lines = score.reasons().to_vec();
    if site.readings.len() > 1 {
        let counts: Vec<_> = site.readings.iter().map(|reading| reading.1.to_string()).collect();
        lines.push(format!("count over time: {}", counts.join(" ")));
    }
    for place in site.waits.iter().skip(1).take(OTHER_PLACES_MAX) {
        let call = place.call;
        lines.push(format!(
            "{} more wait in {} at {}:{}",
            place.count, call.function, call.file, call.line
        ));
    }
    lines
}

const OTHER_PLACES_MAX: usize = 4;

/// A duration as people say it: its two largest units.
fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests;
