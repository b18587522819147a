//! What must hold of each.

use std::hint::black_box;

use staunch_config::{Config, HumanDuration, IpRange, OriginPattern};
use staunch_diagnosis::{Heap, History, Options, Snapshot, diagnose};
use staunch_doctor::source::{TextError, go, jvm, sockets};
use staunch_gateway::fuzzing as gateway;
use staunch_http::{EventsOptions, Message, StreamLimits, fuzzing};
use staunch_kernel as kernel;
use staunch_net::{Endpoint, LineSplitter, ProxyHeader};
use staunch_policy::fuzzing as policy;
use staunch_scope::TraceId;

/// However the bytes come, the walk ends at the same one; and a head ends where hyper's parser
/// says.
pub(crate) fn http1_framing(bytes: &[u8]) {
    let whole = fuzzing::ambiguity(&[bytes]);
    let ones: Vec<_> = bytes.chunks(1).collect();
    assert_eq!(whole, fuzzing::ambiguity(&ones));
    let at = bytes.first().map_or(0, |byte| usize::from(*byte) % bytes.len());
    assert_eq!(whole, fuzzing::ambiguity(&[&bytes[..at], &bytes[at..]]));

    let mut headers = [httparse::EMPTY_HEADER; 64];
    let parsed = httparse::Request::new(&mut headers).parse(bytes);
    if let Ok(httparse::Status::Complete(end)) = parsed
        && fuzzing::ambiguity(&[&bytes[..end]]).is_none()
    {
        assert_eq!(fuzzing::head_end(bytes), Some(end));
    }
}

/// What is answered without hyper can be read in one way, and ends where the walk says.
pub(crate) fn plain_head(bytes: &[u8]) {
    let Some(end) = fuzzing::plain_head(bytes) else { return };
    assert_eq!(fuzzing::head_end(bytes), Some(end));
    assert_eq!(fuzzing::ambiguity(&[&bytes[..end]]), None);
}

/// What the gateway takes for plain can be read in one way, and so can what it sends instead, with
/// the same length.
pub(crate) fn plain_request(bytes: &[u8]) {
    let Some((body, sent)) = gateway::plain(bytes) else { return };
    let head = fuzzing::head_end(bytes).expect("its head is whole");
    assert_eq!(fuzzing::ambiguity(&[&bytes[..head]]), None);
    assert_eq!(fuzzing::head_end(&sent), Some(sent.len()), "{}", sent.escape_ascii());
    assert_eq!(fuzzing::ambiguity(&[&sent]), None);
    if let Some((again, _)) = gateway::plain(&sent) {
        assert_eq!(again, body);
    }
}

/// What a client is sent of an answer's head is one.
pub(crate) fn answer(bytes: &[u8]) {
    if let Some(sent) = gateway::answer(bytes) {
        assert!(sent.ends_with(b"\r\n\r\n"));
        assert!(gateway::answer(&sent).is_some(), "{}", sent.escape_ascii());
    }
}

/// However the bytes come, the body ends at the same one; and nobody could read it in another way.
pub(crate) fn chunked(bytes: &[u8]) {
    let whole = gateway::chunked(&[bytes]);
    let ones: Vec<_> = bytes.chunks(1).collect();
    assert_eq!(whole, gateway::chunked(&ones));
    let Some((passed, true)) = whole else { return };
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let message = [head, &bytes[..passed]].concat();
    assert_eq!(fuzzing::ambiguity(&[&message]), None);
    // Behind it begins another message, and not one byte before.
    let next = [&message[..], b"\n"].concat();
    assert!(fuzzing::ambiguity(&[&next]).is_some_and(|(at, _)| at == message.len()));
}

/// However the bytes come, the flood is found at the same frame.
pub(crate) fn http2_frames(bytes: &[u8]) {
    let whole = fuzzing::flood(3, &[bytes]);
    let ones: Vec<_> = bytes.chunks(1).collect();
    assert_eq!(whole, fuzzing::flood(3, &ones));
    assert_eq!(fuzzing::flood(0, &[bytes]), None);
}

/// What is a host can stand in a URI.
pub(crate) fn host(bytes: &[u8]) {
    if fuzzing::is_host(bytes) {
        let is_wrong = |byte: &u8| byte.is_ascii_whitespace() || b"/?#@\\\0,".contains(byte);
        let commas = bytes.iter().filter(|byte| **byte == b',').count(); // RFC 3986 has them
        assert!(bytes.iter().filter(|byte| is_wrong(byte)).count() == commas, "{bytes:?}");
    }
}

