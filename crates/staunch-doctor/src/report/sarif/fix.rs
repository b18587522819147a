//! A patch as SARIF's `fix` (3.55): which lines go, and what comes in their place.
//!
//! A unified diff is read as `code/edit.rs` writes it: of one file, with `a/` and `b/`. Whatever else it may be gives
//! none: a change that is not understood whole is not proposed. Columns are 1 throughout: lines change as a whole, and
//! what goes ends where the next line begins.

use serde_json::{Value, json};

/// Lines that go, from `first` on, and what comes before whatever is behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Replacement {
    first: u64,
    removed: u64,
    added: String,
}

/// The fix that `patch` is, with what it does in words.
pub(super) fn fix(patch: &str, text: &str, uri: impl Fn(&str) -> String) -> Option<Value> {
    let (file, replacements) = parse(patch)?;
    let replacements: Vec<Value> = replacements.iter().map(Replacement::value).collect();
    Some(json!({
        "description": { "text": text },
        "artifactChanges": [{
            "artifactLocation": { "uri": uri(file) },
            "replacements": replacements,
        }],
    }))
}

/// The file, and its changes in the order of its lines.
fn parse(patch: &str) -> Option<(&str, Vec<Replacement>)> {
    let mut lines = patch.strip_suffix('\n')?.split('\n');
    lines.next()?.strip_prefix("--- a/")?;
    let file = lines.next()?.strip_prefix("+++ b/")?;
    let mut replacements: Vec<Replacement> = Vec::new();
    let mut line = None;
    let mut open = false;
    for text in lines {
        if let Some(header) = text.strip_prefix("@@ -") {
            line = Some(begin(header)?);
            open = false;
            continue;
        }
        let at = line.as_mut()?;
        let (sign, rest) = text.split_at_checked(1)?;
        if !open && matches!(sign, "-" | "+") {
            replacements.push(Replacement { first: *at, removed: 0, added: String::new() });
        }
        open = sign != " ";
        match sign {
            " " => *at += 1,
            "-" => {
                *at += 1;
                replacements.last_mut()?.removed += 1;
            }
            "+" => {
                let added = &mut replacements.last_mut()?.added;
                added.push_str(rest);
                added.push('\n');
            }
            _ => return None, // `\ No newline at end of file`
        }
    }
    (!replacements.is_empty()).then_some((file, replacements))
}

/// The first line of a hunk: 20 of `20,7 +20,7 @@`.
fn begin(header: &str) -> Option<u64> {
    let (old, _) = header.split_once(" +")?;
    old.split(',').next()?.parse().ok().filter(|line| *line > 0)
}

impl Replacement {
    fn value(&self) -> Value {
        let Replacement { first, removed, added } = self;
        let mut replacement = json!({
            "deletedRegion": {
                "startLine": first,
                "startColumn": 1,
                "endLine": first + removed,
                "endColumn": 1,
            },
        });
        if !added.is_empty() {
            replacement["insertedContent"] = json!({ "text": added });
        }
        replacement
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "package a\n\nimport (\n\t\"fmt\"\n)\n\nfunc f() {\n\ta()\n\tb()\n\tc()\n}\n";
    const NEW: &str =
        "package a\n\nimport (\n\t\"fmt\"\n\t\"io\"\n)\n\nfunc f() {\n\ta()\n\tx()\n\ty()\n}\n";
    const PATCH: &str = "--- a/a b.go\n+++ b/a b.go\n@@ -2,5 +2,6 @@\n \n import (\n \t\"fmt\"\n+\t\"io\"\n )\n \n\
         @@ -7,5 +8,5 @@\n func f() {\n \ta()\n-\tb()\n-\tc()\n+\tx()\n+\ty()\n }\n";

    /// What a reader of SARIF makes of a text.
    fn applied(text: &str, fix: &Value) -> String {
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let replacements = fix["artifactChanges"][0]["replacements"].as_array().unwrap();
        let (mut made, mut next) = (String::new(), 0);
        for it in replacements {
            let region = &it["deletedRegion"];
            assert_eq!((&region["startColumn"], &region["endColumn"]), (&json!(1), &json!(1)));
            let line = |key: &str| region[key].as_u64().unwrap() as usize - 1;
            made.push_str(&lines[next..line("startLine")].concat());
            made.push_str(it["insertedContent"]["text"].as_str().unwrap_or_default());
            next = line("endLine");
        }
        made + &lines[next..].concat()
    }

    #[test]
    fn what_it_says_makes_what_the_patch_makes() {
        let fix = fix(PATCH, "why", |file| file.replace(' ', "%20")).unwrap();
        assert_eq!(applied(OLD, &fix), NEW);
        assert_eq!(fix["description"]["text"], "why");
        assert_eq!(fix["artifactChanges"][0]["artifactLocation"]["uri"], "a%20b.go");
        let removal = PATCH.replace("+\tx()\n+\ty()\n", "");
        let (_, replacements) = parse(&removal).unwrap();
        let last = replacements.last().unwrap();
        assert_eq!((last.first, last.removed, &*last.added), (9, 2, ""));
        assert!(last.value().get("insertedContent").is_none());
    }

    #[test]
    fn what_is_no_patch_of_lines_gives_none() {
        for patch in [
            "",
            "-a\n+b\n",
            "--- a/f\n+++ b/f\n",
            "--- a/f\n+++ b/f\n+x\n",
            "--- a/f\n+++ b/f\n@@ -x +1 @@\n+x\n",
            "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-x\n+y\n\\ No newline at end of file\n",
            "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-x\n+y",
        ] {
            assert_eq!(parse(patch), None, "{patch:?}");
        }
    }
}
