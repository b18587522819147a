//! Clients that do not behave.

use std::time::{Duration, Instant};

use staunch::Ledger;
use staunch_harness::has_heard;
use staunch_http::{HttpLimits, handler};
use staunch_net::Limits;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{SOON, eventually, get, http2, read, text, with_server};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const PING: u8 = 6;
const GOAWAY: u8 = 7;

fn observed(rule: &str) -> u64 {
    let counts = Ledger::current().observation_counts();
    counts.into_iter().find(|(name, _)| *name == rule).map_or(0, |(_, count)| count)
}

/// What the server says until it closes the connection, and how long that took.
async fn until_closed(address: std::net::SocketAddr, said: &[u8]) -> (Vec<u8>, Duration) {
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(said).await.unwrap();
    let begun = Instant::now();
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer).await; // a reset is an end too
    (answer, begun.elapsed())
}

#[staunch::test]
async fn a_preface_that_does_not_end_is_cut() {
    let http = HttpLimits { head_time: SOON, ..HttpLimits::default() };
    let hello = handler(|_| async { text("hello") });
    with_server(http, Limits::default(), hello, async |address, _| {
        for end in [1, 3, 14, 23] {
            let (_, took) = until_closed(address, &PREFACE[..end]).await;
            assert!(took >= SOON && took < SOON + Duration::from_secs(2), "{end}: {took:?}");
        }
        let mut wrong = PREFACE.to_vec();
        wrong[20] = b'?';
        let (_, took) = until_closed(address, &wrong).await;
        assert!(took < SOON, "it is no HTTP of any version: {took:?}");
    })
    .await;
}

/// What comes with the end of the preface are frames, and counted: an answer to PING, or the end.
#[staunch::test]
async fn a_preface_may_come_in_parts_with_frames_after_it() {
    let http = HttpLimits { control_frames: 10, ..HttpLimits::default() };
    let hello = handler(|_| async { text("hello") });
    with_server(http, Limits::default(), hello, async |address, _| {
        let ping = [0, 0, 8, PING, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        for (pings, answered) in [(1, PING), (30, GOAWAY)] {
            for end in [1, 2, 3, 4, 14, 23, 24] {
                let mut client = TcpStream::connect(address).await.unwrap();
                client.set_nodelay(true).unwrap();
                client.write_all(&PREFACE[..end]).await.unwrap();
                let own = client.local_addr().unwrap();
                eventually("it is read", || has_heard(address, own)).await;
                let rest = [&PREFACE[end..], SETTINGS, &ping.repeat(pings)].concat();
                client.write_all(&rest).await.unwrap();
                let mut answer = Vec::new();
                while !has_frame(&answer, answered) {
                    let read = client.read_buf(&mut answer).await.unwrap();
                    assert!(read > 0, "cut at {end}: {}", answer.escape_ascii());
                }
                assert!(pings > 1 || !has_frame(&answer, GOAWAY), "cut at {end}");
            }
        }
    })
    .await;
}

/// Where no connection begins it is no preface, however much of it and of what follows comes at once.
#[staunch::test]
async fn a_preface_after_a_request_is_refused() {
    let hello = handler(|_| async { text("hello") });
    with_server(HttpLimits::default(), Limits::default(), hello, async |address, _| {
        let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for before in [&get[..], b"P", b""] {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(get).await.unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"hello") {
                assert!(client.read_buf(&mut answer).await.unwrap() > 0);
            }
            let said = [before, PREFACE, SETTINGS, get].concat();
            client.write_all(&said).await.unwrap();
            let mut rest = Vec::new();
            let _ = client.read_to_end(&mut rest).await; // a reset is an end too
            let answers = rest.windows(5).filter(|it| it == b"hello").count();
            assert_eq!(answers, usize::from(before == get), "{}", rest.escape_ascii());
        }
    })
    .await;
}

/// Between requests an HTTP/2 connection is idle, within one it is not.
#[staunch::test]
async fn an_idle_http2_connection_is_cut_and_a_busy_one_is_not() {
    let limits = Limits { idle: Some(SOON), first_byte: Some(SOON), ..Limits::default() };
    let slow = handler(|_| async {
        tokio::time::sleep(4 * SOON).await;
        text("slow")
    });
    with_server(HttpLimits::default(), limits, slow, async |address, scope| {
        let mut client = http2(address, scope).await;
        let begun = Instant::now();
        let answer = client.send_request(get("/")).await.unwrap();
        assert_eq!(read(answer).await.1, "slow");
        assert!(begun.elapsed() >= 4 * SOON && observed("cut-idle") == 0);
        let begun = Instant::now();
        eventually("it is cut", || client.is_closed()).await;
        assert!(begun.elapsed() < 4 * SOON, "{:?}", begun.elapsed());
        assert_eq!(observed("cut-idle"), 1);
        let mut said = PREFACE.to_vec();
        said.extend_from_slice(SETTINGS);
        let (_, took) = until_closed(address, &said).await;
        assert!(took < 4 * SOON, "one that never asks anything: {took:?}");
        assert_eq!(observed("cut-idle"), 2);
    })
    .await;
}

/// CVE-2023-44487: streams that are opened and reset at once, faster than they are taken up.
#[staunch::test]
async fn rapid_resets_end_the_connection() {
    let hello = handler(|_| async { text("hello") });
    with_server(HttpLimits::default(), Limits::default(), hello, async |address, scope| {
        let mut said = PREFACE.to_vec();
        said.extend_from_slice(SETTINGS);
        for stream in (1..20_000_u32).step_by(2) {
            // GET / of localhost, by HPACK's static table; END_STREAM and END_HEADERS.
            said.extend_from_slice(&[0, 0, 3, 1, 5]);
            said.extend_from_slice(&stream.to_be_bytes());
            said.extend_from_slice(&[0x82, 0x84, 0x86]);
            said.extend_from_slice(&[0, 0, 4, 3, 0]);
            said.extend_from_slice(&stream.to_be_bytes());
            said.extend_from_slice(&[0, 0, 0, 8]);
        }
        let (answer, took) = until_closed_while_writing(address, said).await;
        assert!(took < Duration::from_secs(5), "{took:?}");
        assert!(has_frame(&answer, GOAWAY), "{} bytes, no GOAWAY", answer.len());
        let mut honest = http2(address, scope).await;
        assert_eq!(read(honest.send_request(get("/")).await.unwrap()).await.0, 200);
    })
    .await;
}

async fn until_closed_while_writing(
    address: std::net::SocketAddr,
    said: Vec<u8>,
) -> (Vec<u8>, Duration) {
    let client = TcpStream::connect(address).await.unwrap();
    let begun = Instant::now();
    let (mut reads, mut writes) = client.into_split();
    let mut answer = Vec::new();
    let _ = tokio::join!(writes.write_all(&said), reads.read_to_end(&mut answer));
    (answer, begun.elapsed())
}

/// Whether one of the frames is a GOAWAY (type 7).
fn has_frame(mut frames: &[u8], of: u8) -> bool {
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = frames {
        if *kind == of {
            return true;
        }
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        frames = rest.get(length..).unwrap_or_default();
    }
    false
}
