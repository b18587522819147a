//! Bodies that are read, and bodies that are not.

use std::time::Duration;

use async_compression::{
    Level,
    tokio::write::{GzipEncoder, ZstdEncoder},
    zstd::CParameter,
};
use staunch::{Kind, Ledger};
use staunch_harness::{eventually, live};
use staunch_http::{Client, ClientOptions, DrainOptions, ReadAnswerError};

use tokio::io::AsyncWriteExt;

use crate::support::{nothing_left, says, text, with_client, with_server};

/// Read, drained, destroyed, reset.
fn counts(client: &Client) -> [u64; 4] {
    let bodies = client.status().bodies;
    [bodies.read, bodies.drained, bodies.destroyed, bodies.reset]
}

#[staunch::test]
async fn one_that_is_read_gives_its_connection_back() {
    let answer = |request: &hyper::Request<_>| text(request.uri().path().repeat(3));
    with_server(ClientOptions::default(), answer, async |client, address| {
        for _ in 0..10 {
            let answer = client.get(format!("http://{address}/ab")).send().await.unwrap();
            assert_eq!(answer.text(9).await.unwrap(), "/ab/ab/ab");
        }
        assert_eq!((counts(client), live(Kind::CONNECTION)), ([10, 0, 0, 0], 2)); // one, two ends
        assert_eq!(client.status().pool.keys[0].status.created, 1);
    })
    .await;
}

#[staunch::test]
async fn nothing_is_read_beyond_its_bound() {
    let answer = |_: &hyper::Request<_>| text("one\r\ntwo\nlonger\n{\"a\":1}");
    with_server(ClientOptions::default(), answer, async |client, address| {
        let get = async || client.get(format!("http://{address}/")).send().await.unwrap();
        let error = get().await.bytes(22).await.unwrap_err();
        assert!(matches!(error, ReadAnswerError::TooLarge { limit: 22, .. }), "{error}");
        assert_eq!(get().await.bytes(23).await.unwrap().len(), 23);
        let mut lines = get().await.lines(5);
        assert_eq!(lines.next().await.unwrap().as_deref(), Some("one"));
        assert_eq!(lines.next().await.unwrap().as_deref(), Some("two"));
        let error = lines.next().await.unwrap_err();
        assert!(matches!(error, ReadAnswerError::LineTooLong { limit: 5, .. }), "{error}");
        let mut lines = get().await.lines(usize::MAX);
        for line in ["one", "two", "longer", "{\"a\":1}"] {
            assert_eq!(lines.next().await.unwrap().as_deref(), Some(line));
        }
        assert_eq!(lines.next().await.unwrap(), None);
        let error = get().await.json::<serde_json::Value>(100).await.unwrap_err();
        assert!(matches!(error, ReadAnswerError::Json { .. }), "{error}");
        let request = client.get(format!("http://{address}/")).max_body(10);
        let error = request.send().await.unwrap().into_body().chunk().await.unwrap_err();
        assert!(matches!(error, ReadAnswerError::TooLarge { limit: 10, .. }), "{error}");
    })
    .await;
}

#[staunch::test]
async fn an_error_has_a_body_too() {
    let answer = |_: &hyper::Request<_>| {
        let mut answer = text("{\"why\":\"because\"}");
        *answer.status_mut() = hyper::StatusCode::BAD_REQUEST;
        answer
    };
    with_server(ClientOptions::default(), answer, async |client, address| {
        let request = client.post(format!("http://{address}/?secret")).json(&[1, 2]);
        let error = request.send().await.unwrap().success().unwrap_err();
        assert_eq!(error.to_string(), format!("http://{address}/: 400 Bad Request"));
        let why: serde_json::Value = error.answer.json(100).await.unwrap();
        assert_eq!(why["why"], "because");
    })
    .await;
}

