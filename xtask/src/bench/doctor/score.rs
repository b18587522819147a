//! Reports held against the truth.

use staunch_diagnosis::{Place, Wait};

use super::case::{Case, Kind, Site};

/// What a detector says of one group of goroutines.
#[derive(Clone)]
pub(super) struct Report {
    pub(super) birth: Option<Place>,
    pub(super) wait: Option<Wait>,
    pub(super) label: Option<String>,
    pub(super) fix_lines: Vec<u32>,
}

/// Right answers out of how many.
#[derive(Clone, Copy, Default)]
struct Part {
    right: u64,
    of: u64,
}

/// How a detector did.
#[derive(Default)]
pub(super) struct Tally {
    leaks: Part,
    blind: Part,
    /// Sites of programs that their authors call correct, though they block for ever.
    listed_correct: Part,
    true_reports: u64,
    false_on_clean: u64,
    false_elsewhere: u64,
    false_on_real: u64,
    spawn_line: Part,
    wait_line: Part,
    function: Part,
    label: Part,
    fix_line: Part,
}

pub(super) fn headings() -> Vec<String> {
    let headings = [
        "",
        "leaks",
        "%",
        "blind",
        "ok but blocked",
        "precision %",
        "false: clean",
        "leaky",
        "real",
        "spawn line %",
        "wait line %",
        "function %",
        "label",
        "fix line",
    ];
    headings.map(str::to_owned).to_vec()
}

impl Tally {
    pub(super) fn add(&mut self, case: &Case, reports: &[Report], first_only: bool) {
        let truth = &case.truth;
        for site in wanted(case, first_only) {
            let part = match truth.kind {
                Kind::Leaking => &mut self.leaks,
                Kind::Blind => &mut self.blind,
                Kind::Correct | Kind::Nonblocking => &mut self.listed_correct,
            };
            part.count(reports.iter().any(|report| matches(site, report)));
        }
        for report in reports {
            self.add_report(case, report);
        }
        self.add_cause(case, reports);
    }

    fn add_report(&mut self, case: &Case, report: &Report) {
        let reportable = &case.truth.reportable;
        let spawn = reportable.iter().any(|site| matches_spawn(site, report));
        let wait = reportable.iter().any(|site| matches_wait(site, report));
        if !spawn && !wait {
            self.add_false(case);
            return;
        }
        self.true_reports += 1;
        let both = reportable.iter().any(|site| matches(site, report));
        self.spawn_line.count(spawn && (both || !wait));
        self.wait_line.count(wait && (both || !spawn));
        let functions: Vec<_> = case.truth.sites.iter().flat_map(|it| &it.wait_functions).collect();
        if let Some(wait) = report.wait.as_ref().filter(|_| !functions.is_empty() && both) {
            let birth = report.birth.as_ref().map(|birth| birth.line.to_string());
            let known = case
                .truth
                .sites
                .iter()
                .any(|it| birth.as_ref().is_some_and(|line| it.spawn_lines.contains_key(line)));
            if known {
                self.function.count(functions.contains(&&wait.function));
            }
        }
    }

    fn add_false(&mut self, case: &Case) {
        if case.is_real_service() {
            self.false_on_real += 1;
        } else if case.truth.kind == Kind::Correct || case.truth.reportable.is_empty() {
            self.false_on_clean += 1;
        } else {
            self.false_elsewhere += 1;
        }
    }

    /// Cause and fix are asked of cases that leak and are found at all; a case counts once.
    fn add_cause(&mut self, case: &Case, reports: &[Report]) {
        if case.truth.kind != Kind::Leaking || reports.is_empty() {
            return;
        }
        if let Some(label) = &case.truth.label {
            let share =
                reports.iter().filter(|it| it.label.as_ref() == Some(&label.subtype)).count();
            self.label.count(share * 2 > reports.len());
        }
        if let (Some(_), Some(lines)) = (&case.truth.pair, &case.truth.cause_lines) {
            let named = |line| reports.iter().any(|report| report.fix_lines.contains(&line));
            self.fix_line.count(lines.lines().any(named));
        }
    }

    pub(super) fn row(&self, name: &str) -> Vec<String> {
        let made_up = self.false_on_clean + self.false_elsewhere + self.false_on_real;
        let precision = Part { right: self.true_reports, of: self.true_reports + made_up };
        vec![
            name.to_owned(),
            self.leaks.fraction(),
            self.leaks.percent(),
            self.blind.fraction(),
            self.listed_correct.fraction(),
            precision.percent(),
            self.false_on_clean.to_string(),
            self.false_elsewhere.to_string(),
            self.false_on_real.to_string(),
            self.spawn_line.percent(),
            self.wait_line.percent(),
            self.function.percent(),
            self.label.fraction(),
            self.fix_line.fraction(),
        ]
    }
}

impl Part {
    fn count(&mut self, right: bool) {
        self.of += 1;
        self.right += u64::from(right);
    }

    fn fraction(self) -> String {
        format!("{}/{}", self.right, self.of)
    }