/// However the bytes come, the events are the same, and within their limit.
pub(crate) fn events(bytes: &[u8]) {
    for limit in [64, 1 << 20] {
        let options =
            EventsOptions { max_line: limit, max_event: 4 * limit, ..EventsOptions::default() };
        let whole = fuzzing::events(&options, &[bytes]);
        let ones: Vec<_> = bytes.chunks(1).collect();
        assert_eq!(whole, fuzzing::events(&options, &ones));
        assert!(whole.0.iter().all(|event| event.text().len() <= 4 * limit));
    }
}

/// However the bytes come, the messages are the same, and within their limit; a client is answered
/// no more than it says.
pub(crate) fn websocket(bytes: &[u8]) {
    let limits = StreamLimits { message: 256, ..StreamLimits::default() };
    let whole = fuzzing::websocket(&limits, &[bytes]);
    let ones: Vec<_> = bytes.chunks(1).collect();
    assert_eq!(whole, fuzzing::websocket(&limits, &ones));
    let (messages, _, answered) = whole;
    assert!(answered <= bytes.len() + 64, "{answered} for {}", bytes.len());
    for message in messages {
        let bytes = match &message {
            Message::Text(text) => text.len(),
            Message::Binary(bytes) => bytes.len(),
        };
        assert!(bytes <= limits.message, "{bytes}");
    }
}

/// A list is one or none, whoever is looked for; and `*` covers everybody.
pub(crate) fn no_proxy(bytes: &[u8]) {
    let list = String::from_utf8_lossy(bytes);
    let is_one = fuzzing::is_bypassed(&list, "a.com", 80).is_some();
    for host in ["", ".", "10.0.0.1", "::1", "b", "\u{e4}"] {
        assert_eq!(fuzzing::is_bypassed(&list, host, 81).is_some(), is_one);
        if is_one {
            assert_eq!(fuzzing::is_bypassed(&format!("{list},*"), host, 81), Some(true));
        }
    }
}

pub(crate) fn traceparent(bytes: &[u8]) {
    if let Some(id) = TraceId::from_traceparent(bytes) {
        let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
        assert!(text.contains(&id.to_string()), "{id} of {text:?}");
    }
}

/// However the bytes come, the lines are the same.
pub(crate) fn lines(bytes: &[u8]) {
    let lines = |step: usize| {
        let (mut splitter, mut lines) = (LineSplitter::new(), Vec::new());
        let (mut from, mut to) = (0, 0);
        loop {
            let ended = to == bytes.len();
            match splitter.next_line(&bytes[from..to], ended) {
                Some(line) => {
                    lines.push(&bytes[from..from + line.length]);
                    from += line.used;
                }
                None if ended => return lines,
                None => to = (to + step).min(bytes.len()),
            }
        }
    };
    assert_eq!(lines(1), lines(usize::MAX / 2));
}

/// A range is what it says it is, and has its own first address.
pub(crate) fn ip_range(bytes: &[u8]) {
    if let Ok(range) = String::from_utf8_lossy(bytes).parse::<IpRange>() {
        let text = range.to_string();
        assert_eq!(text.parse::<IpRange>().ok(), Some(range), "{text}");
        let (first, _) = text.split_once('/').unwrap_or_default();
        assert!(first.parse().is_ok_and(|first| range.contains(first)), "{text}");
    }
}

/// No origin matches what has more behind it, or what is below it with `*` and is not.
pub(crate) fn origin(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(pattern) = text.parse::<OriginPattern>() {
        for evil in ["null", "", "https://", "https://evil.example", "https://evil.example/"] {
            assert!(!pattern.matches(evil) || text.to_ascii_lowercase().contains("evil.example"));
        }
        let (https, more) = (format!("https://{text}"), format!("{text}.evil"));
        black_box(pattern.matches(&https));
        assert!(!pattern.matches(&more) || text.starts_with('*') || text.contains("//*"), "{text}");
    }
}

pub(crate) fn token(bytes: &[u8]) {
    black_box(policy::token(bytes));
}

pub(crate) fn key_set(bytes: &[u8]) {
    black_box(policy::key_set(bytes));
}

/// RFC 7515, A.1, and what is none.
pub(crate) const TOKENS: &[&[u8]] = &[
    b"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    b"eyJhbGciOiJub25lIn0.e30.",
    b"..",
];

