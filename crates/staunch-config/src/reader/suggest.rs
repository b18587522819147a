//! "Did you mean ...?", and how foreign text is shown in a message.

/// How much of a written name or value a message repeats.
const SHOWN_CHARS: usize = 60;

/// The candidate that `written` is most likely a slip, or an abbreviation, of.
pub(crate) fn nearest<'c>(written: &str, candidates: &[&'c str]) -> Option<&'c str> {
    if written.len() > SHOWN_CHARS {
        return None;
    }
    let written = written.to_lowercase();
    // A third of the letters, as rustc allows; a swap of two neighbours counts once.
    let slips_max = written.chars().count().max(3) / 3;
    let slips = |name: &str| strsim::osa_distance(&written, name);
    let begins_alike = |name: &str| {
        written.len().min(name.len()) >= 3
            && (name.starts_with(&written) || written.starts_with(name))
    };
    candidates
        .iter()
        .copied()
        .filter(|name| slips(name) <= slips_max || begins_alike(name))
        .min_by_key(|name| slips(name))
}

/// `` `a`, `b`, `c` ``
pub(crate) fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// What a message repeats of a name from the file: one line, not too long.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars().take(SHOWN_CHARS) {
        match c {
            '\'' | '"' | '\\' => shown.push(c),
            other => shown.extend(other.escape_debug()),
        }
    }
    if text.chars().nth(SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(written: &str, expected: Option<&str>) {
        let candidates = ["listen", "name", "backlog", "reuse_port"];
        assert_eq!(nearest(written, &candidates), expected, "{written:?}");
    }

    #[test]
    fn slips_are_recognised() {
        check("lisen", Some("listen"));
        check("lisetn", Some("listen"));
        check("Listen", Some("listen"));
        check("reuse-port", Some("reuse_port"));
        check("nam", Some("name"));
        check("back", Some("backlog"));
        check("name_of_it", Some("name"));
        check("na", None);
        check("colour", None);
        check("", None);
        check(&"listen".repeat(1000), None);
    }

    #[test]
    fn foreign_text_stays_on_one_line() {
        assert_eq!(shown("a\nb\u{1b}[1m"), "a\\nb\\u{1b}[1m");
        assert_eq!(shown(&"é".repeat(61)), format!("{}…", "é".repeat(60)));
    }
}
