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
    if report.findings.len() > LISTED_FROM {
        list(&mut page, &report.findings);
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

/// What fits on a screen needs no list of what there is.
const LISTED_FROM: usize = 4;

/// All findings, a line each, that lead to them.
fn list(page: &mut String, findings: &[Finding]) {
    page.push_str("<nav><ol>\n");
    for finding in findings {
        let severity = severity(finding.severity);
        let birth = finding.birth.as_ref().map(|it| path(&it.file, it.line));
        let wait = || finding.wait.as_ref().map(|it| path(&it.file, it.line));
        let place = birth.or_else(wait).unwrap_or_default();
        let (id, rule) = (escaped(&finding.id), finding.rule);
        let count = finding.count.last().copied().unwrap_or(0);
        let _ = writeln!(
            page,
            "<li class=\"{severity}\"><a href=\"#{id}\">{rule}</a> <em>{count}</em> {place}</li>"
        );
    }
    page.push_str("</ol></nav>\n");
}

fn article(page: &mut String, finding: &Finding) {
    let severity = severity(finding.severity);
    let _ = write!(
        page,
        "<article class=\"{severity}\" id=\"{}\">\n<h2><span>{severity}</span> {}</h2>\n<dl>\n",
        escaped(&finding.id),
        prose(&finding.summary)
    );
    if let Some(birth) = &finding.birth {
        let place = place(&birth.function, &birth.file, birth.line);
        row(page, "born", &(place + &quote(birth.code.as_ref())));
    }
    if let Some(wait) = &finding.wait {
        let place = place(&wait.function, &wait.file, wait.line);
        let quote = quote(wait.code.as_ref());
        row(page, "waits", &format!("{place} <em>{}</em>{quote}", escaped(&wait.state)));
    }
    row(page, "count", &count(finding));
    if let Some(cause) = &finding.cause {
        row(page, "why", &format!("{} <em>{}</em>", prose(&cause.text), escaped(&cause.label)));
    }
    if let Some(fix) = &finding.fix {
        let patch = fix.patch.as_ref().map(|it| format!("<pre>{}</pre>", escaped(it)));
        row(page, "fix", &(prose(&fix.text) + &patch.unwrap_or_default()));
    }
    if let Some(forecast) = &finding.forecast {
        row(page, "ahead", &escaped(forecast));
    }
    let mut evidence = String::from("<ul>");
    for line in &finding.evidence {
        let _ = write!(evidence, "<li>{}</li>", prose(line));
    }
    row(page, "seen", &(evidence + "</ul>"));
    let (rule, confidence) = (finding.rule, finding.confidence.value());
    let guide = escaped(&finding.guide);
    let id = escaped(&finding.id);
    let rule =
        format!("<a href=\"{guide}\">{rule}</a>, confidence {confidence}, id <code>{id}</code>");
    row(page, "rule", &rule);
    page.push_str("</dl>\n</article>\n");
}

fn row(page: &mut String, name: &str, html: &str) {
    let _ = writeln!(page, "<dt>{name}</dt><dd>{html}</dd>");
}

fn place(function: &str, file: &str, line: u32) -> String {
    format!("<code>{}</code> {}", escaped(function), path(file, line))
}

/// A path that breaks at its folders, and whose file keeps its line.
fn path(file: &str, line: u32) -> String {
    let line = if line == 0 { String::new() } else { format!(":{line}") };
    let (folder, name) =
        file.rsplit_once('/').map_or(("", file), |(folder, _)| file.split_at(folder.len() + 1));
    let folder = broken(&escaped(folder));
    format!("{folder}<b>{}{line}</b>", escaped(name))
}

/// Text that says code between backquotes; paths in it break at their folders.
fn prose(text: &str) -> String {
    let text = escaped(text);
    let mut parts = text.split('`').peekable();
    let mut html = String::with_capacity(text.len());
    let mut is_code = false;
    while let Some(part) = parts.next() {
        let is_closed = parts.peek().is_some();
        let part = broken(part);
        let _ = match (is_code, is_closed) {
            (true, true) => write!(html, "<code>{part}</code>"),
            (true, false) => write!(html, "`{part}"),
            (false, _) => write!(html, "{part}"),
        };
        is_code = !is_code;
    }
    html
}

/// Escaped text that may be broken behind each slash: a browser breaks a long path anywhere otherwise.
fn broken(html: &str) -> String {
    html.replace('/', "/<wbr>")
}

/// A line of the source.
fn quote(code: Option<&String>) -> String {
    code.map_or_else(String::new, |code| format!("<pre>{}</pre>", escaped(code)))
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
        assert!(page.contains("app/<wbr><b>main.go:21</b>") && !page.contains("<nav>"), "{page}");
        assert!(page.contains("<pre>-a\n+b\n</pre>"), "{page}");
        assert!(page.contains("<pre>results &lt;- query()</pre>"), "{page}");
    }

    #[test]
    fn many_findings_are_listed_first() {
        let mut report = report();
        report.findings = vec![report.findings[0].clone(); 5];
        let page = super::write(&report);
        let list = &page[page.find("<nav>").unwrap()..page.find("</nav>").unwrap()];
        let entry =
            "<a href=\"#00ff\">chan-send-abandoned</a> <em>25</em> app/<wbr><b>main.go:21</b>";
        assert_eq!(list.matches(entry).count(), 5, "{list}");
    }

    #[test]
    fn code_is_told_from_prose() {
        assert_eq!(
            super::prose("call `f<T>()` at a/b"),
            "call <code>f&lt;T&gt;()</code> at a/<wbr>b"
        );
        assert_eq!(super::prose("`open"), "`open");
        assert_eq!(super::prose("`a` and `b"), "<code>a</code> and `b");
    }
}
