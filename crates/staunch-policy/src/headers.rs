//! Headers that are set or taken out.

use http::header::{HeaderName, HeaderValue};
use staunch_config::HeaderEdits;

use crate::edit::Edit;

/// What becomes of the headers of requests and answers.
#[derive(Debug, Default)]
pub(crate) struct Headers {
    security: bool,
    request: Both,
    answer: Both,
}

#[derive(Debug, Default)]
struct Both {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
}

/// What browsers are to leave alone: guess at types, send whole addresses to others, and show a page
/// within one of others. A year of HTTPS only is what scanners ask for; that holds for this host alone,
/// since who configures a route need not know of the hosts below.
static SECURITY: [(HeaderName, HeaderValue); 4] = [
    (
        HeaderName::from_static("strict-transport-security"),
        HeaderValue::from_static("max-age=31536000"),
    ),
    (HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff")),
    (
        HeaderName::from_static("referrer-policy"),
        HeaderValue::from_static("strict-origin-when-cross-origin"),
    ),
    (HeaderName::from_static("x-frame-options"), HeaderValue::from_static("SAMEORIGIN")),
];

static CSP: HeaderName = HeaderName::from_static("content-security-policy");
static FRAMES: HeaderValue = HeaderValue::from_static("frame-ancestors 'self'");

impl Headers {
    pub(crate) fn new(config: &HeaderEdits) -> Option<Headers> {
        Some(Headers {
            security: config.security,
            request: Both::new(&config.request_set, &config.request_remove)?,
            answer: Both::new(&config.answer_set, &config.answer_remove)?,
        })
    }

    pub(crate) fn request(&self, each: &mut dyn FnMut(Edit<'_>)) {
        // Some servers take `x_team` for `x-team`, and a client could say that beside.
        self.request.set.iter().for_each(|(name, _)| each(Edit::Remove(name)));
        self.request.edits(each);
    }

    pub(crate) fn answer(&self, is_secure: bool, each: &mut dyn FnMut(Edit<'_>)) {
        self.answer.edits(each);
        if !self.security {
            return;
        }
        // Over plain HTTP nobody may be told so (RFC 6797, 7.2).
        for (name, value) in &SECURITY[usize::from(!is_secure)..] {
            each(Edit::Default(name, value));
        }
        each(Edit::Default(&CSP, &FRAMES));
    }
}

impl Both {
    fn new(set: &[(String, String)], remove: &[String]) -> Option<Both> {
        let pair = |(name, value): &(String, String)| {
            Some((name.parse().ok()?, HeaderValue::from_str(value).ok()?))
        };
        Some(Both {
            remove: remove.iter().map(|name| name.parse().ok()).collect::<Option<_>>()?,
            set: set.iter().map(pair).collect::<Option<_>>()?,
        })
    }

    fn edits(&self, each: &mut dyn FnMut(Edit<'_>)) {
        self.remove.iter().for_each(|name| each(Edit::Remove(name)));
        self.set.iter().for_each(|(name, value)| each(Edit::Set(name, value)));
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn answer(is_secure: bool, said: &[(&'static str, &'static str)]) -> HeaderMap {
        let config = HeaderEdits {
            security: true,
            request_set: Vec::new(),
            request_remove: Vec::new(),
            answer_set: vec![("x-team".to_owned(), "shop".to_owned())],
            answer_remove: vec!["server".to_owned()],
        };
        let mut headers = HeaderMap::new();
        for (name, value) in said {
            headers.append(*name, HeaderValue::from_static(value));
        }
        Headers::new(&config).unwrap().answer(is_secure, &mut |edit| edit.apply(&mut headers));
        headers
    }

    #[test]
    fn browsers_are_told_what_the_server_has_not_said() {
        let plain = answer(false, &[("server", "a"), ("x-team", "b")]);
        assert!(!plain.contains_key("server") && plain["x-team"] == "shop");
        assert!(!plain.contains_key("strict-transport-security"), "not over plain HTTP");
        assert_eq!(plain["x-content-type-options"], "nosniff");
        let own = answer(
            true,
            &[
                ("content-security-policy", "default-src 'self'"),
                ("referrer-policy", "no-referrer"),
            ],
        );
        assert_eq!(own["strict-transport-security"], "max-age=31536000");
        assert_eq!(own["content-security-policy"], "default-src 'self'");
        assert_eq!(own["referrer-policy"], "no-referrer");
    }
}