    fn percent(self) -> String {
        match self.of {
            0 => "-".to_owned(),
            of => format!("{:.1}", 100.0 * self.right as f64 / of as f64),
        }
    }
}

/// What is missing, made up or wrongly labelled, a line each.
pub(super) fn mistakes(case: &Case, reports: &[Report], first_only: bool) -> Vec<String> {
    let missed = wanted(case, first_only)
        .filter(|site| !reports.iter().any(|report| matches(site, report)))
        .map(|site| format!("missed spawn {:?}, wait {:?}", site.spawn_line, site.wait_lines));
    let wrong = reports
        .iter()
        .filter(|report| !case.truth.reportable.iter().any(|site| matches(site, report)));
    let wrong = wrong.map(|report| {
        let wait = report.wait.as_ref();
        let wait =
            wait.map_or(String::new(), |it| format!("{} {}:{}", it.state, it.function, it.line));
        format!("false: {wait}")
    });
    let label = case.truth.label.as_ref().filter(|_| case.truth.kind == Kind::Leaking);
    let label = label.and_then(|label| {
        let given =
            reports.iter().filter_map(|it| it.label.clone()).find(|it| *it != label.subtype)?;
        Some(format!("label: `{}`, said `{given}`", label.subtype))
    });
    let fix = case.truth.cause_lines.as_ref().filter(|_| case.truth.kind == Kind::Leaking);
    let fix = fix
        .filter(|it| !it.lines().any(|line| reports.iter().any(|r| r.fix_lines.contains(&line))));
    let fix = fix.map(|it| format!("fix: not among {:?}", it.lines().collect::<Vec<_>>()));
    missed.chain(wrong).chain(label).chain(fix).collect()
}

/// The sites that can be seen: in the first dump only those that were there already.
fn wanted(case: &Case, first_only: bool) -> impl Iterator<Item = &Site> {
    case.truth.reportable.iter().filter(move |site| !first_only || site.counts.first() > Some(&0))
}

fn matches(site: &Site, report: &Report) -> bool {
    matches_spawn(site, report) && matches_wait(site, report)
}

fn matches_spawn(site: &Site, report: &Report) -> bool {
    report.birth.as_ref().is_some_and(|birth| {
        let external = site.spawn_external.iter().flatten().any(|file| *file == birth.file);
        external || site.spawn_line == Some(birth.line)
    })
}

fn matches_wait(site: &Site, report: &Report) -> bool {
    report.wait.as_ref().is_some_and(|wait| site.wait_lines.contains(&wait.line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(json: &str) -> Site {
        serde_json::from_str(json).unwrap()
    }

    fn report(birth: (&str, u32), line: u32) -> Report {
        let birth =
            Place { function: String::new(), file: birth.0.to_owned(), line: birth.1, code: None };
        let (function, file, state) = (String::new(), "app/main.go".to_owned(), String::new());
        let wait = Some(Wait { function, file, line, state, code: None });
        Report { birth: Some(birth), wait, label: None, fix_lines: Vec::new() }
    }

    #[test]
    fn a_report_is_true_if_both_lines_are_right() {
        let site = site(r#"{"spawn_line": 23, "wait_lines": [25, 31], "counts": [1, 5, 25]}"#);
        assert!(matches(&site, &report(("app/main.go", 23), 31)));
        assert!(!matches(&site, &report(("app/main.go", 23), 26)), "another wait");
        assert!(!matches(&site, &report(("app/main.go", 22), 25)), "another birth");
    }

    #[test]
    fn a_site_that_others_started_is_known_by_their_file() {
        let json = r#"{"spawn_external": ["app/driver.go"], "wait_lines": [22], "counts": [0, 4]}"#;
        let site = site(json);
        assert!(matches(&site, &report(("app/driver.go", 44), 22)));
        assert!(!matches(&site, &report(("app/main.go", 44), 22)));
    }

    fn case(kind: Kind) -> Case {
        let json = serde_json::json!({
            "kind": format!("{kind:?}").to_lowercase(),
            "reportable": [{"spawn_line": 23, "wait_lines": [25], "counts": [0, 5, 25]}],
        });
        Case::without_dumps("some-case", serde_json::from_value(json).unwrap())
    }

    #[test]
    fn what_is_not_there_yet_is_not_asked_for() {
        assert_eq!(wanted(&case(Kind::Leaking), true).count(), 0);
        assert_eq!(wanted(&case(Kind::Leaking), false).count(), 1);
    }

    #[test]
    fn reports_are_counted_as_true_or_false() {
        let mut tally = Tally::default();
        let reports = [report(("app/main.go", 23), 25), report(("app/main.go", 90), 91)];
        tally.add(&case(Kind::Leaking), &reports, false);
        tally.add(&case(Kind::Correct), &reports[1..], false);
        assert_eq!((tally.leaks.right, tally.leaks.of), (1, 1));
        assert_eq!((tally.listed_correct.right, tally.listed_correct.of), (0, 1));
        let falses = (tally.false_elsewhere, tally.false_on_clean, tally.false_on_real);
        assert_eq!((tally.true_reports, falses), (1, (1, 1, 0)));
    }
}
