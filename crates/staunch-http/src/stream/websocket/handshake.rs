//! The request for a WebSocket, and its answer (RFC 6455, 4.2).

use hyper::{
    Method, Request, Response, StatusCode, Version,
    header::{
        CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
        UPGRADE,
    },
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::stream::body::StreamBody;

/// A request is not one for a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotWebSocketError {
    /// It is not HTTP/1.1, GET, with `Connection: upgrade` and `Upgrade: websocket`.
    #[error("this is for WebSockets: GET over HTTP/1.1, with `Upgrade: websocket`")]
    Upgrade,
    /// It has no key, or one that is not of 16 bytes in base64.
    #[error("`Sec-WebSocket-Key` must be 16 bytes in base64")]
    Key,
    /// It wants another version than 13.
    #[error("`Sec-WebSocket-Version` must be 13")]
    Version,
}

impl NotWebSocketError {
    /// What the client is told: 400, or 426 with the version that is spoken. Over HTTP/2, which upgrades
    /// nothing, the server leaves out what is said of the connection.
    pub fn answer(&self) -> Response<StreamBody> {
        let mut answer = Response::new(StreamBody::whole(format!("{self}\n")));
        *answer.status_mut() = match self {
            NotWebSocketError::Key => StatusCode::BAD_REQUEST,
            NotWebSocketError::Upgrade | NotWebSocketError::Version => StatusCode::UPGRADE_REQUIRED,
        };
        let headers = answer.headers_mut();
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade")); // RFC 9110, 7.8
        answer
    }
}

/// The answer that makes a WebSocket of the connection.
pub(super) fn answer<Q>(request: &Request<Q>) -> Result<Response<StreamBody>, NotWebSocketError> {
    let headers = request.headers();
    let says = |name, token: &str| {
        let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.any(|value| value.split(',').any(|it| it.trim().eq_ignore_ascii_case(token)))
    };
    let is_http1 = request.version() == Version::HTTP_11 && request.method() == Method::GET;
    if !is_http1 || !says(UPGRADE, "websocket") || !says(CONNECTION, "upgrade") {
        return Err(NotWebSocketError::Upgrade);
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(NotWebSocketError::Version);
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|key| is_key(key.as_bytes()));
    let accept = derive_accept_key(key.ok_or(NotWebSocketError::Key)?.as_bytes());
    let mut answer = Response::new(StreamBody::whole(""));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let accept = HeaderValue::try_from(accept).map_err(|_| NotWebSocketError::Key)?;
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    Ok(answer)
}

/// Whether it is 16 bytes in base64.
fn is_key(key: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(is_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_request_for_a_websocket_gets_one() {
        let check = |headers: &[(&'static str, &'static str)], expected| {
            let mut request = Request::get("/").body(()).unwrap();
            for (name, value) in headers {
                request.headers_mut().append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(answer(&request).err(), expected, "{headers:?}");
        };
        let upgrade = ("connection", "keep-alive, Upgrade");
        let websocket = ("upgrade", "WebSocket");
        let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let version = ("sec-websocket-version", "13");
        check(&[upgrade, websocket, key, version], None);
        check(&[], Some(NotWebSocketError::Upgrade));
        check(&[upgrade, key, version], Some(NotWebSocketError::Upgrade));
        check(&[upgrade, ("upgrade", "h2c"), key, version], Some(NotWebSocketError::Upgrade));
        check(&[websocket, key, version], Some(NotWebSocketError::Upgrade));
        check(&[upgrade, websocket, key], Some(NotWebSocketError::Version));
        let old = ("sec-websocket-version", "8");
        check(&[upgrade, websocket, key, old], Some(NotWebSocketError::Version));
        check(&[upgrade, websocket, version], Some(NotWebSocketError::Key));
        for bad in ["", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25j*Q==", "c2hvcnQ="] {
            check(
                &[upgrade, websocket, version, ("sec-websocket-key", bad)],
                Some(NotWebSocketError::Key),
            );
        }
    }

    /// The example of RFC 6455, 1.3.
    #[test]
    fn the_key_is_accepted_as_the_rfc_has_it() {
        let request = Request::get("/")
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let answer = answer(&request.body(()).unwrap()).unwrap();
        assert_eq!(answer.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
