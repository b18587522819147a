//! HTTP/2 servers that say that they have not worked on a request.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use hyper::{Method, Request};
use staunch_pool::{HttpError, PoolOptions, RequestBody};

use crate::{
    raw::Raw,
    support::{prior_knowledge, with_pool},
};

const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GO_AWAY: u8 = 7;

const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];
const INTERNAL_ERROR: [u8; 4] = [0, 0, 0, 2];
/// Of all streams none was worked on; nothing is wrong.
const LEAVING: [u8; 8] = [0; 8];
/// `:status: 200`, by its number in the table.
const OK: [u8; 1] = [0x88];
const END_STREAM_AND_HEADERS: u8 = 1 | 4;

/// A frame, as it is sent.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

/// Does with each request what `answer` says: its number on the connection, from 1, and its stream.
/// Until the client closes.
fn serve(mut stream: TcpStream, answer: impl Fn(u32, u32) -> Vec<u8>) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 24])?; // the preface
    stream.write_all(&frame(SETTINGS, 0, 0, &[]))?;
    let (mut head, mut requests) = ([0; 9], 0);
    loop {
        stream.read_exact(&mut head)?;
        let [_, high, low, kind, flags, id @ ..] = head;
        stream.read_exact(&mut vec![0; usize::from(high) << 8 | usize::from(low)])?;
        match kind {
            SETTINGS if flags & 1 == 0 => stream.write_all(&frame(SETTINGS, 1, 0, &[]))?,
            HEADERS => {
                requests += 1;
                stream.write_all(&answer(requests, u32::from_be_bytes(id)))?;
            }
            _ => {}
        }
    }
}

/// The first request of the first connection is refused like that, all others are answered.
fn refuses(kind: u8, of_connection: bool, payload: &'static [u8]) -> Raw {
    Raw::start(move |stream, connection| {
        let _ = serve(stream, |request, id| match (connection, request) {
            (0, 1) => frame(kind, 0, if of_connection { 0 } else { id }, payload),
            _ => frame(HEADERS, END_STREAM_AND_HEADERS, id, &OK),
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
