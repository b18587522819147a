//! Requests that two servers could read in two ways, and those that are none.

use std::{
    fmt::Write,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use http_body_util::BodyExt;
use hyper::StatusCode;
use staunch_http::{HttpLimits, handler};
use staunch_net::Limits;

use crate::{
    corpus::{CORPUS, Case, Expected},
    frames::{Client, END_HEADERS, END_STREAM, GET, HEADERS, RST_STREAM, frame},
    raw::{observed, said_to, statuses},
    support::{text, with_server},
};

const LAST: &[u8] = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// Runs `client` against a server that reads whole bodies and says 400 to those it cannot read, or
/// reads none. The paths of the requests that its handler saw.
async fn seen(reads: bool, client: impl AsyncFnOnce(SocketAddr)) -> Vec<String> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let seer = Arc::clone(&seen);
    let service = handler(move |request: hyper::Request<staunch_http::RequestBody>| {
        let host = request.headers().get("host").map(|host| format!("{host:?}"));
        seer.lock().unwrap().push(format!("{} {host:?}", request.uri().path()));
        async move {
            let mut answer = text("");
            if reads && request.into_body().collect().await.is_err() {
                answer = text("what is this?\n");
                *answer.status_mut() = StatusCode::BAD_REQUEST;
            }
            answer
        }
    });
    with_server(HttpLimits::default(), Limits::default(), service, async |address, _| {
        client(address).await;
    })
    .await;
    std::mem::take(&mut *seen.lock().unwrap())
}

/// The case as it is, and in small parts: what is understood does not depend on the packets.
async fn check(address: SocketAddr, case: &Case) -> Result<(), String> {
    let sent = case.sent();
    let mut ways = vec![vec![sent.as_slice()]];
    if sent.len() < 1000 {
        ways.push(sent.chunks(1).collect());
        ways.push(sent.chunks(7).collect());
    }
    for mut parts in ways {
        let count = parts.len();
        let expected = match case.expected {
            Expected::Refused(status) => vec![status],
            Expected::Answered(statuses) => statuses.to_vec(),
            Expected::Accepted => {
                parts.push(LAST);
                vec![200, 200]
            }
        };
        let wrong = |what| format!("{} in {count} parts: {what}", case.name);
        let said = said_to(address, &parts).await.map_err(wrong)?;
        if matches!(case.expected, Expected::Refused(_)) && said.ends_with(b"\r\n\r\n") {
            return Err(wrong("it is not told why".to_owned()));
        }
        let found = statuses(&said);
        if found != expected {
            return Err(wrong(format!("{found:?}, not {expected:?}")));
        }
    }
    Ok(())
}

#[staunch::test]
async fn each_is_refused_or_does_no_harm() {
    let mut wrong = Vec::new();
    let seen = seen(true, async |address| {
        for case in CORPUS.iter().flat_map(|section| section.cases) {
            wrong.extend(check(address, case).await.err());
        }
    })
    .await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(!seen.iter().any(|path| path.contains("smuggled")), "{seen:?}");
    assert!(observed("ambiguous-request") > 0);
}

/// A handler that does not read the body knows nothing of what is wrong with it; it answers, and what
/// comes after it is no request.
#[staunch::test]
async fn nothing_follows_a_body_that_nobody_reads() {
    let seen = seen(false, async |address| {
        let cases = CORPUS.iter().flat_map(|section| section.cases);
        for case in cases.filter(|case| !matches!(case.expected, Expected::Accepted)) {
            let sent = case.sent();
            said_to(address, &[&sent]).await.map_err(|what| (case.name, what)).unwrap();
        }
    })
    .await;
    assert!(!seen.iter().any(|path| path.contains("smuggled")), "{seen:?}");
}