/// Drops the body of an answer, `length` bytes of which `come`.
async fn check(length: usize, come: usize, expected: [u64; 4]) {
    let max_time = Duration::from_millis(100);
    let drain = DrainOptions { max_bytes: 1000, max_time, ..DrainOptions::default() };
    with_client(ClientOptions { drain, ..ClientOptions::default() }, async |client, s| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        let server = says(s, head + &"x".repeat(come)).await;
        drop(client.get(format!("http://{server}/")).send().await.unwrap());
        eventually("it has ended", async || client.status().bodies.draining == 0).await;
        assert_eq!(counts(client), expected, "{length} {come}");
        if expected[2] == 1 {
            nothing_left("its connection is closed", client, server.port()).await;
        } else {
            let again = client.get(format!("http://{server}/")).send().await.unwrap();
            assert_eq!(again.bytes(1000).await.unwrap().len(), length);
            assert_eq!(client.status().pool.keys[0].status.created, 1);
        }
    })
    .await;
}

#[staunch::test]
async fn one_that_is_dropped_is_drained_or_its_connection_closed() {
    check(0, 0, [0, 0, 0, 0]).await;
    check(1000, 1000, [0, 1, 0, 0]).await;
    check(1001, 0, [0, 0, 1, 0]).await; // too large
    check(1000, 999, [0, 0, 1, 0]).await; // too slow
}

#[staunch::test]
async fn one_without_a_length_is_drained_up_to_the_bound() {
    let drain = DrainOptions { max_bytes: 1000, ..DrainOptions::default() };
    with_client(ClientOptions { drain, ..ClientOptions::default() }, async |client, s| {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
        for (chunks, expected) in [(2, [0, 1, 0, 0]), (3, [0, 1, 1, 0])] {
            let server = says(s, format!("{head}{}0\r\n\r\n", chunk.repeat(chunks))).await;
            drop(client.get(format!("http://{server}/")).send().await.unwrap());
            eventually("it has ended", async || client.status().bodies.draining == 0).await;
            assert_eq!(counts(client), expected, "{chunks}");
        }
    })
    .await;
}

