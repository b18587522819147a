//! The paths that a route takes.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A pattern for paths: segments that are written out, `{name}` for any one segment, and `/*` at the
/// end for the path before it and all below it.
///
/// Of two patterns that take a path the more specific one wins: the first segment in which they differ
/// decides, and there a segment that is written out comes before `{name}`, and that before `*`.
///
/// ```
/// use staunch_config::PathPattern;
///
/// let users: PathPattern = "/users/{id}/*".parse().unwrap();
/// assert!(users.matches("/users/7/orders"));
/// assert!(users.matches("/users/7"));
/// assert!(!users.matches("/users/"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    segments: Vec<Segment>,
    /// Whether what lies below is taken too.
    is_prefix: bool,
}

/// One part of a path between two slashes. In the order of what is more specific.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment {
    /// This one.
    Written(String),
    /// Any one that is not empty.
    Any,
}

/// What is written is no pattern for paths.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParsePathError {
    /// It does not begin with a slash.
    #[error("must begin with `/`")]
    Relative,
    /// There is `*` before the end.
    #[error("must have `*` alone, after the last slash, as in `/files/*`")]
    Star,
    /// A brace that is not around a whole segment.
    #[error("must have braces around a whole segment, as in `/users/{{id}}`")]
    Brace,
    /// A segment that no request has: clients leave `.` and `..` out.
    #[error("must have no segment `.` or `..`: no request gets here with one")]
    Dots,
    /// A segment that no request has here: of several slashes one is left.
    #[error("must have no empty segment before its end: of `//` in a request one `/` is left")]
    Slashes,
    /// A character that no path has, or that ends what is looked up of a segment.
    #[error(
        "must have no `?`, `#`, `%`, `;`, `\\`, white space or control character: write `é` as it is"
    )]
    Character,
    /// It is too long.
    #[error("must have {SEGMENTS_MAX} segments at most")]
    Long,
}

/// More than any real path has, few enough to look at one by one.
const SEGMENTS_MAX: usize = 32;

impl PathPattern {
    /// Every path.
    pub fn any() -> Self {
        Self { segments: Vec::new(), is_prefix: true }
    }

    /// Its segments, without the last `*`.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether it ends in `*`, and takes what lies below too.
    pub fn is_prefix(&self) -> bool {
        self.is_prefix
    }

    /// How long the part of `path` is that the pattern without its last `*` takes; `None` if the
    /// pattern does not take `path`.
    pub fn prefix_of(&self, path: &str) -> Option<usize> {
        let mut at = 0;
        for segment in &self.segments {
            let rest = path.get(at..)?.strip_prefix('/')?;
            let found = rest.split('/').next().unwrap_or_default();
            if !segment.takes(found) {
                return None;
            }
            at += 1 + found.len();
        }
        let rest = path.get(at..)?;
        let is_below = self.is_prefix && (rest.is_empty() || rest.starts_with('/'));
        (rest.is_empty() || is_below).then_some(at)
    }

    /// The more specific one is less; equal are those that take the same paths.
    pub fn cmp_specificity(&self, other: &Self) -> Ordering {
        let own = self.segments.iter().map(Some).chain([None]);
        let others = other.segments.iter().map(Some).chain([None]);
        for (own, other) in own.zip(others) {
            let decided = match (own, other) {
                (Some(own), Some(other)) => own.cmp(other),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => Ordering::Equal,
            };
            if decided.is_ne() {
                return decided;
            }
        }
        self.is_prefix.cmp(&other.is_prefix)
    }

    /// Whether it takes `path`.
    pub fn matches(&self, path: &str) -> bool {
        self.prefix_of(path).is_some()
    }
}

impl Segment {
    /// Whether it is this one.
    pub fn takes(&self, found: &str) -> bool {
        match self {
            // What follows a `;` are parameters (RFC 3986, 3.3), which some servers cut off.
            Self::Written(written) => {
                found == written || found.split(';').next() == Some(written.as_str())
            }
            Self::Any => !found.is_empty(),
        }
    }
}

impl FromStr for PathPattern {
    type Err = ParsePathError;

    fn from_str(text: &str) -> Result<Self, ParsePathError> {
        let Some(rest) = text.strip_prefix('/') else { return Err(ParsePathError::Relative) };
        let (rest, is_prefix) = match rest.strip_suffix('*') {
            Some("") => return Ok(Self::any()),
            Some(before) => (before.strip_suffix('/').ok_or(ParsePathError::Star)?, true),
            None => (rest, false),
        };
        if rest.split('/').count() > SEGMENTS_MAX {
            return Err(ParsePathError::Long);
        }
        let last = rest.rsplit_once('/').map_or(rest, |(_, last)| last);
        if (is_prefix && last.is_empty()) || rest.starts_with('/') || rest.contains("//") {
            return Err(ParsePathError::Slashes);
        }
        let segments = rest.split('/').map(segment).collect::<Result<_, _>>()?;
        Ok(Self { segments, is_prefix })
    }
}