pub(crate) const KEY_SETS: &[&[u8]] = &[
    br#"{"keys":[{"kty":"oct","kid":"1","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}"#,
    br#"{"keys":[{"kty":"EC","crv":"P-256","use":"sig","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#,
    br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
];

pub(crate) fn endpoint(bytes: &[u8]) {
    if let Ok(endpoint) = String::from_utf8_lossy(bytes).parse::<Endpoint>() {
        let text = endpoint.to_string();
        assert_eq!(text.parse::<Endpoint>().ok().as_ref(), Some(&endpoint), "{text}");
    }
}

/// A header is the same however much follows it, and what is read is written as what is read.
pub(crate) fn proxy_header(bytes: &[u8]) {
    let Ok(Some((header, length))) = ProxyHeader::parse(bytes) else { return };
    assert_eq!(ProxyHeader::parse(&bytes[..length]), Ok(Some((header, length))));
    for part in 0..length {
        assert_eq!(ProxyHeader::parse(&bytes[..part]), Ok(None));
    }
    let written = header.to_v2();
    let again = ProxyHeader::parse(&written).ok().flatten();
    assert_eq!(again.map(|(again, _)| again.to_v2()), Some(written));
}

pub(crate) fn config(bytes: &[u8]) {
    match Config::parse("fuzz.toml", &String::from_utf8_lossy(bytes)) {
        Ok(config) => _ = black_box(config),
        Err(errors) => _ = black_box(errors.to_string()),
    }
}

pub(crate) fn duration(bytes: &[u8]) {
    match String::from_utf8_lossy(bytes).parse::<HumanDuration>() {
        Ok(duration) => {
            let text = duration.to_string();
            assert_eq!(text.parse::<HumanDuration>().ok().as_ref(), Some(&duration), "{text}");
        }
        Err(error) => _ = black_box(error.to_string()),
    }
}

pub(crate) fn proc_net(bytes: &[u8]) {
    let _ = black_box(kernel::parse_proc_net_tcp(bytes));
    let _ = black_box(kernel::parse_proc_net_udp(bytes));
    let _ = black_box(kernel::parse_proc_net_unix(bytes));
}

pub(crate) fn sock_diag(bytes: &[u8]) {
    let _ = black_box(kernel::parse_inet_diag(kernel::Protocol::Tcp, bytes));
    let _ = black_box(kernel::parse_unix_diag(bytes));
}

pub(crate) fn proc_pid(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = black_box(kernel::Status::parse(&text));
    let _ = black_box(kernel::Times::parse(&text));
    let _ = black_box(kernel::Limits::parse(&text));
}

pub(crate) fn fd_link(bytes: &[u8]) {
    let _ = black_box(kernel::FdKind::parse(bytes));
}

pub(crate) const ANSWERS: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive, x-own\r\nX-Own: 1\r\n\r\nabc",
    b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\nDate: a\r\n\r\n",
    b"HTTP/1.0 404 Not Found\nServer: a\n\nall of it",
    b"HTTP/1.1 103 Early Hints\r\n\r\n",
];

pub(crate) const CHUNKED: &[&[u8]] = &[
    b"3\r\nabc\r\n0\r\n\r\nGET",
    b"0003;a=\"b\"\r\nabc\r\n00\r\nx-sum: 1\r\n\r\n",
    b"A\r\n0123456789\r\n0\r\ncontent-length: 1\r\n\r\n",
];

pub(crate) const REQUESTS: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nT: r\r\n\r\nGET / HTTP/1.0\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\r\n b\r\nUpgrade: x\r\n\n",
];

pub(crate) const FRAMES: &[&[u8]] = &[
    b"\0\0\x08\x06\0\0\0\0\0pingpong\0\0\0\x04\0\0\0\0\0\0\0\x03\x01\x05\0\0\0\x01\x82\x86\x84",
    b"\0\0\x05\0\0\0\0\0\x01hello\0\0\0\0\0\0\0\0\x01\0\0\x04\x08\0\0\0\0\0\0\0\0\x01",
];

pub(crate) const EVENTS: &[&[u8]] = &[
    b"\xef\xbb\xbfid: 1\nevent: x\nretry: 10\ndata: a\ndata: b\n\n: sign of life\n\ndata\n\n",
    b"data: a\r\n\r\ndata:b\r\rdata: \xff\n\nid: 2\0\ndata: c\n\nretry: x\n",
];

