//! The first line of a goroutine: `goroutine 18 [chan receive, 12 minutes, locked to thread]:`.
//!
//! Source: `goroutineheader` in Go's `runtime/traceback.go`, 1.19 to 1.26.

use std::time::Duration;

/// What the first line of a goroutine says.
#[derive(Debug, PartialEq)]
pub(super) struct Header<'a> {
    pub(super) id: u64,
    pub(super) status: &'a str,
    pub(super) waited: Option<Duration>,
    pub(super) labels: Vec<(String, String)>,
}

/// Whether a line is meant to be the first of a goroutine.
pub(super) fn is_header(line: &str) -> bool {
    line.strip_prefix("goroutine ")
        .is_some_and(|rest| rest.starts_with(|it: char| it.is_ascii_digit()))
}

/// Reads such a line; says what is wrong with it otherwise.
pub(super) fn parse(line: &str) -> Result<Header<'_>, &'static str> {
    let rest = line.strip_prefix("goroutine ").ok_or("expected `goroutine`")?;
    let (id, rest) = rest.split_once(' ').ok_or("expected a state behind the id")?;
    let id = id.parse().map_err(|_| "the id of the goroutine is no number")?;
    // Between id and state, a crash has `gp=0xc000002380 m=0 mp=0x5f`.
    let (_, rest) = rest.split_once('[').ok_or("expected a state in brackets")?;
    let inside = rest.strip_suffix("]:").ok_or("expected `]:` at the end of the line")?;
    let labelled = inside.ends_with('}').then(|| inside.split_once(" labels:{")).flatten();
    let (inside, labels) = match labelled {
        Some((inside, labels)) => (inside, parse_labels(labels)),
        None => (inside, Vec::new()),
    };
    let mut parts = inside.split(", ");
    let status = parts.next().unwrap_or_default();
    let waited = parts.find_map(|part| part.strip_suffix(" minutes")?.parse().ok());
    let waited = waited.map(|minutes: u32| Duration::from_mins(u64::from(minutes)));
    Ok(Header { id, status, waited, labels })
}

/// `"key": "value", "key": "value"}`, with or without spaces: what is not of this form is left out.
pub(super) fn parse_labels(text: &str) -> Vec<(String, String)> {
    let mut strings = text.split('"').skip(1).step_by(2).map(str::to_owned);
    let mut labels = Vec::new();
    while let (Some(key), Some(value)) = (strings.next(), strings.next()) {
        labels.push((key, value));
    }
    labels.sort();
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, status: &str, minutes: Option<u64>) {
        let header = parse(line).unwrap();
        assert_eq!((header.id, header.status), (18, status));
        assert_eq!(header.waited, minutes.map(Duration::from_mins));
    }

    #[test]
    fn states_of_all_versions() {
        check("goroutine 18 [running]:", "running", None);
        check("goroutine 18 [chan receive, 12 minutes]:", "chan receive", Some(12));
        check("goroutine 18 [syscall, 3 minutes, locked to thread]:", "syscall", Some(3));
        check("goroutine 18 [chan send (nil chan)]:", "chan send (nil chan)", None);
        check("goroutine 18 [select (durable), synctest bubble 4]:", "select (durable)", None);
        check("goroutine 18 gp=0xc000002380 m=0 mp=0x5f [running]:", "running", None);
        check(
            "goroutine 18 gp=0xc000002380 m=nil [sync.Mutex.Lock, 1 minutes]:",
            "sync.Mutex.Lock",
            Some(1),
        );
    }

    #[test]
    fn labels_are_sorted() {
        let header = parse(r#"goroutine 1 [select labels:{"route": "/a", "job": "x"}]:"#).unwrap();
        assert_eq!(header.status, "select");
        let labels = [("job", "x"), ("route", "/a")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(header.labels, labels);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for line in
            ["goroutine 1", "goroutine x [running]:", "goroutine 1 running", "goroutine 1 [run"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
