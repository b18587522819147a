//! Which pages of other origins may ask (Fetch standard, 3.2).
//!
//! It is the browser that keeps to this; whoever is no browser asks what it likes. So an origin that may
//! not ask is told nothing rather than refused, except when a browser asks before it asks.

use http::{
    StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS,
        ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
        ACCESS_CONTROL_MAX_AGE, HeaderValue, VARY,
    },
};
use staunch_config::{Cors as Configured, Origins};

use crate::{
    asked::{Asked, Fields, Only},
    edit::Edit,
    refusal::{Reason, Refusal},
};

/// Origins, and what they are told.
#[derive(Debug)]
pub(crate) struct Cors {
    origins: Origins,
    methods: HeaderValue,
    headers: Option<HeaderValue>,
    expose: Option<HeaderValue>,
    credentials: bool,
    max_age: HeaderValue,
}

static TRUE: HeaderValue = HeaderValue::from_static("true");
static ORIGIN: HeaderValue = HeaderValue::from_static("Origin");

/// The method that a browser asks permission for, if a request is such a question: a CORS preflight
/// request. Whoever routes by method should take this one.
pub fn preflight<'r>(method: &str, fields: &'r dyn Fields) -> Option<&'r str> {
    if method != "OPTIONS" {
        return None;
    }
    fields.first("origin")?;
    std::str::from_utf8(fields.first("access-control-request-method")?).ok()
}

impl Cors {
    pub(crate) fn new(config: &Configured) -> Option<Cors> {
        let list = |names: &[String]| -> Option<Option<HeaderValue>> {
            if names.is_empty() {
                return Some(None);
            }
            names.join(", ").parse().ok().map(Some)
        };
        Some(Cors {
            origins: config.origins.clone(),
            methods: config.methods.join(", ").parse().ok()?,
            headers: list(&config.headers)?,
            expose: list(&config.expose)?,
            credentials: config.credentials,
            max_age: HeaderValue::from(config.max_age.as_secs()),
        })
    }

    /// What an answer says to be allowed: `*`, the request's origin, or nothing.
    pub(crate) fn allowed(&self, asked: &Asked<'_>) -> Option<HeaderValue> {
        let patterns = match &self.origins {
            Origins::Any => return Some(HeaderValue::from_static("*")),
            Origins::Some(patterns) => patterns,
        };
        let Only::One(origin) = asked.only("origin") else { return None };
        let text = std::str::from_utf8(origin).ok()?;
        let is_allowed = patterns.iter().any(|pattern| pattern.matches(text));
        is_allowed.then(|| HeaderValue::from_bytes(origin).ok())?
    }

    /// The answer to a browser that asks before it asks; whatever else it is, the server has it.
    pub(crate) fn preflight(
        &self,
        asked: &Asked<'_>,
        allowed: Option<&HeaderValue>,
    ) -> Result<(), Refusal> {
        if preflight(asked.method, asked.fields).is_none() {
            return Ok(());
        }
        if allowed.is_none() {
            let text = "Pages of this origin may not ask here";
            return Err(Refusal::new(StatusCode::FORBIDDEN, Reason::Origin, text));
        }
        let mut answer = Refusal::new(StatusCode::NO_CONTENT, Reason::Preflight, "")
            .header(ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone())
            .header(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        if let Some(headers) = &self.headers {
            answer = answer.header(ACCESS_CONTROL_ALLOW_HEADERS, headers.clone());
        }
        Err(answer)
    }

    /// Of every answer; what the server says itself does not count.
    pub(crate) fn answer(&self, allowed: Option<&HeaderValue>, each: &mut dyn FnMut(Edit<'_>)) {
        each(Edit::Remove(&ACCESS_CONTROL_ALLOW_ORIGIN));
        each(Edit::Remove(&ACCESS_CONTROL_ALLOW_CREDENTIALS));
        each(Edit::Remove(&ACCESS_CONTROL_EXPOSE_HEADERS));
        if matches!(self.origins, Origins::Some(_)) {
            // Also of an answer to nobody: a cache must not give it to somebody (Fetch, 3.2.7).
            each(Edit::Append(&VARY, &ORIGIN));
        }
        let Some(allowed) = allowed else { return };
        each(Edit::Set(&ACCESS_CONTROL_ALLOW_ORIGIN, allowed));
        if self.credentials {
            each(Edit::Set(&ACCESS_CONTROL_ALLOW_CREDENTIALS, &TRUE));
        }
        if let Some(expose) = &self.expose {
            each(Edit::Set(&ACCESS_CONTROL_EXPOSE_HEADERS, expose));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderMap;

    use super::*;

    fn cors(origins: &[&str], credentials: bool) -> Cors {
        let some = || Origins::Some(origins.iter().map(|it| it.parse().unwrap()).collect());
        Cors::new(&Configured {
            origins: if origins == ["*"] { Origins::Any } else { some() },
            methods: vec!["GET".to_owned(), "PUT".to_owned()],
            headers: vec!["x-team".to_owned()],
            expose: vec!["x-total".to_owned()],
            credentials,
            max_age: Duration::from_mins(1),
        })
        .unwrap()
    }

    /// What a request with these headers is told, in order of names: a refusal's status and all.
    fn told(cors: &Cors, method: &str, fields: &[(&'static str, &'static str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        let asked = Asked { client: None, is_secure: false, names: None, method, fields: &map };
        let allowed = cors.allowed(&asked);
        let (mut told, mut headers) = match cors.preflight(&asked, allowed.as_ref()) {
            Ok(()) => ("-".to_owned(), HeaderMap::new()),
            Err(answer) => (answer.status.as_u16().to_string(), *answer.headers),
        };
        headers.append(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("of-the-server"));
        cors.answer(allowed.as_ref(), &mut |edit| edit.apply(&mut headers));
        for name in ["origin", "credentials", "methods", "headers"] {
            let value = headers.get(format!("access-control-allow-{name}"));
            told.push(' ');
            told.push_str(value.map_or("-", |value| value.to_str().unwrap()));
        }
        told + if headers.contains_key(VARY) { " vary" } else { "" }
    }

    #[test]
    fn what_browsers_are_told() {
        let (any, one) = (cors(&["*"], false), cors(&["https://a.com"], true));
        let ask = ("access-control-request-method", "PUT");
        let (good, bad) = (("origin", "https://a.com"), ("origin", "https://b.com"));
        for (cors, method, fields, expected) in [
            (&any, "GET", &[][..], "- * - - -"),
            (&any, "GET", &[good], "- * - - -"),
            (&any, "OPTIONS", &[good, ask], "204 * - GET, PUT x-team"),
            (&any, "OPTIONS", &[good], "- * - - -"),
            (&any, "OPTIONS", &[ask], "- * - - -"),
            (&one, "GET", &[], "- - - - - vary"),
            (&one, "GET", &[good], "- https://a.com true - - vary"),
            (&one, "GET", &[bad], "- - - - - vary"),
            (&one, "GET", &[good, good], "- - - - - vary"),
            (&one, "GET", &[("origin", "null")], "- - - - - vary"),
            (&one, "OPTIONS", &[good, ask], "204 https://a.com true GET, PUT x-team vary"),
            (&one, "OPTIONS", &[bad, ask], "403 - - - - vary"),
            (&one, "PUT", &[bad, ask], "- - - - - vary"),
        ] {
            assert_eq!(told(cors, method, fields), expected, "{method} {fields:?}");
        }
    }
}
