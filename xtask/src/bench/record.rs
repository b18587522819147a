//! What was measured, and how it is shown: as JSON while the bench runs, or as tables at its end.

use serde::Serialize;

use super::distinct;
use super::stats::Spread;
use super::table::{figure, render};

pub(super) enum Format {
    /// A line for each measurement, as soon as it is taken.
    Json,
    /// Medians and ratios, at the end.
    Table,
}

/// A quantity with its unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
}

/// One round of one subject in one case.
#[derive(Clone, Copy)]
pub(super) struct Sample<'a> {
    pub(super) case: &'a str,
    pub(super) subject: &'a str,
    pub(super) round: u32,
}

/// The measurements of a bench.
pub(super) struct Record {
    bench: &'static str,
    format: Format,
    measurements: Vec<Measurement>,
}

#[derive(Serialize)]
struct Measurement {
    bench: &'static str,
    case: String,
    subject: String,
    round: u32,
    metric: &'static str,
    unit: &'static str,
    value: f64,
}

impl Record {
    pub(super) fn new(bench: &'static str, format: Format) -> Self {
        Self { bench, format, measurements: Vec::new() }
    }

    /// Says on standard error what is being measured.
    pub(super) fn announce(&self, sample: Sample<'_>, rounds: u32) {
        let Sample { case, subject, round } = sample;
        eprintln!("{}: round {round} of {rounds}: {case}: {subject}", self.bench);
    }

    pub(super) fn add(&mut self, sample: Sample<'_>, metric: Metric, value: f64) {
        let measurement = Measurement {
            bench: self.bench,
            case: sample.case.to_owned(),
            subject: sample.subject.to_owned(),
            round: sample.round,
            metric: metric.name,
            unit: metric.unit,
            value,
        };
        if let Format::Json = self.format {
            println!("{}", json(&measurement));
        }
        self.measurements.push(measurement);
    }

    pub(super) fn finish(&self) {
        if let Format::Table = self.format {
            print!("{}", self.tables());
        }
    }

    /// For each case its medians, and the ratios of its first subject to each of the others.
    ///
    /// The order of cases, subjects and metrics is that of the first round.
    fn tables(&self) -> String {
        let cases = distinct(self.measurements.iter().map(|it| it.case.as_str()));
        cases.iter().map(|case| self.case(case).tables()).collect::<Vec<_>>().join("\n")
    }

    fn case<'a>(&'a self, name: &'a str) -> Case<'a> {
        let measurements: Vec<_> = self.measurements.iter().filter(|it| it.case == name).collect();
        Case {
            title: format!("{}: {name}", self.bench),
            subjects: distinct(measurements.iter().map(|it| it.subject.as_str())),
            metrics: distinct(
                measurements.iter().map(|it| Metric { name: it.metric, unit: it.unit }),
            ),
            rounds: distinct(measurements.iter().map(|it| it.round)),
            measurements,
        }
    }
}

fn json(measurement: &Measurement) -> String {
    serde_json::to_string(measurement).expect("strings and numbers are always JSON")
}

/// The measurements of one case, and the axes of its tables.
struct Case<'a> {
    title: String,
    subjects: Vec<&'a str>,
    metrics: Vec<Metric>,
    rounds: Vec<u32>,
    measurements: Vec<&'a Measurement>,
}

