//! What the console answers with.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http_body_util::Full;
use hyper::{
    Response,
    header::{
        CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName,
        HeaderValue, X_CONTENT_TYPE_OPTIONS,
    },
};

/// A whole answer.
pub(crate) type Reply = Response<Full<Bytes>>;

/// Plain text.
pub(crate) fn text(body: impl Into<Bytes>) -> Reply {
    reply("text/plain; charset=utf-8", body)
}

/// A web page without scripts.
pub(crate) fn html(body: String) -> Reply {
    let mut reply = reply("text/html; charset=utf-8", body);
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
    reply.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    reply
}

/// JSON, indented, since people read it too.
pub(crate) fn json(value: &impl serde::Serialize) -> serde_json::Result<Reply> {
    let mut body = serde_json::to_vec_pretty(value)?;
    body.push(b'\n');
    Ok(reply("application/json", body))
}

/// Metrics in the OpenMetrics text format.
pub(crate) fn metrics(body: String) -> Reply {
    reply("application/openmetrics-text; version=1.0.0; charset=utf-8", body)
}

/// A file to be saved, such as a profile.
pub(crate) fn file(name: &'static str, body: Vec<u8>) -> Reply {
    let mut reply = reply("application/octet-stream", body);
    if let Ok(disposition) = HeaderValue::try_from(format!("attachment; filename=\"{name}\"")) {
        reply.headers_mut().insert(CONTENT_DISPOSITION, disposition);
    }
    reply
}

fn reply(content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    let headers = reply.headers_mut();
    let mut set = |name: HeaderName, value| headers.insert(name, HeaderValue::from_static(value));
    set(CONTENT_TYPE, content_type);
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(CACHE_CONTROL, "no-store");
    reply
}

/// Compresses a profile, as pprof files are.
pub(crate) fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}
