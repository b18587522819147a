//! A report as a page that needs nothing else: no script, no font, no image.

use std::fmt::Write as _;

use staunch_diagnosis::Finding;

use super::{BLIND, Detector, Report, severity, sparkline, time};

const STYLE: &str = include_str!("report.css");

pub(super) fn write(report: &Report) -> String {
    let mut page =
        String::from("<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">");
    let _ = write!(
        page,
        "<meta name=\"viewport\" content=\"width=device-width\"><title>{0}</title>\n\
         <style>{STYLE}</style></head>\n<body><main>\n<h1>{0}</h1>\n",
        escaped(&report.headline())
    );
    if report.detector == Detector::Blind {
        let _ = writeln!(page, "<p class=\"critical\">{BLIND}</p>");
    }
    for finding in &report.findings {
        article(&mut page, finding);
    }
    for (finding, reason) in &report.known {
        let _ = writeln!(
            page,
            "<p class=\"note\">Left out: {} <code>{}</code> ({})</p>",
            finding.rule,
            escaped(&finding.id),
            escaped(reason)
        );
    }
    for note in &report.notes {
        let _ = writeln!(page, "<p class=\"note\">{}</p>", escaped(note));
    }
    page.push_str("</main></body></html>\n");
    page
}

fn article(page: &mut String, finding: &Finding) {
    let severity = severity(finding.severity);
    let _ = write!(
        page,
        "<article class=\"{severity}\" id=\"{}\">\n<h2><span>{severity}</span> {}</h2>\n<dl>\n",
        escaped(&finding.id),
        escaped(&finding.summary)
    );
    if let Some(birth) = &finding.birth {
        row(page, "born", &place(&birth.function, &birth.file, birth.line));
    }
    if let Some(wait) = &finding.wait {
        let place = place(&wait.function, &wait.file, wait.line);
        row(page, "waits", &format!("{place} <em>{}</em>", escaped(&wait.state)));
    }
    row(page, "count", &count(finding));
    if let Some(cause) = &finding.cause {
        row(page, "why", &format!("{} <em>{}</em>", escaped(&cause.text), escaped(&cause.label)));
    }
    if let Some(fix) = &finding.fix {
        let patch = fix.patch.as_ref().map(|it| format!("<pre>{}</pre>", escaped(it)));
        row(page, "fix", &(escaped(&fix.text) + &patch.unwrap_or_default()));
    }
    if let Some(forecast) = &finding.forecast {
        row(page, "ahead", &escaped(forecast));
    }
    let mut evidence = String::from("<ul>");
    for line in &finding.evidence {
        let _ = write!(evidence, "<li>{}</li>", escaped(line));
    }
    row(page, "seen", &(evidence + "</ul>"));
    let (rule, confidence) = (finding.rule, finding.confidence.value());
    let guide = escaped(&finding.guide);
    row(page, "rule", &format!("<a href=\"{guide}\">{rule}</a>, confidence {confidence}"));
    page.push_str("</dl>\n</article>\n");
}

fn row(page: &mut String, name: &str, html: &str) {
    let _ = writeln!(page, "<dt>{name}</dt><dd>{html}</dd>");
}

fn place(function: &str, file: &str, line: u32) -> String {
    let line = if line == 0 { String::new() } else { format!(":{line}") };
    format!("<code>{}</code> {}{line}", escaped(function), escaped(file))
}

fn count(finding: &Finding) -> String {
    let last = finding.count.last().copied().unwrap_or(0);
    let oldest = finding.oldest.map(|age| format!(", the oldest for {}", time(age)));
    let bars = if finding.count.len() > 1 { sparkline(&finding.count) } else { String::new() };
    format!("{last} <span class=\"bars\">{bars}</span>{}", oldest.unwrap_or_default())
}

/// Text of the target as text of a page: names of functions come from whoever is examined.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;

    #[test]
    fn what_the_target_says_is_no_markup() {
        let page = super::write(&report());
        assert!(page.contains("wait to send &lt;result&gt;"), "{page}");
        assert!(!page.contains("<result>") && !page.contains("<script"), "{page}");
        assert!(page.contains("app/main.go:21") && page.contains("<pre>-a\n+b\n</pre>"), "{page}");
    }
}
