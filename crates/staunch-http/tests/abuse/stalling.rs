//! HTTP/2 clients that are there, and do not take what they asked for.

use staunch_http::{HttpLimits, handler, keep_until_sent};
use staunch_net::Limits;
use tokio::time::{Duration, Instant, interval, sleep};

use crate::{
    frames::{
        Client, DATA, END_HEADERS, END_STREAM, Frame, GET, HEADERS, PING, RST_STREAM,
        WINDOW_UPDATE, frame,
    },
    raw::observed,
    support::{AtWork, SOON, eventually, get, http2, read, text, with_server},
};

const INITIAL_WINDOW: u16 = 4;

#[derive(Debug, PartialEq, Eq)]
enum End {
    Reset,
    Closed,
}

/// A client with these windows asks for an answer of so many bytes, says PING all the time, and takes
/// nothing. Its stream is reset, or its connection closed; what its handler kept is gone, and somebody
/// else is answered.
async fn check(stream_window: u32, connection_window: u32, bytes: usize, expected: End) {
    let kept = AtWork::default();
    let keeper = kept.clone();
    let service = handler(move |request: hyper::Request<_>| {
        let bytes = if request.uri().path() == "/" { bytes } else { 5 };
        let answer = text(keep_until_sent(vec![b'.'; bytes], keeper.begin()));
        async { answer }
    });
    let http = HttpLimits { stream_stall: SOON, ..HttpLimits::default() };
    with_server(http, Limits::default(), service, async |address, scope| {
        let settings = [(INITIAL_WINDOW, stream_window)];
        let Client { mut reads, mut writes } = Client::connect(address, &settings).await;
        if let Some(more @ 1..) = connection_window.checked_sub(65_535) {
            writes.say(&frame(WINDOW_UPDATE, 0, 0, &more.to_be_bytes())).await;
        }
        writes.say(&frame(HEADERS, END_HEADERS | END_STREAM, 1, GET)).await;
        let begun = Instant::now();
        let ends = async {
            loop {
                match reads.next().await {
                    None => break End::Closed,
                    Some(Frame { kind: RST_STREAM, stream: 1, .. }) => break End::Reset,
                    Some(_) => {}
                }
            }
        };
        let ping = frame(PING, 0, 0, b"I'm here");
        let end = tokio::select! {
            end = ends => end,
            () = again_and_again(SOON / 10, async || _ = writes.say(&ping).await) => unreachable!(),
            () = sleep(10 * SOON) => panic!("it may stay: {stream_window} {connection_window} {bytes}"),
        };
        let took = begun.elapsed();
        assert!(took >= SOON && took < 4 * SOON, "{took:?}");
        assert_eq!(end, expected, "{stream_window} {connection_window} {bytes}");
        eventually("what its handler kept is gone", || kept.count() == 0).await;
        assert_eq!(observed("stream-stall"), 1);
        let mut honest = http2(address, scope).await;
        assert_eq!(read(honest.send_request(get("/other")).await.unwrap()).await.0, 200);
        if expected == End::Reset {
            writes.say(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &GET[..2])).await; // no path
            let mut is_there = false;
            while let (false, Some(frame)) = (is_there, reads.next().await) {
                is_there = frame.stream == 3;
            }
            assert!(is_there, "the connection is as it was");
        }
    })
    .await;
}

async fn again_and_again(every: Duration, mut what: impl AsyncFnMut()) {
    let mut times = interval(every);
    loop {
        times.tick().await;
        what().await;
    }
}

#[staunch::test]
async fn a_stream_without_a_window() {
    check(0, 1 << 20, 5, End::Reset).await;
}

#[staunch::test]
async fn a_stream_whose_window_is_too_small() {
    check(100_000, 1 << 20, 10 << 20, End::Reset).await;
}

#[staunch::test]
async fn a_connection_whose_window_is_too_small() {
    check(1 << 20, 65_535, 10 << 20, End::Reset).await;
}

/// All of the answer is made, and its request over: h2 has what the client does not take.
#[staunch::test]
async fn the_rest_of_an_answer() {
    check(1, 1 << 20, 5, End::Closed).await;
}

/// Who takes it slowly, but takes it, gets it.
#[staunch::test]
async fn a_slow_client_is_waited_for() {
    const BYTES: usize = 600_000;
    let hello = handler(|_| async { text(vec![b'.'; BYTES]) });
    let http = HttpLimits { stream_stall: SOON, ..HttpLimits::default() };
    with_server(http, Limits::default(), hello, async |address, _| {
        let Client { mut reads, mut writes } = Client::connect(address, &[]).await;
        writes.say(&frame(HEADERS, END_HEADERS | END_STREAM, 1, GET)).await;
        let begun = Instant::now();
        let received = async {
            let mut received = 0;
            while received < BYTES {
                let told = reads.next().await.expect("it is not closed");
                assert!(told.kind != RST_STREAM, "{told:?} after {received} bytes");
                received += if told.kind == DATA { told.payload.len() } else { 0 };
            }
        };
        let room = |stream| frame(WINDOW_UPDATE, 0, stream, &16_384_u32.to_be_bytes());
        let rooms = [room(0), room(1)].concat();
        let often = Duration::from_millis(50);
        tokio::select! {
            () = received => {}
            () = again_and_again(often, async || _ = writes.say(&rooms).await) => unreachable!(),
        }
        assert!(begun.elapsed() > 3 * SOON, "it was slow: {:?}", begun.elapsed());
        assert_eq!(observed("stream-stall"), 0);
    })
    .await;
}
