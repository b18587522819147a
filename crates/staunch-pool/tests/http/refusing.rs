//! HTTP/2 servers that say that they have not worked on a request.

use hyper::{Method, Request};
use staunch_harness::{
    Raw,
    frames::{
        END_HEADERS, END_STREAM, GO_AWAY, HEADERS, INTERNAL_ERROR, OK, REFUSED_STREAM, RESET,
        frame, serve,
    },
};
use staunch_pool::{HttpError, PoolOptions, RequestBody};

use crate::support::{prior_knowledge, with_pool};

/// Of all streams none was worked on; nothing is wrong.
const LEAVING: [u8; 8] = [0; 8];

/// The first request of the first connection is refused like that, all others are answered.
fn refuses(kind: u8, of_connection: bool, payload: &'static [u8]) -> Raw {
    Raw::start(move |stream, connection| {
        let mut requests = 0;
        let _ = serve(stream, |said| {
            if said.kind != HEADERS {
                return Vec::new();
            }
            requests += 1;
            match (connection, requests) {
                (0, 1) => frame(kind, 0, if of_connection { 0 } else { said.stream }, payload),
                _ => frame(HEADERS, END_STREAM | END_HEADERS, said.stream, &OK),
            }
        }); // until the client closes
    })
}

/// Sends a request to a server that refuses the first.
async fn send(server: &Raw, method: Method, body: RequestBody) -> Result<u16, HttpError> {
    let mut result = None;
    with_pool(server.port, prior_knowledge(), PoolOptions::default(), async |pool, _| {
        let request = Request::builder().method(method).uri("/").body(body).unwrap();
        result = Some(pool.send(request).await.map(|answer| answer.status().as_u16()));
    })
    .await;
    result.unwrap()
}

#[staunch::test]
async fn what_was_refused_is_sent_again_whatever_it_is() {
    for method in [Method::GET, Method::PUT, Method::POST, Method::PATCH] {
        let server = refuses(RESET, false, &REFUSED_STREAM);
        assert_eq!(send(&server, method.clone(), "pay".into()).await.unwrap(), 200, "{method}");
        assert_eq!(server.accepted(), 1, "one stream too many is no reason for a connection");
        let server = refuses(GO_AWAY, true, &LEAVING);
        assert_eq!(send(&server, method.clone(), "pay".into()).await.unwrap(), 200, "{method}");
    }
}

#[staunch::test]
async fn what_may_have_been_worked_on_is_not_sent_again() {
    let server = refuses(RESET, false, &INTERNAL_ERROR);
    let error = send(&server, Method::POST, "pay".into()).await.unwrap_err();
    assert!(matches!(error, HttpError::Failed { .. }), "{error}");
}

#[staunch::test]
async fn a_stream_that_was_refused_is_gone() {
    let server = refuses(RESET, false, &REFUSED_STREAM);
    let stream = RequestBody::stream(http_body_util::Full::new("once".into()));
    let error = send(&server, Method::POST, stream).await.unwrap_err();
    assert!(matches!(error, HttpError::Refused { .. }), "{error}");
    let says = error.to_string();
    assert!(says.contains("the server refused the request before it worked on it"), "{says}");
    assert!(says.contains("refused stream") && !says.contains("ended before"), "{says}");
}
