//! Bodies of requests that are on their way when the answer comes, and answers that are cut in silence.

use std::{
    io::{Read, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    Request,
    body::{Body, Frame},
};
use staunch::{BoxError, timeout};
use staunch_harness::{
    Raw, destroyed, eventually,
    frames::{CANCEL, DATA, END_HEADERS, END_STREAM, HEADERS, NO_ERROR, OK, RESET, frame, serve},
};
use staunch_pool::{
    BodyError, Destroyed, Http, HttpOptions, Pool, PoolOptions, PooledBody, RequestBody,
};

use crate::{
    raw::{read_head, until_closed},
    support::{connections, get, prior_knowledge, sockets_to, with_pool},
};

/// What was reset, and why.
type Resets = Arc<Mutex<Vec<(u32, Vec<u8>)>>>;

/// A server that says `first` to the first request, on its stream, and answers the others; and what clients have
/// reset.
fn answers(first: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static) -> (Raw, Resets) {
    let resets = Resets::default();
    let noted = Arc::clone(&resets);
    let server = Raw::start(move |stream, _| {
        let _ = serve(stream, |said| match (said.kind, said.stream) {
            (HEADERS, 1) => first(1),
            (HEADERS, stream) => frame(HEADERS, END_STREAM | END_HEADERS, stream, &OK),
            (RESET, stream) => {
                noted.lock().unwrap().push((stream, said.payload));
                Vec::new()
            }
            _ => Vec::new(),
        }); // until the client closes
    });
    (server, resets)
}

/// A body without an end, which has `kept` until it is dropped.
fn endless(kept: &Arc<()>) -> RequestBody {
    let next = |kept: Arc<()>| async move {
        Some((Ok::<_, BoxError>(Frame::data(Bytes::from_static(&[0; 16 << 10]))), kept))
    };
    RequestBody::stream(StreamBody::new(Box::pin(stream::unfold(Arc::clone(kept), next))))
}

async fn post(pool: &Pool<Http>, kept: &Arc<()>) -> PooledBody {
    pool.send(Request::post("/").body(endless(kept)).unwrap()).await.unwrap().into_body()
}

/// The server has answered and gives no room for more: nothing but the answer's end can end the rest.
#[staunch::test]
async fn an_upload_that_is_not_taken_ends_with_its_answer() {
    for (flags, invalid) in [(END_HEADERS, 0), (END_HEADERS | END_STREAM, 1)] {
        let (server, resets) = answers(move |stream| frame(HEADERS, flags, stream, &OK));
        let options =
            PoolOptions { reset_timeout: Duration::from_millis(50), ..PoolOptions::default() };
        with_pool(server.port, prior_knowledge(), options, async |pool, _| {
            let kept = Arc::new(());
            let answer = post(&pool, &kept).await;
            eventually("the window is full", async || Arc::strong_count(&kept) == 2).await;
            drop(answer);
            let is_reset = || *resets.lock().unwrap() == [(1, CANCEL.to_vec())];
            eventually("its server hears of it", async || is_reset()).await;
            eventually("its body is dropped", async || Arc::strong_count(&kept) == 1).await;
            eventually("it is back", async || pool.status().leased == 0).await;
            assert_eq!(get(&pool, "/").await.unwrap().status(), 200);
            // Who has its answer, but has not sent all, is in time or loses its slot; this one's was the last.
            assert_eq!(destroyed(&pool.status(), Destroyed::Invalid), invalid as u64);
            assert_eq!((server.accepted(), sockets_to(server.port)), (1 + invalid, 1));
            assert_eq!(connections(), 1);
        })
        .await;
    }
}

/// RFC 9113, 8.1: after the end of the answer it means nothing, before that the rest is missing.
#[staunch::test]
async fn a_reset_without_a_reason_is_no_end() {
    for (flags, expected) in [(END_STREAM, None), (0, Some("reset before its end"))] {
        let (server, _) = answers(move |stream| {
            let mut said = frame(HEADERS, END_HEADERS, stream, &OK);
            said.extend(frame(DATA, flags, stream, b"half"));
            said.extend(frame(RESET, 0, stream, &NO_ERROR));
            said
        });
        with_pool(server.port, prior_knowledge(), PoolOptions::default(), async |pool, _| {
            let mut answer = get(&pool, "/").await.unwrap().into_body();
            let half = answer.frame().await.unwrap().unwrap();
            assert_eq!(half.into_data().unwrap(), "half");
            let error = answer.frame().await.map(|frame| frame.unwrap_err());
            assert!(matches!(error, None | Some(BodyError::Reset { .. })), "{error:?}");
            let says = error.map(|error| error.to_string());
            assert_eq!(says.is_some(), expected.is_some(), "{says:?}");
            assert!(says.unwrap_or_default().ends_with(expected.unwrap_or_default()));
            assert_eq!(get(&pool, "/").await.unwrap().status(), 200);
            assert_eq!(server.accepted(), 1);
        })
        .await;
    }
}

#[staunch::test]
async fn a_get_has_its_body_whether_or_not_its_length_is_known() {
    let server = Raw::start(|mut stream, _| {
        let Some(head) = read_head(&mut stream) else { return };
        assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
        let mut body = [0; 14];
        stream.read_exact(&mut body).unwrap();
        assert_eq!(body.escape_ascii().to_string(), r"4\r\nping\r\n0\r\n\r\n");
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    });
    with_pool(server.port, HttpOptions::default(), PoolOptions::default(), async |pool, _| {
        let ping = stream::iter([Ok::<_, BoxError>(Frame::data(Bytes::from("ping")))]);
        let body = RequestBody::stream(StreamBody::new(ping));
        let answer = pool.send(Request::get("/").body(body).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 204);
    })
    .await;
}

/// A connection that is never without a request would live for ever.
#[staunch::test]
async fn an_old_connection_gets_no_more_requests() {
    let (server, _) = answers(|stream| frame(HEADERS, END_HEADERS, stream, &OK));
    let http = HttpOptions { max_lifetime: Some(Duration::from_millis(50)), ..prior_knowledge() };
    with_pool(server.port, http, PoolOptions::default(), async |pool, _| {
        let unread = get(&pool, "/").await.unwrap();
        eventually("another is made", async || {
            let _ = get(&pool, "/other").await.unwrap();
            server.accepted() == 2
        })
        .await;
        assert!(!unread.body().is_end_stream());
    })
    .await;
}

/// A server that has not said how many it takes has one at a time: the others are in a line, in which hyper
/// looks at nothing.
#[staunch::test]
async fn an_upload_that_waits_for_a_stream_can_be_given_up() {
    let server = Raw::start(|mut stream, _| _ = until_closed(&mut stream));
    let moment = Duration::from_millis(50);
    with_pool(server.port, prior_knowledge(), PoolOptions::default(), async |pool, _| {
        let kept = Arc::new(());
        let mut first = Box::pin(get(&pool, "/"));
        assert!(timeout(moment, first.as_mut()).await.is_err());
        for _ in 0..2 {
            assert!(timeout(moment, post(&pool, &kept)).await.is_err());
        }
        eventually("they are dropped", async || Arc::strong_count(&kept) == 1).await;
        eventually("they are back", async || pool.status().leased == 1).await;
        assert_eq!(destroyed(&pool.status(), Destroyed::Invalid), 0);
    })
    .await;
}