/// Masked with zeros: a text, a binary one in two parts with a ping between, a close with a reason;
/// and 16-bit and 64-bit lengths.
pub(crate) const WEBSOCKETS: &[&[u8]] = &[
    b"\x81\x85\0\0\0\0hello\x02\x82\0\0\0\0ab\x89\x81\0\0\0\0p\x80\x81\0\0\0\0c",
    b"\x88\x84\0\0\0\0\x03\xe8ok\x81\xfe\0\x05\0\0\0\0hello\x81\xff\0\0\0\0\0\0\0\x05\0\0\0\0hello",
    b"\x81\xfe\x01\x01\x12\x34\x56\x78\x81\x05hello\x8a\x80\0\0\0\0",
];

pub(crate) const PROXY_HEADERS: &[&[u8]] = &[
    b"PROXY TCP4 192.0.2.1 198.51.100.2 65535 80\r\n",
    b"PROXY TCP6 2001:db8::1 ::1 1 0\r\n",
    b"PROXY UNKNOWN\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x02\xff\xff\0\x50",
    b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
];

pub(crate) const TRACEPARENTS: &[&[u8]] = &[
    b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
];

pub(crate) const CONFIGS: &[&[u8]] = &[
    include_bytes!("../../crates/staunch-config/src/default.toml"),
    b"[[listener]]\nname = \"echo\"\nprotocol = \"echo\"\nlisten = \"127.0.0.1:9000\"\n",
    b"[[listener]]\nname = \"u\"\nprotocol = \"udp-echo\"\nlisten = \"[::1]:0\"\nlimits.idle = \"1s\"\n",
];

pub(crate) const PROC_NETS: &[&[u8]] = &[
    b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1 0000000000000000 100 0 0 10 0\n",
    b"  sl  local_address remote_address st\n   1: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 777 1\n",
    b"Num       RefCount Protocol Flags    Type St Inode Path\n0000000000000000: 00000002 00000000 00010000 0001 01 20041 /run/a b\n",
];

/// A message of each kind: a socket and the end of the dump.
pub(crate) const DATAGRAMS: &[&[u8]] =
    &[&message::<88>(20, 2), &message::<32>(20, 1), &message::<20>(3, 0), &message::<36>(2, 0)];

/// A netlink message of `N` bytes (`nlmsghdr`), whose payload begins with an address family.
const fn message<const N: usize>(kind: u8, family: u8) -> [u8; N] {
    let mut message = [0; N];
    (message[0], message[4], message[6], message[16]) = (N as u8, kind, 2, family);
    message
}

pub(crate) const PROC_PIDS: &[&[u8]] = &[
    b"Name:\tx\nState:\tS (sleeping)\nPid:\t1\nVmRSS:\t  100 kB\nThreads:\t3\nFDSize:\t64\n",
    b"1 (a b) c) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 9 10 11 12 13\n",
    b"Limit                     Soft Limit           Hard Limit           Units     \nMax open files            1024                 unlimited            files     \n",
];

/// However the bytes come, the same goroutines are read; each belongs to a group; and no rule
/// panics.
pub(crate) fn goroutine_dump(bytes: &[u8]) {
    let limits = go::GoroutineDumpLimits { line_bytes: 200, frames: 5, ..Default::default() };
    let ones = std::io::BufReader::with_capacity(1, bytes);
    let by_ones = go::read_goroutine_dump(ones, &limits).map_err(|error| error.to_string());
    let whole = go::read_goroutine_dump(bytes, &limits).map_err(|error| error.to_string());
    assert_eq!(whole, by_ones);
    if let Ok(tasks) = whole {
        assert!(tasks.groups.iter().all(|group| group.count == group.members.len() as u64));
        let snapshot = Snapshot { tasks: Some(tasks), ..Snapshot::default() };
        black_box(diagnose(&History::single(snapshot), &Options::default()));
    }
}

pub(crate) const GOROUTINE_DUMPS: &[&[u8]] = &[
    b"goroutine 1 [chan receive, 3 minutes]:\nmain.main()\n\t/a.go:7 +0x1d\n\ngoroutine 7 [sync.Mutex.Lock]:\nsync.(*Mutex).Lock(...)\n\t/m.go:46\nmain.f(0xc000012340?, {0x1, 0x2})\n\t/a.go:9 +0x2\ncreated by main.main in goroutine 1\n\t/a.go:5 +0x3\n",
    b"fatal error: all goroutines are asleep - deadlock!\n\ngoroutine 1 gp=0xc0 m=nil [select labels:{\"a\": \"b\"}]:\nmain.main()\n\t/a.go:7 +0x1d\n...additional frames elided...\nexit status 2\n",
];