impl Case<'_> {
    fn tables(&self) -> String {
        let mut text = format!("{} (medians, rounds: {})\n", self.title, self.rounds.len());
        text += &render(&self.medians());
        if self.subjects.len() > 1 {
            text += "\nratios within a round: median (min..max)\n";
            text += &render(&self.ratios());
        }
        text
    }

    fn medians(&self) -> Vec<Vec<String>> {
        let mut rows =
            vec![self.heading("subject", |metric| format!("{} {}", metric.name, metric.unit))];
        rows.extend(self.subjects.iter().map(|subject| {
            self.row((*subject).to_owned(), |metric| {
                let values = self.rounds.iter().filter_map(|&it| self.value(subject, metric, it));
                Some(figure(Spread::of(values)?.median))
            })
        }));
        rows
    }

    fn ratios(&self) -> Vec<Vec<String>> {
        let mut rows = vec![self.heading("", |metric| metric.name.to_owned())];
        let Some((first, others)) = self.subjects.split_first() else { return rows };
        rows.extend(others.iter().map(|other| {
            self.row(format!("{first}/{other}"), |metric| {
                let Spread { median, min, max } = Spread::of(self.ratio(first, other, metric))?;
                Some(format!("{median:.2} ({min:.2}..{max:.2})"))
            })
        }));
        rows
    }

    /// The ratio in each round that measured both.
    fn ratio(&self, one: &str, other: &str, metric: Metric) -> impl Iterator<Item = f64> {
        self.rounds.iter().filter_map(move |&round| {
            Some(self.value(one, metric, round)? / self.value(other, metric, round)?)
        })
    }

    fn value(&self, subject: &str, metric: Metric, round: u32) -> Option<f64> {
        let is_it = |it: &&&Measurement| {
            it.subject == subject && it.metric == metric.name && it.round == round
        };
        self.measurements.iter().find(is_it).map(|it| it.value)
    }

    fn heading(&self, first: &str, cell: impl Fn(Metric) -> String) -> Vec<String> {
        self.row(first.to_owned(), |metric| Some(cell(metric)))
    }

    fn row(&self, first: String, cell: impl Fn(Metric) -> Option<String>) -> Vec<String> {
        let cells = self.metrics.iter().map(|&metric| cell(metric).unwrap_or_default());
        std::iter::once(first).chain(cells).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: Metric = Metric { name: "cpu", unit: "s/Mreq" };
    const P99: Metric = Metric { name: "p99", unit: "us" };

    fn sample(subject: &str, round: u32) -> Sample<'_> {
        Sample { case: "64 connections", subject, round }
    }

    fn record(subjects: &[(&str, [f64; 3])]) -> Record {
        let mut record = Record::new("echo", Format::Table);
        for (round, index) in (1..).zip(0..3) {
            for (subject, values) in subjects {
                record.add(sample(subject, round), CPU, values[index]);
                record.add(sample(subject, round), P99, 100.0 * values[index]);
            }
        }
        record
    }

    #[test]
    fn tables_show_medians_and_ratios_within_rounds() {
        let record = record(&[("staunch", [1.0, 3.0, 2.0]), ("go", [2.0, 4.0, 8.0])]);
        assert_eq!(
            record.tables(),
            "\
echo: 64 connections (medians, rounds: 3)
subject  cpu s/Mreq  p99 us
staunch        2.00     200
go             4.00     400

ratios within a round: median (min..max)
                          cpu                p99
staunch/go  0.50 (0.25..0.75)  0.50 (0.25..0.75)
"
        );
    }

    #[test]
    fn one_subject_has_no_ratios() {
        let tables = record(&[("go", [2.0, 4.0, 8.0])]).tables();
        assert!(tables.contains("go") && !tables.contains("ratio"), "{tables}");
    }

    #[test]
    fn a_round_that_lacks_a_subject_has_no_ratio() {
        let mut record = record(&[("staunch", [1.0, 3.0, 2.0]), ("go", [2.0, 4.0, 8.0])]);
        record.add(sample("staunch", 4), CPU, 900.0);
        assert!(record.tables().contains("0.50 (0.25..0.75)"), "{}", record.tables());
    }

    #[test]
    fn nothing_measured_is_an_empty_text() {
        assert_eq!(record(&[]).tables(), "");
    }

    #[test]
    fn json_has_the_fields_in_order() {
        let record = record(&[("go", [2.5, 4.0, 8.0])]);
        assert_eq!(
            json(&record.measurements[0]),
            r#"{"bench":"echo","case":"64 connections","subject":"go","round":1,"metric":"cpu","unit":"s/Mreq","value":2.5}"#
        );
    }
}