/// RFC 9112, 3.2.2: the host is that of the target, wherever a handler looks.
#[staunch::test]
async fn the_host_of_an_absolute_target_counts() {
    let seen = seen(true, async |address| {
        let request: &[u8] = b"GET http://b:80/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        assert_eq!(statuses(&said_to(address, &[request]).await.unwrap()), [200]);
    })
    .await;
    assert_eq!(seen, [r#"/x Some("\"b:80\"")"#]);
}

/// HTTP/2 has a head as well; of what it says about hosts more must agree (RFC 9113, 8.3.1).
#[staunch::test]
async fn heads_of_http2_are_checked() {
    let name = |name: &str, value: &str| -> Vec<u8> {
        let length = |text: &str| u8::try_from(text.len()).unwrap();
        [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
    };
    let (authority, host) = (|value| name(":authority", value), |value| name("host", value));
    let to = |fields: &[Vec<u8>]| [GET.to_vec(), fields.concat()].concat();
    let connect = [name(":method", "CONNECT"), authority("a:443")].concat();
    let cases = [
        (to(&[authority("a")]), 200),
        (to(&[authority("a"), host("A")]), 200),
        (to(&[host("a")]), 200),
        (to(&[authority("a"), host("b")]), 400),
        (to(&[authority("a"), host("a"), host("a")]), 400),
        (to(&[host("a/b")]), 400),
        (to(&[authority("user@a")]), 400),
        (to(&[authority("a"), name("expect", "200-ok")]), 417),
        (connect, 501),
    ];
    seen(true, async |address| {
        for (head, expected) in cases {
            let Client { mut reads, mut writes } = Client::connect(address, &[]).await;
            writes.say(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &head)).await;
            let status = loop {
                let frame = reads.next().await.unwrap();
                assert_ne!(frame.kind, RST_STREAM, "{}", head.escape_ascii());
                if frame.kind == HEADERS {
                    break status(&frame.payload);
                }
            };
            assert_eq!(status, expected, "{}", head.escape_ascii());
        }
    })
    .await;
}

/// The status that a header block begins with: from HPACK's static table, or three digits in Huffman's
/// code (RFC 7541, appendices A and B).
fn status(block: &[u8]) -> u16 {
    match block {
        [0x88, ..] => 200,
        [0x8c, ..] => 400,
        [_, length, ..] if length & 0x80 == 0 => {
            std::str::from_utf8(&block[2..5]).unwrap().parse().unwrap()
        }
        [_, _, coded @ ..] => {
            let bits = u32::from_be_bytes([coded[0], coded[1], coded[2], 0]);
            let digit = |at: u32| bits << at >> 26; // six bits: 3 to 9
            let (mut at, mut status) = (0, 0);
            for _ in 0..3 {
                let is_short = bits << at >> 27 <= 2; // five bits: 0 to 2
                let (value, width) =
                    if is_short { (bits << at >> 27, 5) } else { (digit(at) - 22, 6) };
                (at, status) = (at + width, 10 * status + value);
            }
            u16::try_from(status).unwrap()
        }
        _ => 0,
    }
}

/// What asks for another protocol is followed by that, or by the next request.
#[staunch::test]
async fn an_upgrade_that_is_declined_is_a_request_like_others() {
    seen(true, async |address| {
        let upgrade: &[u8] =
            b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n";
        assert_eq!(statuses(&said_to(address, &[upgrade, LAST]).await.unwrap()), [200, 200]);
    })
    .await;
}

/// The table in the guide is the corpus. `STAUNCH_WRITE=1` writes it.
#[staunch::test]
async fn the_guide_says_so() {
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guide/http-refusals.md");
    let text = std::fs::read_to_string(guide).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let should = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os("STAUNCH_WRITE").is_some() {
        std::fs::write(guide, &should).unwrap();
    } else {
        assert!(text == should, "{guide} is old: run this test with STAUNCH_WRITE=1");
    }
}

const BEGIN: &str = "<!-- the corpus -->\n";
const END: &str = "<!-- its end -->\n";

fn table() -> String {
    let mut table = String::new();
    for section in CORPUS {
        write!(
            table,
            "\n### {}\n\n| what is sent | answer | why |\n|---|---|---|\n",
            section.title
        )
        .unwrap();
        for case in section.cases {
            let answer = match case.expected {
                Expected::Refused(status) => format!("{status}, closed"),
                Expected::Answered(statuses) => {
                    let statuses: Vec<_> = statuses.iter().map(u16::to_string).collect();
                    format!("{}, closed", statuses.join(", "))
                }
                Expected::Accepted => "accepted".to_owned(),
            };
            writeln!(table, "| {} | {answer} | {} |", case.name, case.why).unwrap();
        }
    }
    table.push('\n');
    table
}
