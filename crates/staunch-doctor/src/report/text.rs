//! A report for a terminal.

use std::fmt::Write as _;

use staunch_diagnosis::{Finding, Place, Wait};

use super::{BLIND, Detector, Report, severity, sparkline, time};

pub(super) fn write(report: &Report) -> String {
    let mut text = report.headline() + "\n";
    for finding in &report.findings {
        text.push('\n');
        for line in lines(finding) {
            let _ = writeln!(text, "{line}");
        }
    }
    if !report.known.is_empty() || !report.notes.is_empty() || report.detector == Detector::Blind {
        text.push('\n');
    }
    for (finding, reason) in &report.known {
        let _ = writeln!(text, "left out: {} {} ({reason})", finding.rule, finding.id);
    }
    for note in &report.notes {
        let _ = writeln!(text, "note: {note}");
    }
    if report.detector == Detector::Blind {
        let _ = writeln!(text, "{BLIND}");
    }
    plain(text)
}

fn lines(finding: &Finding) -> Vec<String> {
    let Finding { rule, id, confidence, .. } = finding;
    let head = format!("{}: {}", severity(finding.severity), finding.summary);
    let mut lines = vec![head];
    let mut line = |name: &str, text: String| lines.push(format!("  {name:<8}{text}"));
    if let Some(Place { function, file, line: number, code }) = &finding.birth {
        line("born", joined(function, file, *number));
        if let Some(code) = code {
            line("", format!("> {code}"));
        }
    }
    if let Some(Wait { function, file, line: number, state, code }) = &finding.wait {
        line("waits", format!("{}  [{state}]", joined(function, file, *number)));
        if let Some(code) = code {
            line("", format!("> {code}"));
        }
    }
    let oldest = finding.oldest.map(|age| format!(", the oldest for {}", time(age)));
    let counts: Vec<_> = finding.count.iter().map(u64::to_string).collect();
    let bars =
        if counts.len() > 1 { format!("  {}", sparkline(&finding.count)) } else { String::new() };
    line("count", format!("{}{bars}{}", counts.join(" "), oldest.unwrap_or_default()));
    if let Some(cause) = &finding.cause {
        line("why", format!("{} ({})", cause.text, cause.label));
    }
    if let Some(fix) = &finding.fix {
        line("fix", fix.text.clone());
        for patch in fix.patch.iter().flat_map(|patch| patch.lines()) {
            line("", patch.to_owned());
        }
    }
    if let Some(forecast) = &finding.forecast {
        line("ahead", forecast.clone());
    }
    for (number, evidence) in finding.evidence.iter().enumerate() {
        line(if number == 0 { "seen" } else { "" }, evidence.clone());
    }
    line("rule", format!("{rule}, confidence {}, id {id}", confidence.value()));
    line("guide", finding.guide.clone());
    lines
}

/// Without control characters, which a terminal would obey: names come from whoever is examined.
fn plain(text: String) -> String {
    let is_obeyed = |it: char| it.is_control() && !matches!(it, '\n' | '\t');
    if text.contains(is_obeyed) { text.replace(is_obeyed, "\u{fffd}") } else { text }
}

fn joined(function: &str, file: &str, line: u32) -> String {
    let place = if line == 0 { file.to_owned() } else { format!("{file}:{line}") };
    if function.is_empty() { place } else { format!("{function}  {place}") }
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;

    #[test]
    fn all_of_a_finding_is_said() {
        let expected = "\
1 leak in http://127.0.0.1:6060 (3 looks in 10 s)

leak: 25 goroutines wait to send <result>, and nobody receives
  born    main.f  app/main.go:21
          > go func() {
  waits   main.f.func1  app/main.go:23  [chan send]
          > results <- query()
  count   1 5 25  ▂▃█, the oldest for 12 min
  why     main.f has returned (Channel)
  fix     make the channel buffered
          -a
          +b
  ahead   descriptors run out in 43 min
  seen    its creator is on no stack
  rule    chan-send-abandoned, confidence 0.95, id 00ff
  guide   https://example/guide

left out: chan-send-abandoned 00ff (it is in the baseline)
note: the watch was ended after 10 s
";
        assert_eq!(super::write(&report()), expected);
    }

    #[test]
    fn a_terminal_is_told_nothing_by_the_target() {
        let mut report = report();
        report.findings[0].summary = "\u{1b}]0;title\u{7}it\u{9b}31m waits".into();
        let text = super::write(&report);
        assert!(text.contains("leak: \u{fffd}]0;title\u{fffd}it\u{fffd}31m waits\n"), "{text}");
    }
}