fn segment(text: &str) -> Result<Segment, ParsePathError> {
    let forbidden =
        |c: char| matches!(c, '?' | '#' | '%' | ';' | '\\') || c.is_whitespace() || c.is_control();
    match text {
        "." | ".." => Err(ParsePathError::Dots),
        _ if text.contains('*') => Err(ParsePathError::Star),
        _ if text.contains(forbidden) => Err(ParsePathError::Character),
        _ => match text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(name) if !name.is_empty() && !name.contains(['{', '}']) => Ok(Segment::Any),
            None if !text.contains(['{', '}']) => Ok(Segment::Written(as_sent(text))),
            _ => Err(ParsePathError::Brace),
        },
    }
}

/// As requests have it: what needs no `%` (RFC 3986, section 3.3), all else by it and digits in capitals.
fn as_sent(text: &str) -> String {
    use std::fmt::Write as _;
    let mut sent = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&byte) {
            sent.push(char::from(byte));
        } else {
            let _ = write!(sent, "%{byte:02X}"); // a String takes everything
        }
    }
    sent
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Written(written) => write!(f, "/{written}")?,
                Segment::Any => f.write_str("/{}")?,
            }
        }
        f.write_str(if self.is_prefix { "/*" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, path: &str, expected: Option<usize>) {
        let parsed: PathPattern = pattern.parse().unwrap();
        assert_eq!(parsed.prefix_of(path), expected, "{pattern} {path}");
    }

    #[test]
    fn which_paths_a_pattern_takes() {
        check("/", "/", Some(1));
        check("/", "/a", None);
        check("/*", "/", Some(0));
        check("/*", "/a/b", Some(0));
        check("/a", "/a", Some(2));
        check("/a", "/a/", None);
        check("/a/", "/a/", Some(3));
        check("/a/", "/a", None);
        check("/a/*", "/a", Some(2));
        check("/a/*", "/a/", Some(2));
        check("/a/*", "/a/b", Some(2));
        check("/a/*", "/ab", None);
        check("/a/{id}/c", "/a/7/c", Some(6));
        check("/a/{id}/c", "/a//c", None);
        check("/a/{id}/c", "/a/7/8/c", None);
        check("/a/{id}/*", "/a/7/8/c", Some(4));
        check("/a/{id}", "/a/é", Some(5));
        check("/*", "*", None);
        check("/é/*", "/%C3%A9/a", Some(7));
        check("/<a>", "/%3Ca%3E", Some(8));
        check("/a/*", "/a;b/c", Some(4));
    }

    fn refuse(pattern: &str, expected: ParsePathError) {
        assert_eq!(pattern.parse::<PathPattern>(), Err(expected), "{pattern}");
    }

    #[test]
    fn what_is_no_pattern() {
        refuse("", ParsePathError::Relative);
        refuse("a", ParsePathError::Relative);
        refuse("/a*", ParsePathError::Star);
        refuse("/*/a", ParsePathError::Star);
        refuse("/{a", ParsePathError::Brace);
        refuse("/{}", ParsePathError::Brace);
        refuse("/x{a}", ParsePathError::Brace);
        refuse("/../a", ParsePathError::Dots);
        refuse("/a?b", ParsePathError::Character);
        refuse("/a b", ParsePathError::Character);
        refuse("/a%20b", ParsePathError::Character);
        refuse("/a;b", ParsePathError::Character);
        refuse("//a", ParsePathError::Slashes);
        refuse("/a//b", ParsePathError::Slashes);
        refuse("/a//", ParsePathError::Slashes);
        refuse("/a//*", ParsePathError::Slashes);
        refuse(&"/a".repeat(33), ParsePathError::Long);
    }

    #[test]
    fn the_first_difference_decides_what_is_more_specific() {
        let mut patterns: Vec<PathPattern> =
            ["/*", "/{x}/b", "/a/*", "/a/{y}", "/a/b"].map(|text| text.parse().unwrap()).into();
        let specific = patterns.iter().map(ToString::to_string).rev().collect::<Vec<_>>();
        patterns.sort_by(PathPattern::cmp_specificity);
        assert_eq!(patterns.iter().map(ToString::to_string).collect::<Vec<_>>(), specific);
    }
}
