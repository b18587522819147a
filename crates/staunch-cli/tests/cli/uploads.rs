//! Bodies on their way through the gateway that break off, or that a server does not take: nobody takes half of one
//! for a whole, and none stays.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::Instant,
};

use staunch_harness::{
    Raw,
    frames::{
        self, CANCEL, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, NO_ERROR, OK, POST, RESET,
        frame,
    },
};

use crate::{
    PATIENCE,
    gateway::{SOON, gateway, head},
    routes::curl,
    server::Server,
};

const VERSIONS: [&str; 2] = ["--http1.1", "--http2-prior-knowledge"];

/// A gateway in front of one server.
fn before(server: SocketAddr, protocol: &str) -> Server {
    gateway(&format!(
        "[[route]]\nname = 'all'\nservice = 'behind'\nbody = '4GiB'\n\
         [[service]]\nname = 'behind'\nendpoints = ['{server}']\nprotocol = '{protocol}'\n{SOON}\n\
         outliers = {{ failures = 0 }}\nretry = {{ tries = 1 }}\ntimeouts = {{ stall = '300ms' }}\n"
    ))
}

/// A server by hand that answers a frame with what `act` says, and what it has heard.
fn behind(act: impl Fn(&Frame) -> Vec<u8> + Send + Sync + 'static) -> (Raw, Receiver<Frame>) {
    let (heard, hears): (SyncSender<Frame>, _) = sync_channel(1 << 10);
    let server = Raw::start(move |socket, _| {
        let _ = frames::serve(socket, |said| {
            let answer = act(&said);
            let _ = heard.send(said); // the test may know enough
            answer
        });
    });
    (server, hears)
}

fn address(server: &Raw) -> SocketAddr {
    ([127, 0, 0, 1], server.port).into()
}

/// The first frame like that.
fn heard(hears: &Receiver<Frame>, is_it: impl Fn(&Frame) -> bool) -> Frame {
    loop {
        let frame = hears.recv_timeout(PATIENCE).unwrap();
        assert!(frame.kind != DATA || frame.flags & END_STREAM == 0, "half a body is whole");
        if is_it(&frame) {
            return frame;
        }
    }
}

/// A proxy before us may say that there was no error when its client gives up.
#[test]
fn half_an_upload_is_not_whole_over_http1() {
    for in_one in [true, false] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let before = before(listener.local_addr().unwrap(), "http1");
        let baseline = before.baseline();
        let mut client = frames::connect(before.tcp("web"), PATIENCE).unwrap();
        let half = frame(DATA, 0, 1, b"half");
        let reset = frame(RESET, 0, 1, &NO_ERROR);
        client.write_all(&frame(HEADERS, END_HEADERS, 1, &POST)).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(head(&mut server).contains("transfer-encoding: chunked"));
        let mut body = Vec::new();
        if in_one {
            client.write_all(&[half, reset].concat()).unwrap();
        } else {
            client.write_all(&half).unwrap();
            let mut chunk = [0; 9];
            server.read_exact(&mut chunk).unwrap();
            body.extend_from_slice(&chunk);
            client.write_all(&reset).unwrap();
        }
        let _ = server.read_to_end(&mut body); // a reset is no end, either
        assert!(!body.ends_with(b"0\r\n\r\n"), "{}", body.escape_ascii());
        drop((client, server));
        before.settles_to(&baseline);
        before.terminate().assert_clean();
    }
}

/// The same with an answer on its way, when no handler hears of it that the stream was reset.
#[test]
fn half_an_upload_is_not_whole_over_http2() {
    let (server, hears) = behind(|said| match said.kind {
        HEADERS => frame(HEADERS, END_HEADERS, said.stream, &OK),
        _ => Vec::new(),
    });
    let before = before(address(&server), "http2");
    let baseline = before.baseline();
    let mut client = frames::connect(before.tcp("web"), PATIENCE).unwrap();
    client.write_all(&frame(HEADERS, END_HEADERS, 1, &POST)).unwrap();
    while frames::next(&mut client).unwrap().kind != HEADERS {}
    let half = frame(DATA, 0, 1, b"half");
    client.write_all(&[half, frame(RESET, 0, 1, &NO_ERROR)].concat()).unwrap();
    heard(&hears, |said| said.kind == RESET);
    drop(client);
    before.settles_to(&baseline);
    before.terminate().assert_clean();
}

#[test]
fn half_an_answer_is_not_whole() {
    let (server, _hears) = behind(|said| match said.kind {
        HEADERS => [
            frame(HEADERS, END_HEADERS, said.stream, &OK),
            frame(DATA, 0, said.stream, b"half"),
            frame(RESET, 0, said.stream, &NO_ERROR),
        ]
        .concat(),
        _ => Vec::new(),
    });
    let before = before(address(&server), "http2");
    let baseline = before.baseline();
    for version in VERSIONS {
        let url = format!("http://{}/", before.tcp("web"));
        let curl = Command::new("curl").args(["--silent", version, &url]).output().unwrap();
        // A transfer that ended early, or a stream that was reset.
        assert!(matches!(curl.status.code(), Some(18 | 56 | 92)), "{version}: {curl:?}");
    }
    before.settles_to(&baseline);
    before.terminate().assert_clean();
}

