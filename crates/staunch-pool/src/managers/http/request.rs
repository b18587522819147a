//! What is sent.

use std::{
    pin::Pin,
    task::{Context as Poller, Poll, Waker},
};

use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Uri, Version,
    body::{Body, Bytes, Frame, SizeHint},
    header::{
        CONTENT_LENGTH, EXPECT, HOST, HeaderValue, PROXY_AUTHORIZATION, TRANSFER_ENCODING, UPGRADE,
    },
    http::{
        request::Parts,
        uri::{Authority, PathAndQuery},
    },
};
use staunch_scope::BoxError;

use super::error::HttpError;

/// The body of a request. One that is in memory can be sent again, if its connection turns out to
/// have been closed.
///
/// # Examples
/// ```
/// use staunch_pool::RequestBody;
/// let nothing = RequestBody::from(());
/// let text = RequestBody::from("ping");
/// let stream = RequestBody::stream(http_body_util::Full::new("ping".into()));
/// ```
#[derive(Debug, Default)]
pub struct RequestBody(Kind);

#[derive(Debug, Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    Stream(UnsyncBoxBody<Bytes, BoxError>),
}

impl RequestBody {
    /// A body that is made while it is sent. It is sent once.
    pub fn stream<B>(body: B) -> RequestBody
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        RequestBody(Kind::Stream(body.map_err(Into::into).boxed_unsync()))
    }

    /// The same again, if it can be had: one that is a stream cannot.
    pub fn again(&self) -> Option<RequestBody> {
        match &self.0 {
            Kind::Empty => Some(RequestBody::default()),
            Kind::Full(bytes) => Some(RequestBody(Kind::Full(bytes.clone()))),
            Kind::Stream(_) => None,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Stream(body) => Pin::new(body).poll_frame(cx),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream(body) => body.size_hint(),
        }
    }
}

impl From<()> for RequestBody {
    fn from((): ()) -> RequestBody {
        RequestBody::default()
    }
}

impl From<Bytes> for RequestBody {
    fn from(bytes: Bytes) -> RequestBody {
        RequestBody(Kind::Full(bytes))
    }
}

impl From<Vec<u8>> for RequestBody {
    fn from(bytes: Vec<u8>) -> RequestBody {
        Bytes::from(bytes).into()
    }
}

