//! HTTP/2 clients that send what is cheap for them.

use staunch_http::{HttpLimits, handler};
use staunch_net::Limits;
use tokio::time::{Duration, Instant};

use crate::{
    frames::{
        CONTINUATION, Client, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, GET, HEADERS, PING,
        POST, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, goaways,
    },
    raw::observed,
    support::{eventually, get, http2, read, text, with_server},
};

const MANY: u32 = 10_000;

/// A client says `first`, and then what `next` makes of 0, 1, 2 ...: it is told to be calm and closed,
/// once on the ledger; and one on another connection is answered meanwhile and afterwards.
async fn check(name: &str, first: Vec<u8>, next: fn(u32) -> Vec<u8>) {
    // The handler of `POST` waits for its body: its stream stays.
    let service = handler(|request: hyper::Request<staunch_http::RequestBody>| async {
        if request.method() == hyper::Method::POST {
            let _ = http_body_util::BodyExt::collect(request.into_body()).await;
        }
        text("hello")
    });
    with_server(HttpLimits::default(), Limits::default(), service, async |address, scope| {
        let before = observed("http2-flood");
        let mut honest = http2(address, scope).await;
        let Client { mut reads, mut writes } = Client::connect(address, &[]).await;
        let floods = async {
            writes.say(&first).await;
            for hundred in 0..MANY / 100 {
                let some: Vec<u8> = (0..100).flat_map(|one| next(100 * hundred + one)).collect();
                if !writes.say(&some).await {
                    break;
                }
            }
        };
        let begun = Instant::now();
        let answered = async { read(honest.send_request(get("/")).await.unwrap()).await.0 };
        let (frames, (), status) = tokio::join!(reads.until_closed(), floods, answered);
        assert!(begun.elapsed() < Duration::from_secs(3), "{name}: {:?}", begun.elapsed());
        // A reset may overtake the GOAWAY when the server closes what it has not read.
        let goaways = goaways(&frames);
        assert!(matches!(goaways[..], [] | [ENHANCE_YOUR_CALM]), "{name}: {goaways:?}");
        assert_eq!(status, 200, "{name}");
        assert_eq!(read(honest.send_request(get("/")).await.unwrap()).await.0, 200, "{name}");
        eventually("it is noted", || observed("http2-flood") > before).await;
        assert_eq!(observed("http2-flood"), before + 1, "{name}");
    })
    .await;
}

fn request(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, GET)
}

#[staunch::test]
async fn it_is_told_to_be_calm_and_closed() {
    let open = || frame(HEADERS, END_HEADERS, 1, POST);
    check("PING", vec![], |_| frame(PING, 0, 0, &[0; 8])).await;
    check("SETTINGS", vec![], |_| frame(SETTINGS, 0, 0, &[])).await;
    check("settings that differ", vec![], |one| {
        frame(SETTINGS, 0, 0, &[&[0, 4][..], &(one % 1000).to_be_bytes()].concat())
    })
    .await;
    check("PRIORITY", vec![], |_| frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 0])).await;
    check("WINDOW_UPDATE", vec![], |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])).await;
    check("WINDOW_UPDATE of a stream", open(), |_| frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])).await;
    check("empty DATA", open(), |_| frame(DATA, 0, 1, &[])).await;
    check("frames that nobody knows", vec![], |_| frame(0x77, 0, 0, b"?")).await;
    check("RST_STREAM of one stream", open(), |_| frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])).await;
    check("rapid reset", vec![], |one| {
        let stream = 2 * one + 1;
        [request(stream), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    })
    .await;
    check("CONTINUATION", frame(HEADERS, 0, 1, GET), |_| frame(CONTINUATION, 0, 1, &[])).await;
    check("CONTINUATION with headers", frame(HEADERS, 0, 1, GET), |_| {
        frame(CONTINUATION, 0, 1, &b"\x00\x01a\x01b".repeat(1000))
    })
    .await;
    check("streams beyond the limit", vec![], |one| frame(HEADERS, END_HEADERS, 2 * one + 1, POST))
        .await;
}

/// GOAWAY says why, to who has said nothing after the frame that was one too many.
#[staunch::test]
async fn it_is_told_why() {
    let hello = handler(|_| async { text("hello") });
    let http = HttpLimits { control_frames: 10, ..HttpLimits::default() };
    with_server(http, Limits::default(), hello, async |address, _| {
        let Client { mut reads, mut writes } = Client::connect(address, &[]).await;
        writes.say(&frame(PING, 0, 0, &[0; 8]).repeat(10)).await; // and its settings
        let frames = reads.until_closed().await;
        assert_eq!(goaways(&frames), [ENHANCE_YOUR_CALM]);
        assert_eq!(frames.iter().filter(|frame| frame.kind == PING).count(), 10);
    })
    .await;
}

/// Who does as much as honest clients do is left alone.
#[staunch::test]
async fn it_is_not_mistaken() {
    let hello = handler(|_| async { text(vec![b'.'; 1 << 20]) });
    with_server(HttpLimits::default(), Limits::default(), hello, async |address, scope| {
        let mut honest = http2(address, scope).await;
        for _ in 0..20 {
            let answer = honest.send_request(get("/")).await.unwrap();
            assert_eq!(read(answer).await.1.len(), 1 << 20);
        }
        let Client { mut reads, mut writes } = Client::connect(address, &[(4, 1 << 24)]).await;
        writes.say(&frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 24).to_be_bytes())).await;
        writes.say(&request(1)).await;
        let mut received = 0;
        while let Some(frame) = reads.next().await {
            if frame.kind == DATA {
                received += frame.payload.len();
            }
            if frame.kind == DATA && frame.flags & END_STREAM != 0 {
                break;
            }
        }
        assert_eq!(received, 1 << 20);
        // As much as it took, 2 KiB at a time.
        let update = frame(WINDOW_UPDATE, 0, 0, &2048_u32.to_be_bytes());
        writes.say(&update.repeat(512)).await;
        writes.say(&frame(PING, 0, 0, b"the last").repeat(500)).await;
        let mut pongs = 0;
        while pongs < 500 {
            pongs += u32::from(reads.next().await.is_some_and(|frame| frame.kind == PING));
        }
        assert_eq!(observed("http2-flood"), 0);
    })
    .await;
}
