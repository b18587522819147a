//! Which version of an API a route is, and until when.

use std::time::{Duration, UNIX_EPOCH};

use http::{
    StatusCode,
    header::{HeaderName, HeaderValue, LINK},
};
use staunch_config::ApiVersion;

use crate::{
    callers::Callers,
    edit::Edit,
    refusal::{Reason, Refusal},
};

static DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
static SUNSET: HeaderName = HeaderName::from_static("sunset");

/// A version, and who calls it.
#[derive(Debug)]
pub(crate) struct Version {
    name: String,
    deprecated: Option<Duration>,
    /// From when on it is refused.
    gone: Option<Duration>,
    headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) callers: Callers,
}

impl Version {
    pub(crate) fn new(config: &ApiVersion, callers: Callers) -> Option<Version> {
        let mut headers = Vec::new();
        if let Some(seconds) = config.deprecated {
            // A date of a structured field (RFC 9745, 2.1; RFC 9651, 3.3.7).
            headers.push((DEPRECATION.clone(), format!("@{seconds}").parse().ok()?));
        }
        if let Some(seconds) = config.sunset {
            headers.push((SUNSET.clone(), http_date(seconds).parse().ok()?));
        }
        if let Some(url) = &config.documentation {
            let about = if config.deprecated.is_some() { "deprecation" } else { "sunset" };
            headers.push((LINK, format!("<{url}>; rel=\"{about}\"").parse().ok()?));
        }
        if let Some(url) = &config.successor {
            headers.push((LINK, format!("<{url}>; rel=\"successor-version\"").parse().ok()?));
        }
        let gone = config.sunset.filter(|_| config.refuse_after_sunset);
        Some(Version {
            name: config.name.clone(),
            deprecated: config.deprecated.map(Duration::from_secs),
            gone: gone.map(Duration::from_secs),
            headers,
            callers,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_deprecated(&self, date: Duration) -> bool {
        self.deprecated.is_some_and(|since| since <= date)
    }

    pub(crate) fn check(&self, date: Duration) -> Result<(), Refusal> {
        if self.gone.is_none_or(|gone| date < gone) {
            return Ok(());
        }
        Err(Refusal::new(StatusCode::GONE, Reason::Sunset, "This version of the API is gone"))
    }

    pub(crate) fn answer(&self, each: &mut dyn FnMut(Edit<'_>)) {
        for (name, value) in &self.headers {
            let edit = if name == LINK { Edit::Append } else { Edit::Set };
            each(edit(name, value));
        }
    }
}

fn http_date(seconds: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn version(refuse_after_sunset: bool) -> Version {
        let config = ApiVersion {
            name: "v1".to_owned(),
            deprecated: Some(1_688_169_599),
            sunset: Some(1_719_791_999),
            successor: Some("/v2".to_owned()),
            documentation: Some("https://a/b".to_owned()),
            refuse_after_sunset,
        };
        Version::new(&config, Callers::default()).unwrap()
    }

    /// The example of RFC 9745, 2.1.
    #[test]
    fn its_end_is_told() {
        let mut headers = HeaderMap::new();
        headers.append(LINK, HeaderValue::from_static("<a>; rel=next"));
        version(false).answer(&mut |edit| edit.apply(&mut headers));
        assert_eq!(headers["deprecation"], "@1688169599");
        assert_eq!(headers["sunset"], "Sun, 30 Jun 2024 23:59:59 GMT");
        let links: Vec<_> = headers.get_all(LINK).iter().collect();
        let expected = [
            "<a>; rel=next",
            "<https://a/b>; rel=\"deprecation\"",
            "</v2>; rel=\"successor-version\"",
        ];
        assert_eq!(links, expected);
    }

    #[test]
    fn it_is_refused_when_it_is_over_and_not_before() {
        let at = Duration::from_secs;
        assert!(version(true).check(at(1_719_791_998)).is_ok());
        assert_eq!(version(true).check(at(1_719_791_999)).unwrap_err().status, StatusCode::GONE);
        assert!(version(false).check(at(2_000_000_000)).is_ok());
        assert!(version(true).is_deprecated(at(1_688_169_599)));
        assert!(!version(true).is_deprecated(at(1_688_169_598)));
    }
}
