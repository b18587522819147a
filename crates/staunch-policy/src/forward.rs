//! Another service is asked whether a request may pass.

use std::{borrow::Cow, time::Duration};

use http::{
    HeaderMap, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, SET_COOKIE,
        WWW_AUTHENTICATE,
    },
};
use staunch_config::ForwardAuth;

use crate::refusal::{Reason, Refusal};

/// Who is asked, and what.
#[derive(Debug)]
pub struct Forward {
    url: String,
    timeout: Duration,
    send: Vec<HeaderName>,
    copy: Vec<HeaderName>,
}

/// What it has said.
#[derive(Debug)]
pub struct Forwarded {
    /// The status of its answer.
    pub status: StatusCode,
    /// The headers of its answer.
    pub headers: HeaderMap,
    /// The body of its answer, if its client is to have it.
    pub body: Vec<u8>,
}

/// Of an answer that is no yes, what is for the client; all else is between the service and us.
const HANDED_ON: [HeaderName; 6] =
    [CACHE_CONTROL, CONTENT_TYPE, LOCATION, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE];

impl Forward {
    pub(crate) fn new(config: &ForwardAuth) -> Option<Forward> {
        let names = |names: &[String]| {
            names.iter().map(|name| name.parse::<HeaderName>().ok()).collect::<Option<_>>()
        };
        Some(Forward {
            url: config.url.clone(),
            timeout: config.timeout,
            send: names(&config.send)?,
            copy: names(&config.copy)?,
        })
    }

    /// What is asked for, by GET.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How long it may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The headers of the request that it gets, beside those that say what request it is.
    pub fn send(&self) -> &[HeaderName] {
        &self.send
    }

    /// The headers that are taken from its answer, and so from nobody else.
    pub(crate) fn copy(&self) -> &[HeaderName] {
        &self.copy
    }

    /// What the server is told of its answer; or that answer, if it is no yes.
    pub(crate) fn told(
        &self,
        answer: Option<Forwarded>,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, Refusal> {
        let Some(answer) = answer else {
            let text = "The service that says who may ask gives no answer";
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, Reason::ForwardDown, text)
                .header(RETRY_AFTER, HeaderValue::from_static("1")));
        };
        if answer.status.is_success() {
            let copied = self.copy.iter().flat_map(|name| {
                answer.headers.get_all(name).iter().map(|value| (name.clone(), value.clone()))
            });
            return Ok(copied.collect());
        }
        let mut refusal = Refusal::new(answer.status, Reason::Forward, "");
        refusal.body = Cow::Owned(answer.body);
        for name in &HANDED_ON {
            for value in answer.headers.get_all(name) {
                refusal.headers.append(name, value.clone());
            }
        }
        Err(refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: Option<u16>) -> Result<Vec<(HeaderName, HeaderValue)>, Refusal> {
        let config = ForwardAuth {
            url: "http://a/".to_owned(),
            timeout: Duration::from_secs(1),
            send: Vec::new(),
            copy: vec!["x-user".to_owned()],
        };
        let headers = [("x-user", "a"), ("x-own", "b"), ("location", "/login")]
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let answer = |status| Forwarded {
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers.clone().into_iter().collect(),
            body: b"no".to_vec(),
        };
        Forward::new(&config).unwrap().told(status.map(answer))
    }

    #[test]
    fn only_a_yes_is_one() {
        assert_eq!(
            told(Some(204)).unwrap(),
            [("x-user".parse().unwrap(), HeaderValue::from_static("a"))]
        );
        for status in [302, 401, 403, 500] {
            let refusal = told(Some(status)).unwrap_err();
            assert_eq!((refusal.status.as_u16(), &refusal.body[..]), (status, &b"no"[..]));
            assert!(refusal.headers["location"] == "/login" && refusal.headers.len() == 1);
        }
        assert_eq!(told(None).unwrap_err().status, StatusCode::SERVICE_UNAVAILABLE);
    }
}