/// Whatever it refers to, nothing is followed that is not there.
pub(crate) fn profile(bytes: &[u8]) {
    let _ = black_box(go::read_goroutine_profile(bytes, 1 << 20));
    let _ = black_box(go::read_heap_profile(bytes, 1 << 20));
}

/// However the bytes come, the same is read.
pub(crate) fn text_profile(bytes: &[u8]) {
    let ones = || std::io::BufReader::with_capacity(1, bytes);
    let text = |error: go::TextProfileError| error.to_string();
    let goroutines = go::read_goroutine_text(bytes, 1 << 20).map_err(text);
    assert_eq!(goroutines, go::read_goroutine_text(ones(), 1 << 20).map_err(text));
    let heap = go::read_heap_text(bytes, 1 << 20).map_err(text);
    assert_eq!(heap, go::read_heap_text(ones(), 1 << 20).map_err(text));
}

pub(crate) const TEXT_PROFILES: &[&[u8]] = &[
    b"goroutine profile: total 3\n3 @ 0x1 0x2\n# labels: {\"a\":\"b\"}\n#\t0x1\tmain.f+0x1\t\t/a.go:7\n\n",
    b"heap profile: 1: 2 [3: 4] @ heap/1048576\n1: 2 [3: 4] @ 0x1\n#\t0x1\tmain.f+0x1\t/a.go:7\n\n# runtime.MemStats\n",
];

/// One of goroutines: a sample of one location in one function; then one of a heap, without
/// samples.
pub(crate) const PROFILES: &[&[u8]] = &[
    b"\x0a\x02\x08\x01\x12\x05\x0a\x01\x01\x12\x00\x12\x06\x0a\x01\x01\x12\x01\x05\x22\x06\x08\x01\x22\x02\x08\x01\x2a\x06\x08\x01\x10\x02\x20\x02\x32\x00\x32\x09goroutine\x32\x06main.f",
    b"\x0a\x02\x08\x01\x0a\x02\x08\x02\x0a\x02\x08\x03\x0a\x02\x08\x04\x32\x00\x32\x0dalloc_objects\x32\x0balloc_space\x32\x0dinuse_objects\x32\x0binuse_space",
];

/// However the bytes come, the same threads are read; none has a group to itself that has no
/// members; and no rule panics, also when the same is seen twice.
pub(crate) fn thread_dump(bytes: &[u8]) {
    let dump = either_way(bytes, |reader| jvm::read_thread_dump(reader));
    if let Some(dump) = dump {
        assert!(dump.tasks.groups.iter().all(|group| group.count == group.members.len() as u64));
        diagnose_twice(&dump.into());
    }
}

/// However the bytes come, the same classes are read, and no rule panics.
pub(crate) fn class_histogram(bytes: &[u8]) {
    let heap = either_way(bytes, |reader| jvm::read_class_histogram(reader));
    diagnose_twice(&Snapshot { heap, ..Snapshot::default() });
}

/// However the bytes come, the same samples are read, and no rule panics on them.
pub(crate) fn samples(bytes: &[u8]) {
    if let Some(samples) = either_way(bytes, |reader| jvm::read_samples(reader)) {
        let heap = Some(Heap { samples, ..Heap::default() });
        diagnose_twice(&Snapshot { heap, ..Snapshot::default() });
    }
}

/// However the bytes come, the same sockets are read; two with the same ends have the same id; and
/// no rule panics.
pub(crate) fn socket_list(bytes: &[u8]) {
    let sockets = either_way(bytes, |reader| sockets::read_sockets(reader));
    for pair in sockets.iter().flat_map(|sockets| sockets.windows(2)) {
        let ends = |it: usize| (pair[it].local, pair[it].remote);
        assert!(ends(0) != ends(1) || pair[0].id == pair[1].id, "{pair:?}");
    }
    diagnose_twice(&Snapshot { sockets, ..Snapshot::default() });
}

/// What is read of bytes that come at once, and one by one: the same, or the same error.
fn either_way<T: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    read: impl Fn(&mut dyn std::io::BufRead) -> Result<T, TextError>,
) -> Option<T> {
    let whole = read(&mut &*bytes).map_err(|error| error.to_string());
    let mut ones = std::io::BufReader::with_capacity(1, bytes);
    assert_eq!(whole, read(&mut ones).map_err(|error| error.to_string()));
    whole.ok()
}