#[staunch::test]
async fn a_full_drain_takes_no_more() {
    let max_time = Duration::from_secs(3);
    let drain = DrainOptions { max_bodies: 2, max_time, ..DrainOptions::default() };
    with_client(ClientOptions { drain, ..ClientOptions::default() }, async |client, s| {
        let server = says(s, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
        for _ in 0..5 {
            drop(client.get(format!("http://{server}/")).send().await.unwrap());
        }
        assert_eq!((counts(client), client.status().bodies.draining), ([0, 0, 3, 0], 2));
        // The scope ends now, long before they do.
    })
    .await;
}

#[staunch::test]
async fn a_line_that_keeps_dropping_bodies_is_a_finding() {
    let answer = |_: &hyper::Request<_>| text("unread");
    with_server(ClientOptions::default(), answer, async |client, address| {
        let line = line!() + 2;
        for _ in 0..10 {
            drop(client.get(format!("http://{address}/")).send().await.unwrap());
        }
        let dropped = client.status().bodies.dropped_by;
        assert_eq!((dropped[0].0.line(), dropped[0].1, dropped.len()), (line, 10, 1));
        let seen = Ledger::current().observations();
        let found = seen.iter().find(|seen| seen.rule == "dropped-bodies").unwrap();
        assert_eq!((found.born_at.line(), found.born_at.file()), (line, file!()));
    })
    .await;
}

/// A text as the encoder has it.
macro_rules! coded {
    ($encoder:ident, $text:expr) => {{
        let mut encoder = $encoder::new(Vec::new());
        encoder.write_all($text).await.unwrap();
        encoder.shutdown().await.unwrap();
        encoder.into_inner()
    }};
}

/// `hello hello hello hello\n`, by brotli, whose encoder needs more stack than a test has.
const BROTLI: [u8; 23] = [
    27, 23, 0, 248, 141, 148, 110, 222, 68, 85, 134, 214, 10, 32, 108, 111, 74, 17, 121, 226, 128,
    174, 22,
];

/// 10 MiB of zeros.
const BOMB: [u8; 27] = [
    203, 255, 255, 63, 248, 39, 0, 226, 177, 64, 32, 247, 254, 47, 255, 255, 63, 240, 79, 0, 196,
    97, 17, 128, 238, 253, 7,
];

/// `hello` as it is, by brotli with a window of 1 GiB.
const WINDOW: &[u8] = b"\x11\x1e\x08\x00\x02hello\x03";

#[staunch::test]
async fn brotli_looks_no_further_back_than_it_may() {
    let answer = |_: &hyper::Request<_>| {
        let mut answer = text(WINDOW);
        answer.headers_mut().insert("content-encoding", "br".parse().unwrap());
        answer
    };
    with_server(ClientOptions::default(), answer, async |client, address| {
        let answer = client.get(format!("http://{address}/")).send().await.unwrap();
        let error = answer.bytes(100).await.unwrap_err();
        assert!(matches!(error, ReadAnswerError::Coding { coding: "br", .. }), "{error}");
    })
    .await;
}

#[staunch::test]
async fn what_came_compressed_is_decoded_within_the_limit() {
    let hello = b"hello hello hello hello\n";
    let (gzip, zstd) = (coded!(GzipEncoder, hello), coded!(ZstdEncoder, hello));
    let zeros = coded!(GzipEncoder, &vec![0; 600 << 10]);
    let mut far = Vec::new();
    let window = [CParameter::window_log(24)]; // more than a decoder must have
    let mut encoder = ZstdEncoder::with_quality_and_params(&mut far, Level::Default, &window);
    encoder.write_all(hello).await.unwrap();
    encoder.shutdown().await.unwrap();
    drop(encoder);
    let answer = move |request: &hyper::Request<_>| {
        let (coding, body) = match request.uri().path() {
            "/gzip" => ("gzip", gzip.clone()),
            "/br" => ("br", BROTLI.to_vec()),
            "/zstd" => ("zstd", zstd.clone()),
            "/x-gzip" => ("x-gzip", gzip.clone()),
            "/shouted" => ("GZip", gzip.clone()),
            "/far" => ("zstd", far.clone()),
            "/twice" => ("gzip", b"uryyb".to_vec()),
            "/bomb" => ("br", BOMB.to_vec()),
            "/cut" => ("gzip", gzip[..20].to_vec()),
            "/more" => ("gzip", [&gzip[..], b"more"].concat()),
            "/two" => ("gzip", gzip.repeat(2)),
            "/two-frames" => ("zstd", zstd.repeat(2)),
            "/bombs" => ("gzip", zeros.repeat(2)),
            "/two-and-more" => ("gzip", [&gzip.repeat(2)[..], b"more"].concat()),
            "/two-cut" => ("gzip", [&gzip[..], &gzip[..20]].concat()),
            "/frame-and-more" => ("zstd", [&zstd[..], b"more"].concat()),
            _ => ("rot13", b"uryyb".to_vec()),
        };
        let asked = request.headers().get("accept-encoding");
        assert_eq!(asked.unwrap(), "gzip, br, zstd");
        let mut answer = text(body);
        answer.headers_mut().insert("content-encoding", coding.parse().unwrap());
        if request.uri().path() == "/twice" {
            answer.headers_mut().append("content-encoding", "rot13".parse().unwrap());
        }
        answer
    };
    with_server(ClientOptions::default(), answer, async |client, address| {
        let get = |path: &str| client.get(format!("http://{address}{path}"));
        for path in ["/gzip", "/br", "/zstd", "/x-gzip", "/shouted"] {
            let answer = get(path).send().await.unwrap();
            let headers = ["content-encoding", "content-length"];
            assert_eq!(headers.map(|name| answer.headers().contains_key(name)), [false; 2]);
            assert_eq!(answer.text(24).await.unwrap(), "hello hello hello hello\n", "{path}");
        }
        assert_eq!((counts(client), live(Kind::CONNECTION)), ([5, 0, 0, 0], 2));
        for path in ["/two", "/two-frames"] {
            let text = get(path).send().await.unwrap().text(48).await.unwrap();
            assert_eq!(text, "hello hello hello hello\n".repeat(2), "{path}");
        }
        for path in ["/bomb", "/bombs"] {
            let error = get(path).send().await.unwrap().bytes(1 << 20).await.unwrap_err();
            assert!(matches!(error, ReadAnswerError::TooLarge { .. }), "{path}: {error}");
        }
        for path in ["/cut", "/more", "/two-and-more", "/two-cut"] {
            let error = get(path).send().await.unwrap().bytes(100).await.unwrap_err();
            assert!(matches!(error, ReadAnswerError::Coding { coding: "gzip", .. }), "{error}");
        }
        for path in ["/far", "/frame-and-more"] {
            let error = get(path).send().await.unwrap().bytes(100).await.unwrap_err();
            assert!(matches!(error, ReadAnswerError::Coding { coding: "zstd", .. }), "{error}");
        }
        for path in ["/other", "/twice"] {
            assert_eq!(get(path).send().await.unwrap().text(9).await.unwrap(), "uryyb");
        }
    })
    .await;
}

/// Asks for a text that the server packs for whoever takes it; whether it came packed, and whether
/// the client said that it takes it.
async fn check_packed(
    options: ClientOptions,
    header: Option<(&str, &str)>,
    expected: (bool, bool),
) {
    let packed = coded!(GzipEncoder, b"text");
    let answer = move |request: &hyper::Request<_>| {
        let asked = request.headers().get("accept-encoding");
        let mut answer = text(packed.clone());
        answer.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
        let asks = asked.map_or("", |asked| asked.to_str().unwrap());
        answer.headers_mut().insert("asked", asks.parse().unwrap());
        answer
    };
    with_server(options, answer, async |client, address| {
        let mut request = client.get(format!("http://{address}/"));
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let answer = request.send().await.unwrap();
        let is_asked = !answer.headers()["asked"].is_empty();
        let is_packed = answer.headers().contains_key("content-encoding");
        let bytes = answer.bytes(1000).await.unwrap();
        assert_eq!(bytes == "text", !is_packed);
        assert_eq!((is_packed, is_asked), expected, "{header:?}");
    })
    .await;
}

#[staunch::test]
async fn what_the_user_asks_for_comes_as_it_is() {
    let usual = ClientOptions::default;
    check_packed(usual(), None, (false, true)).await;
    check_packed(usual(), Some(("accept-encoding", "gzip")), (true, true)).await;
    check_packed(usual(), Some(("range", "bytes=0-9")), (true, false)).await;
    check_packed(ClientOptions { decode: false, ..usual() }, None, (true, false)).await;
}

#[staunch::test]
async fn nothing_is_the_code_of_nothing() {
    with_client(ClientOptions::default(), async |client, s| {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n";
        for coding in ["gzip", "br", "zstd"] {
            let server =
                says(s, format!("{head}content-encoding: {coding}\r\n\r\n0\r\n\r\n")).await;
            let answer = client.get(format!("http://{server}/")).send().await.unwrap();
            assert_eq!(answer.text(0).await.unwrap(), "", "{coding}");
        }
    })
    .await;
}

/// Before a byte of it has come.
#[staunch::test]
async fn what_is_known_to_be_too_large_is_not_waited_for() {
    let max_time = Duration::from_hours(1);
    let drain = DrainOptions { max_bytes: 1000, max_time, ..DrainOptions::default() };
    with_client(ClientOptions { drain, ..ClientOptions::default() }, async |client, s| {
        let server = says(s, "HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n").await;
        let get = async || client.get(format!("http://{server}/")).send().await.unwrap();
        let error = get().await.bytes(1000).await.unwrap_err();
        assert!(matches!(error, ReadAnswerError::TooLarge { limit: 1000, .. }), "{error}");
        drop(get().await);
        assert_eq!((counts(client), client.status().bodies.draining), ([0, 0, 2, 0], 0));
    })
    .await;
}

/// What the client itself gives up is nobody's fault.
#[staunch::test]
async fn who_is_told_why_has_dropped_nothing() {
    with_client(ClientOptions::default(), async |client, s| {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n";
        let server = says(s, format!("{head}a line that is longer than it may be")).await;
        let get = async || client.get(format!("http://{server}/")).send().await.unwrap();
        let mut lines = get().await.lines(5);
        for _ in 0..2 {
            let error = lines.next().await.unwrap_err();
            assert!(matches!(error, ReadAnswerError::LineTooLong { limit: 5, .. }), "{error}");
        }
        drop(lines);
        assert_eq!(counts(client), [0, 0, 1, 0]);
        let folder = tempfile::tempdir().unwrap();
        let error = get().await.save_to(folder.path().join("no/where"), 100, |_| {}).await;
        assert!(matches!(error, Err(ReadAnswerError::Save { .. })), "{error:?}");
        assert_eq!(client.status().bodies.draining, 1, "its connection may be saved");
        assert_eq!(client.status().bodies.dropped_by, []);
    })
    .await;
}
