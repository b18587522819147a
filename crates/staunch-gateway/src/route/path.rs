//! The path of a request, as routes and servers are to see it: one spelling of each.
//!
//! Two servers in a row must not read a path in two ways, or a route's rules could be passed by a
//! path that looks like another's. So what RFC 3986, 6.2.2, calls equivalent is written in one way,
//! and what a server behind might take for the folder above is refused: clients leave it out
//! themselves (RFC 3986, 5.2.4).

use std::borrow::Cow;

/// A path that no server should see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadPath {
    #[error("The path has `.` or `..` for a segment: leave it out")]
    Dots,
    #[error("The path has `%` without two hexadecimal digits")]
    Percent,
    #[error("The path has a NUL")]
    Nul,
}

/// The path in its one spelling: what need not be written with `%` as it is, all else with `%` in
/// capitals; and one slash between two segments, as most servers read several.
pub(crate) fn normal(path: &str) -> Result<Cow<'_, str>, BadPath> {
    let is_plain = path.bytes().all(|byte| byte != b'%' && byte.is_ascii());
    let mut normal = if is_plain { Cow::Borrowed(path) } else { Cow::Owned(respelled(path)?) };
    if normal.contains("//") {
        let mut before = ' ';
        let is_first = |c: &char| std::mem::replace(&mut before, *c) != '/' || *c != '/';
        normal = Cow::Owned(normal.chars().filter(is_first).collect());
    }
    if has_dots(&normal) { Err(BadPath::Dots) } else { Ok(normal) }
}

fn respelled(path: &str) -> Result<String, BadPath> {
    let mut normal = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            push(&mut normal, byte, byte.is_ascii());
            continue;
        }
        let digits = bytes.next().and_then(hex).zip(bytes.next().and_then(hex));
        let (high, low) = digits.ok_or(BadPath::Percent)?;
        match high << 4 | low {
            0 => return Err(BadPath::Nul),
            byte => push(&mut normal, byte, needs_no_percent(byte)),
        }
    }
    Ok(normal)
}

fn push(normal: &mut String, byte: u8, as_it_is: bool) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    if as_it_is {
        normal.push(char::from(byte));
    } else {
        normal.extend(['%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// What may stand in a segment (RFC 3986, 3.3, `pchar`), but for `;`, which begins its parameters.
fn needs_no_percent(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&byte)
}

/// Whether a segment is `.` or `..`: also before a `;`, which some servers cut off, and between
/// slashes that are written with `%` or the other way round, which some take for slashes.
fn has_dots(path: &str) -> bool {
    if !path.contains("/.")
        && !path.contains("%2F.")
        && !path.contains("%5C.")
        && !path.contains('\\')
    {
        return false;
    }
    let path = path.replace("%2F", "/").replace("%5C", "/").replace('\\', "/");
    path.split('/').any(|segment| matches!(segment.split(';').next(), Some("." | "..")))
}

/// How else some servers read a path that is [`normal`]: without what follows a `;` in a segment, or with a slash
/// for `%2F` and for backslashes. Most paths are read in one way by all.
pub(crate) fn other_readings(path: &str) -> Vec<String> {
    if !has_other_readings(path) {
        return Vec::new();
    }
    let (cut, split) = (without_parameters(path), with_slashes(path));
    let both = [without_parameters(&split), with_slashes(&cut)];
    let mut readings = Vec::from([cut, split]);
    readings.extend(both);
    readings.retain(|reading| reading != path);
    readings
}

/// Whether there may be any.
pub(crate) fn has_other_readings(path: &str) -> bool {
    let is_special = |byte| matches!(byte, b';' | b'\\' | b'%');
    path.bytes().any(is_special)
        && (path.contains([';', '\\']) || path.contains("%2F") || path.contains("%5C"))
}

fn without_parameters(path: &str) -> String {
    joined(path.split('/').map(|segment| segment.split(';').next().unwrap_or_default()))
}

fn with_slashes(path: &str) -> String {
    joined(path.replace("%2F", "/").replace("%5C", "/").split(['/', '\\']))
}

/// With one slash before each; those that are empty are left out, but for the last.
fn joined<'p>(segments: impl Iterator<Item = &'p str>) -> String {
    let mut path = String::new();
    for segment in segments.skip(1) {
        if !path.ends_with('/') {
            path.push('/');
        }
        path.push_str(segment);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: Result<&str, BadPath>) {
        assert_eq!(normal(path).as_deref().map_err(|bad| *bad), expected, "{path}");
    }

    #[test]
    fn there_is_one_spelling() {
        check("/a/b", Ok("/a/b"));
        check("/%61dm%69n", Ok("/admin"));
        check("/a%2fb", Ok("/a%2Fb"));
        check("/%c3%a9", Ok("/%C3%A9"));
        check("/é", Ok("/%C3%A9"));
        check("/a//b/", Ok("/a/b/"));
        check("//admin///", Ok("/admin/"));
        check("/v1%3Ax%40%3b", Ok("/v1:x@%3B"));
        check("/.well-known/x", Ok("/.well-known/x"));
        check("/a/..b/...", Ok("/a/..b/..."));
        check("*", Ok("*"));
    }

    #[test]
    fn what_might_be_the_folder_above_is_refused() {
        for path in [
            "/..",
            "/a/../b",
            "/a/./b",
            "/.",
            "/a/%2e%2E/b",
            "/a/..;x/b",
            "/a%2f..%2fb",
            "/a/..%5cb",
            "/a\\..\\b",
        ] {
            check(path, Err(BadPath::Dots));
        }
        check("/%", Err(BadPath::Percent));
        check("/%4", Err(BadPath::Percent));
        check("/%zz", Err(BadPath::Percent));
        check("/a%00", Err(BadPath::Nul));
    }

    #[test]
    fn a_path_may_have_other_readings() {
        let check = |path: &str, expected: &[&str]| {
            let mut readings = other_readings(path);
            readings.sort();
            readings.dedup();
            assert_eq!(readings, expected, "{path}");
        };
        check("/a/b", &[]);
        check("/a%3Bb", &[]);
        check("/;/admin/x", &["/admin/x"]);
        check("/admin%2Fx", &["/admin/x"]);
        check("/admin%5Cx", &["/admin/x"]);
        check("/admin\\x", &["/admin/x"]);
        check("/a;b/c", &["/a/c"]);
        check("/a;x%2Fadmin", &["/a", "/a/admin", "/a;x/admin"]);
        check("/a/;", &["/a/"]);
    }

    proptest::proptest! {
        #[test]
        fn what_is_normal_stays_so(path in "/[ -~é]{0,30}") {
            if let Ok(once) = normal(&path) {
                proptest::prop_assert_eq!(normal(&once), Ok(Cow::Borrowed(&*once)));
            }
        }
    }
}