/// It has answered, takes nothing more, and its client leaves: what was on its way hears of nothing but room.
#[test]
fn an_upload_whose_client_leaves_ends_at_a_server_that_takes_nothing() {
    let (server, hears) = behind(|said| match said.kind {
        HEADERS => frame(HEADERS, END_HEADERS, said.stream, &OK),
        _ => Vec::new(),
    });
    let before = before(address(&server), "http2");
    let baseline = before.baseline();
    let mut client = frames::connect(before.tcp("web"), PATIENCE).unwrap();
    for stream in [1, 3, 5, 7, 9] {
        client.write_all(&frame(HEADERS, END_HEADERS, stream, &POST)).unwrap();
        while frames::next(&mut client).unwrap().kind != HEADERS {}
        for _ in 0..8 {
            client.write_all(&frame(DATA, 0, stream, &[0; 10_000])).unwrap();
        }
        client.write_all(&frame(RESET, 0, stream, &CANCEL)).unwrap();
        assert_eq!(heard(&hears, |said| said.kind == RESET).payload, CANCEL);
    }
    drop(client);
    before.settles_to(&baseline);
    before.terminate().assert_clean();
}

/// A server that reads nothing of a body, and so does not answer.
#[test]
fn a_server_that_takes_nothing_is_given_up() {
    let silent = Raw::start(|mut socket, _| {
        thread::park_timeout(PATIENCE / 20); // its buffers are full long before that
        let _ = socket.read_to_end(&mut Vec::new());
    });
    let (never, _hears) = behind(|_| Vec::new());
    // Of a known length an upload over HTTP/1 is plain, and goes the fast way.
    let plain = ["--header", "Content-Length: 4000000000", "--header", "Transfer-Encoding:"];
    for (server, protocol) in [(address(&silent), "http1"), (address(&never), "http2")] {
        let before = before(server, protocol);
        let baseline = before.baseline();
        for (version, more) in [(VERSIONS[0], &[][..]), (VERSIONS[0], &plain), (VERSIONS[1], &[])] {
            let url = format!("http://{}/", before.tcp("web"));
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--max-time", "20", "--write-out", "%{http_code}", version]);
            curl.args(more).args(["--header", "Expect:"]);
            curl.args(["--output", "/dev/null", "--upload-file", "-", &url]);
            let mut curl = curl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let mut body = curl.stdin.take().unwrap();
            let sends = move || while body.write_all(&[0; 16 << 10]).is_ok() {};
            let sends = thread::Builder::new().spawn(sends).unwrap();
            let told = curl.wait_with_output().unwrap();
            sends.join().unwrap();
            assert_eq!(
                String::from_utf8_lossy(&told.stdout),
                "504",
                "{protocol} {version} {more:?}"
            );
        }
        let log = before.process().stderr();
        assert!(log.contains("nothing of the body was taken for 300ms"), "{log}");
        before.settles_to(&baseline);
        before.terminate().assert_clean();
    }
}

/// Its time counts from the end of the body, which nobody who waits is told of.
#[test]
fn a_server_that_has_all_and_says_nothing_has_its_time() {
    let (silent, _hears) = behind(|_| Vec::new());
    let silent1 = Raw::start(|mut socket, _| _ = socket.read_to_end(&mut Vec::new()));
    let (of_try, of_all) = ("timeouts = { first_byte = '300ms' }", "timeout = '300ms'");
    for (route, service, protocol, server) in [
        ("", of_try, "http1", address(&silent1)),
        ("", of_try, "http2", address(&silent)),
        (of_all, "", "http1", address(&silent1)),
    ] {
        let before = gateway(&format!(
            "[[route]]\nname = 'all'\nservice = 'behind'\n{route}\n[[service]]\nname = 'behind'\n\
             endpoints = ['{server}']\nprotocol = '{protocol}'\n{SOON}\n\
             outliers = {{ failures = 0 }}\nretry = {{ tries = 1 }}\n{service}\n"
        ));
        let baseline = before.baseline();
        for version in VERSIONS {
            let begun = Instant::now();
            let chunked = ["--header", "Transfer-Encoding: chunked", "--data", "ping", version];
            let (told, status) = curl(before.tcp("web"), "/", &chunked);
            assert_eq!(status, 504, "{service} {version}: {told}");
            assert!(begun.elapsed() < PATIENCE / 4, "{service} {version}: {:?}", begun.elapsed());
        }
        before.settles_to(&baseline);
        before.terminate().assert_clean();
    }
}

/// Over HTTP/2 they would make the request malformed, and the server that never got it would be to blame.
#[test]
fn what_is_no_trailer_goes_no_further() {
    let (server, hears) = behind(|said| match said {
        Frame { kind: DATA | HEADERS, flags, stream, .. } if flags & END_STREAM != 0 => {
            frame(HEADERS, END_HEADERS | END_STREAM, *stream, &OK)
        }
        _ => Vec::new(),
    });
    let before = before(address(&server), "http2");
    let baseline = before.baseline();
    let mut client = TcpStream::connect(before.tcp("web")).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    for trailer in ["Connection: x", "TE: gzip", "Host: b", "Checksum: 1"] {
        write!(client, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        write!(client, "4\r\nping\r\n0\r\n{trailer}\r\n\r\n").unwrap();
        let told = head(&mut client);
        assert!(told.starts_with("HTTP/1.1 200 "), "{trailer}: {told}");
        assert!(told.contains("content-length: 0"), "{told}");
        let is_end = |said: &Frame| said.kind == HEADERS && said.flags & END_STREAM != 0;
        heard(&hears, is_end);
    }
    drop(client);
    before.settles_to(&baseline);
    before.terminate().assert_clean();
}