impl From<String> for RequestBody {
    fn from(text: String) -> RequestBody {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for RequestBody {
    fn from(text: &'static str) -> RequestBody {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<Empty<Bytes>> for RequestBody {
    fn from(_: Empty<Bytes>) -> RequestBody {
        RequestBody::default()
    }
}

impl From<Full<Bytes>> for RequestBody {
    fn from(mut body: Full<Bytes>) -> RequestBody {
        // It is all there, so one look tells.
        match Pin::new(&mut body).poll_frame(&mut Poller::from_waker(Waker::noop())) {
            Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default().into(),
            _ => RequestBody::default(),
        }
    }
}

/// Refuses what would turn the connection into another.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), HttpError> {
    let unsupported = |what| Err(HttpError::Unsupported { what });
    match request {
        _ if request.method() == Method::CONNECT => unsupported("CONNECT"),
        _ if request.headers().contains_key(UPGRADE) => unsupported("Upgrade"),
        _ if request.headers().contains_key(EXPECT) => unsupported("Expect"),
        _ => Ok(()),
    }
}

/// The same request once more, if sending it twice does what sending it once does (RFC 9110,
/// section 9.2.2), and its body can be had again.
pub(super) fn again(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    if request.method().is_idempotent() { copy(request) } else { None }
}

/// The same request, if its body can be had again.
pub(super) fn copy(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let mut same = Request::new(request.body().again()?);
    *same.method_mut() = request.method().clone();
    *same.uri_mut() = request.uri().clone();
    *same.headers_mut() = request.headers().clone();
    *same.extensions_mut() = request.extensions().clone();
    Some(same)
}

/// As HTTP/1 has it: the path in the first line, the server's name in `Host`.
pub(super) fn for_http1(request: Request<RequestBody>, server: &str) -> Request<RequestBody> {
    let (mut head, body) = request.into_parts();
    if !head.headers.contains_key(HOST) {
        let name = head.uri.authority().map_or(server, without_user);
        if let Ok(name) = HeaderValue::from_str(name) {
            head.headers.insert(HOST, name);
        }
    }
    // hyper takes a GET without a length for one without a body.
    let has_length =
        body.size_hint().exact().is_some() || head.headers.contains_key(CONTENT_LENGTH);
    if !has_length && !body.is_end_stream() {
        head.headers.entry(TRANSFER_ENCODING).or_insert(HeaderValue::from_static("chunked"));
    }
    head.uri = Uri::from(path(&mut head));
    head.version = Version::HTTP_11;
    Request::from_parts(head, body)
}

/// As a proxy wants it over HTTP/1: the whole URI in the first line, and who asks.
pub(super) fn for_relay(
    request: Request<RequestBody>,
    server: &str,
    authorization: Option<&str>,
) -> Request<RequestBody> {
    let named = request.uri().authority().map(|authority| without_user(authority).to_owned());
    let name = named.as_deref().unwrap_or(server).to_owned();
    let (mut head, body) = for_http1(request, server).into_parts();
    let path = path(&mut head);
    let uri = Uri::builder().scheme("http").authority(name).path_and_query(path.clone()).build();
    head.uri = uri.unwrap_or_else(|_| Uri::from(path)); // which the proxy refuses
    if let Some(Ok(mut secret)) = authorization.map(HeaderValue::from_str) {
        secret.set_sensitive(true);
        head.headers.entry(PROXY_AUTHORIZATION).or_insert(secret);
    }
    Request::from_parts(head, body)
}

/// As HTTP/2 has it: everything in the pseudo-headers that hyper makes of the URI.
pub(super) fn for_http2(
    request: Request<RequestBody>,
    server: &str,
    is_secure: bool,
) -> Request<RequestBody> {
    let (mut head, body) = request.into_parts();
    let host = head.headers.remove(HOST);
    let host = host.as_ref().and_then(|host| host.to_str().ok());
    let name = head.uri.authority().map(|authority| without_user(authority).to_owned());
    let name = name.as_deref().or(host).unwrap_or(server).to_owned();
    let scheme = if is_secure { "https" } else { "http" };
    let path = path(&mut head);
    let uri = Uri::builder().scheme(scheme).authority(name).path_and_query(path.clone()).build();
    head.uri = uri.unwrap_or_else(|_| Uri::from(path)); // which hyper refuses
    head.version = Version::HTTP_2;
    Request::from_parts(head, body)
}

/// The name and port: a password in a URI is nobody else's.
fn without_user(authority: &Authority) -> &str {
    let whole = authority.as_str();
    whole.rsplit_once('@').map_or(whole, |(_, name)| name)
}

fn path(head: &mut Parts) -> PathAndQuery {
    let path = std::mem::take(&mut head.uri).into_parts().path_and_query;
    path.unwrap_or_else(|| PathAndQuery::from_static("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str) -> Request<RequestBody> {
        Request::get(uri).body(RequestBody::default()).expect("a request")
    }

    fn check(uri: &str, http1: (&str, &str), http2: &str) {
        let sent = for_http1(request(uri), "server:81");
        assert_eq!(
            (sent.uri().to_string().as_str(), &sent.headers()[HOST]),
            (http1.0, &HeaderValue::from_str(http1.1).unwrap())
        );
        let sent = for_http2(request(uri), "server:81", false);
        assert_eq!((sent.uri().to_string().as_str(), sent.headers().get(HOST)), (http2, None));
    }

    #[test]
    fn each_version_has_its_form() {
        check("/a?b", ("/a?b", "server:81"), "http://server:81/a?b");
        check("http://other/a", ("/a", "other"), "http://other/a");
        check("http://me:secret@other:82", ("/", "other:82"), "http://other:82/");
    }

    #[test]
    fn a_relay_is_told_the_whole_uri() {
        let check = |uri: &str, told: Option<&str>, expected: (&str, &str)| {
            let sent = for_relay(request(uri), "server:81", told);
            assert_eq!(sent.uri().to_string(), expected.0);
            assert_eq!(sent.headers()[HOST], expected.1);
            let secret = sent.headers().get(PROXY_AUTHORIZATION);
            assert_eq!(secret.map(HeaderValue::as_bytes), told.map(str::as_bytes));
            assert!(!format!("{:?}", sent.headers()).contains("hidden"));
        };
        check("/a?b", None, ("http://server:81/a?b", "server:81"));
        check("http://other/a", Some("Basic hidden"), ("http://other/a", "other"));
        check("http://me:secret@other:82", None, ("http://other:82/", "other:82"));
    }

    #[test]
    fn a_name_that_the_request_gives_is_kept() {
        let mut named = request("/");
        named.headers_mut().insert(HOST, HeaderValue::from_static("virtual"));
        let again = again(&named).expect("it is safe");
        assert_eq!(for_http1(named, "server").headers()[HOST], "virtual");
        assert_eq!(for_http2(again, "server", true).uri(), "https://virtual/");
    }
}