fn diagnose_twice(snapshot: &Snapshot) {
    let mut history = History::single(snapshot.clone());
    history.add(std::time::Duration::from_secs(60), snapshot.clone());
    black_box(diagnose(&history, &Options::default()));
}

/// A thread that waits, one that is blocked by another, and what is listed of a deadlock; then one
/// of JDK 24 with a virtual thread.
pub(crate) const THREAD_DUMPS: &[&[u8]] = &[
    b"2026-11-28 13:59:24\nFull thread dump OpenJDK 64-Bit Server VM (17.0.15+6 mixed mode):\n\n\"file export 3\" #27 prio=5 os_prio=0 cpu=1.2ms elapsed=60.3s tid=0x00007f01 nid=0x1f waiting on condition  [0x00007f02]\n   java.lang.Thread.State: WAITING (parking)\n\tat jdk.internal.misc.Unsafe.park(java.base@17.0.15/Native Method)\n\t- parking to wait for  <0x00000000d1> (a java.util.concurrent.CountDownLatch$Sync)\n\tat Exports.file(Exports.java:39)\n\n   Locked ownable synchronizers:\n\t- None\n\n\"VM Thread\" os_prio=0 tid=0x00007f03 nid=0x2 runnable\n",
    b"\"a\" #1 daemon prio=5 tid=0x1 nid=0x2 waiting for monitor entry\n   java.lang.Thread.State: BLOCKED (on object monitor)\n\tat A.f(A.java:7)\n\t- waiting to lock <0x01> (a A)\n\t- locked <0x02> (a B)\n\nFound one Java-level deadlock:\n=============================\n\"a\":\n  waiting to lock monitor 0x0f (object 0x01, a A),\n  which is held by \"b\"\n\nFound 1 deadlock.\n",
    b"\"ForkJoinPool-1-worker-1\" #25 [7] daemon prio=5 os_prio=0 cpu=1ms elapsed=2s tid=0x3 nid=7  [0x04]\n   Carrying virtual thread #27\n\tat java.base@24/jdk.internal.vm.Continuation.run(Continuation.java:251)\n   Mounted virtual thread #27\n\tat Work.run(Work.java:9)\n\n",
];

pub(crate) const CLASS_HISTOGRAMS: &[&[u8]] = &[
    b" num     #instances         #bytes  class name (module)\n-------------------------------------------------------\n   1:         26012        1476272  [B (java.base@17.0.15)\n   2:          1000          24000  Sessions$Session\n   3:             1             16  [[Ljava.lang.String;\nTotal         27013        1500288\n",
    b"4711:\n num     #instances         #bytes  class name\n----------------------------------------------\n   1:  18446744073709551615  0  [I\n",
];

pub(crate) const SAMPLES: &[&[u8]] = &[
    b"jdk.OldObjectSample {\n  object =  [\n    byte[8192]\n  ]\n  stackTrace = [\n    java.util.HashMap.<init>(int) line: 12\n    Sessions.work(HttpExchange) line: 28\n    ...\n  ]\n}\n\n",
    b"jdk.ObjectAllocationSample {\n  objectClass = byte[] (classLoader = bootstrap)\n  stackTrace = [\n    java.nio.file.Files.list(Path)\n    A$$Lambda$1+0x1.f(B) line: 3\n  ]\n}\n",
];

pub(crate) const SOCKET_LISTS: &[&[u8]] = &[
    b"State      Recv-Q Send-Q Local Address:Port Peer Address:Port Process\nLISTEN     0      50     [::ffff:127.0.0.1]:45657 *:* users:((\"java\",pid=1,fd=4))\nCLOSE-WAIT 1      0      10.0.0.1:8080 10.0.0.7:40123\nESTAB 0 0 [2001:db8::1]:4000 [2001:db8::7]:443\n\t cubic wscale:7,7\n",
    b"Active Internet connections (servers and established)\nProto Recv-Q Send-Q Local Address           Foreign Address         State       PID/Program name\ntcp        0      0 0.0.0.0:8080            0.0.0.0:*               LISTEN      12/java\ntcp6       1      0 10.0.0.1:8080 10.0.0.7:40123 CLOSE_WAIT  12/java\nudp 0 0 0.0.0.0:68 0.0.0.0:*\n",
];
