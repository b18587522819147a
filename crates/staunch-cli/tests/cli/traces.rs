//! Traces: what servers are told of them, and what a collector gets. It decodes with the messages
//! of OpenTelemetry's own crate, so that ours are not held against themselves.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value,
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use prost::Message as _;

use crate::{
    PATIENCE, eventually,
    gateway::{BEHIND, SOON, Scripted, gateway, head, service},
    process::{Process, folder},
    routes::curl,
    server::{Server, get},
};

/// A collector, until the gateway has closed its connections.
struct Collector {
    address: SocketAddr,
    posts: Arc<Mutex<Vec<Post>>>,
    thread: JoinHandle<()>,
}

/// A batch that it was sent.
#[derive(Clone)]
struct Post {
    at: Instant,
    head: String,
    service: String,
    spans: Vec<Span>,
}

const TAKEN: &str = "200 OK\r\nContent-Length: 0";

impl Collector {
    /// One that answers so, the last again and again; it takes so many connections.
    fn start(answers: &'static [&'static str], connections: usize) -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let posts = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&posts);
        let serve = move || {
            for _ in 0..connections {
                let (client, _) = listener.accept().unwrap();
                Collector::serve(client, answers, &into);
            }
        };
        let thread = std::thread::Builder::new().spawn(serve).unwrap();
        Collector { address, posts, thread }
    }

    fn serve(mut client: TcpStream, answers: &[&str], posts: &Mutex<Vec<Post>>) {
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        loop {
            let head = head(&mut client).to_lowercase();
            if head.is_empty() {
                return;
            }
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let mut body = vec![0; length.unwrap().parse().unwrap()];
            client.read_exact(&mut body).unwrap();
            let request = ExportTraceServiceRequest::decode(&body[..]).unwrap();
            let mut posts = posts.lock().unwrap_or_else(PoisonError::into_inner);
            let answer = answers[posts.len().min(answers.len() - 1)];
            posts.push(Post::new(head, &request));
            drop(posts);
            let end = if answer.contains("\r\n\r\n") { "" } else { "\r\n\r\n" };
            client.write_all(format!("HTTP/1.1 {answer}{end}").as_bytes()).unwrap();
        }
    }

    fn posts(&self) -> Vec<Post> {
        self.posts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All that it has got, once the gateway has ended.
    fn ended(self) -> Vec<Post> {
        let Collector { posts, thread, .. } = self;
        thread.join().unwrap();
        std::mem::take(&mut *posts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn config(&self) -> String {
        traces(self.address)
    }
}

impl Post {
    fn new(head: String, request: &ExportTraceServiceRequest) -> Post {
        let [resource] = &request.resource_spans[..] else { panic!("{request:?}") };
        let attributes = &resource.resource.as_ref().unwrap().attributes;
        let service = attributes.iter().find(|it| it.key == "service.name").unwrap();
        let Some(Value::StringValue(service)) = service.value.clone().unwrap().value else {
            panic!("{attributes:?}");
        };
        let spans = resource.scope_spans.iter().flat_map(|scope| scope.spans.clone()).collect();
        Post { at: Instant::now(), head, service, spans }
    }
}

fn traces(to: SocketAddr) -> String {
    format!("[traces]\nto = 'http://{to}'\none_in = 1\n")
}

/// Where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// What a span says, as text.
fn said(span: &Span) -> HashMap<String, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    let attributes = span.attributes.iter();
    let pair = |it: &opentelemetry_proto::tonic::common::v1::KeyValue| {
        (it.key.clone(), text(it.value.as_ref().unwrap().value.as_ref().unwrap()))
    };
    attributes.map(pair).collect()
}

#[track_caller]
fn check(span: &Span, expected: &[(&str, &str)]) {
    let said = said(span);
    for (key, value) in expected {
        assert_eq!(said.get(*key).map(String::as_str), Some(*value), "{key} in {said:?}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// The value of a metric of ours.
fn metric(gateway: &Server, name: &str) -> u64 {
    let (_, metrics, _) = gateway.get("/metrics");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("{name}: {metrics}")).parse().unwrap()
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";

/// Requests on each of their ways: the fast one, the long one in both versions, and one that leads
/// to another protocol.
const WAYS: [(&[&str], &str); 4] = [
    (&["--http1.1"], "1.1"),
    (&["--http2-prior-knowledge"], "2"),
    (&["--http1.1", "--header", "TE: trailers"], "1.1"),
    (&["--http1.1", "--header", "Connection: upgrade", "--header", "Upgrade: other"], "1.1"),
];

/// What the server behind was sent for such a request with these headers: its `traceparent` and
/// `tracestate`.
fn told(traces: &str, headers: &[&str]) -> Vec<[Option<String>; 2]> {
    let server = Scripted::start(vec![OK; WAYS.len()]);
    let gateway = gateway(&format!("{traces}{}", service(server.address, "")));
    for (arguments, _) in WAYS {
        let headers: Vec<_> = headers.iter().flat_map(|header| ["--header", header]).collect();
        let asked = curl(gateway.tcp("web"), "/a/b?token=hidden", &[arguments, &headers].concat());
        assert_eq!(asked, ("ok".to_owned(), 200));
    }
    gateway.terminate().assert_clean();
    let asked = server.asked();
    asked.iter().map(|head| ["traceparent", "tracestate"].map(|name| field(head, name))).collect()
}

/// The value of a field, of which there is one at most.
fn field(head: &str, name: &str) -> Option<String> {
    let value = |line: &str| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    };
    let values: Vec<_> = head.lines().filter_map(value).collect();
    assert!(values.len() <= 1, "{head}");
    values.into_iter().next()
}

#[test]
fn without_traces_what_clients_say_goes_on_untouched_and_nothing_is_made_up() {
    let given = format!("00-{TRACE}-{PARENT}-00");
    let said = [&format!("traceparent: {given}")[..], "tracestate: a=1,b=2"];
    for told in told("", &said) {
        assert_eq!(told, [Some(given.clone()), Some("a=1,b=2".to_owned())]);
    }
    for said in [&[][..], &["traceparent: 00-nonsense-01", "tracestate: a=1"]] {
        for told in told("", said) {
            assert_eq!(told, [None, None], "{said:?}");
        }
    }
}

#[test]
fn each_request_that_is_sampled_has_a_span_which_is_the_parent_of_what_the_server_does() {
    let collector = Collector::start(&[TAKEN], 1);
    let given = format!("traceparent: 00-{TRACE}-{PARENT}-01");
    let before = nanos();
    let told = told(&collector.config(), &[&given, "tracestate: a=1"]);
    let posts = collector.ended();
    let spans: Vec<_> = posts.iter().flat_map(|post| post.spans.clone()).collect();
    assert_eq!(spans.len(), WAYS.len());
    for (traceparent, (_, version)) in told.iter().zip(WAYS) {
        let traceparent = traceparent[0].as_deref().unwrap();
        let own = |span: &&Span| format!("00-{TRACE}-{}-01", hex(&span.span_id)) == traceparent;
        let span = spans.iter().find(own).unwrap_or_else(|| panic!("{traceparent}: {spans:?}"));
        assert_eq!([hex(&span.trace_id), hex(&span.parent_span_id)], [TRACE, PARENT]);
        assert_eq!((span.name.as_str(), span.kind()), ("GET /*", SpanKind::Server));
        assert_eq!(span.flags, 0x301);
        assert!(before < span.start_time_unix_nano, "{span:?}");
        assert!(span.start_time_unix_nano < span.end_time_unix_nano, "{span:?}");
        assert!(span.end_time_unix_nano < nanos(), "{span:?}");
        assert_eq!(span.status.as_ref().unwrap().code(), StatusCode::Unset);
        check(
            span,
            &[
                ("http.request.method", "GET"),
                ("http.route", "/*"),
                ("url.path", "/a/b"),
                ("url.scheme", "http"),
                ("server.address", "127.0.0.1"),
                ("client.address", "127.0.0.1"),
                ("network.protocol.version", version),
                ("http.response.status_code", "200"),
                ("staunch.route", "all"),
                ("staunch.service", "behind"),
                ("staunch.listener", "web"),
                ("staunch.end", "whole"),
            ],
        );
        let said = said(span);
        assert!(
            said.contains_key("staunch.server") && said.contains_key("server.port"),
            "{said:?}"
        );
        assert!(!said.contains_key("http.request.resend_count"), "{said:?}");
        assert!(!format!("{span:?}").contains("hidden"), "{span:?}");
    }
    assert!(told.iter().all(|[_, state]| state.as_deref() == Some("a=1")));
    for post in posts {
        assert!(post.head.starts_with("post /v1/traces http/1.1\r\n"), "{}", post.head);
        assert!(post.head.contains("content-type: application/x-protobuf\r\n"), "{}", post.head);
        assert_eq!(post.service, "staunch");
    }
}

fn nanos() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

#[test]
fn strangers_do_not_decide() {
    let collector = Collector::start(&[TAKEN], 1);
    let config = format!("{}follow = false\n", collector.config());
    let given = format!("traceparent: 00-{TRACE}-{PARENT}-00");
    let told = told(&config, &[&given, "tracestate: a=1"]);
    let spans: Vec<_> = collector.ended().into_iter().flat_map(|post| post.spans).collect();
    assert_eq!(spans.len(), WAYS.len());
    for [traceparent, tracestate] in told {
        let traceparent = traceparent.unwrap();
        let own = |span: &Span| {
            let own = format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id));
            own == traceparent && span.parent_span_id.is_empty()
        };
        assert!(spans.iter().any(own), "{traceparent}");
        assert!(!traceparent.contains(TRACE) && tracestate.is_none(), "{traceparent}");
    }
}

#[test]
fn how_it_ended_and_how_often_it_was_tried_is_in_the_span() {
    const BAD: &[u8] = b"HTTP/1.1 500 Bad\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbad";
    let (bad, behind) = (Scripted::start(vec![BAD, BAD]), Server::start(BEHIND));
    let collector = Collector::start(&[TAKEN], 1);
    let named = |name: &str, endpoints: &str| {
        format!(
            "[[route]]\nname = '{name}'\npath = '/{name}'\nservice = '{name}'\n\
             [[service]]\nname = '{name}'\nendpoints = [{endpoints}]\nbalance = 'round-robin'\n{SOON}\n"
        )
    };
    let rest = format!(
        "{}{}{}{}",
        collector.config(),
        service(behind.tcp("demo"), ""),
        named("bad", &format!("'{}'", bad.address)),
        named("hello", &format!("'{}', '{}'", nobody(), behind.tcp("demo"))),
    );
    let gateway = gateway(&rest);
    let web = gateway.tcp("web");
    let both = ["--http1.1", "--http2-prior-knowledge"];
    for version in both {
        assert_eq!(curl(web, "/bad", &[version]).1, 500);
        assert_eq!(curl(web, "/hello", &[version]).1, 200);
        assert_eq!(curl(web, "/hello", &[version]).1, 200); // each server had a first try by now
        curl(web, "/slow?ms=20000", &["--max-time", "0.3", version]);
    }
    assert_eq!(curl(web, "/none", &["--request", "BREW"]).1, 404);
    gateway.terminate().assert_clean();
    let spans: Vec<_> = collector.ended().into_iter().flat_map(|post| post.spans).collect();
    assert_eq!(spans.len(), 9, "{spans:?}");
    let of = |path: &str| -> Vec<&Span> {
        spans.iter().filter(|span| said(span)["url.path"] == path).collect()
    };
    for span in of("/bad") {
        assert_eq!(span.status.as_ref().unwrap().code(), StatusCode::Error);
        check(span, &[("error.type", "500"), ("staunch.end", "whole"), ("http.route", "/bad")]);
    }
    for span in of("/slow") {
        assert_eq!(span.status.as_ref().unwrap().code(), StatusCode::Error);
        check(span, &[("error.type", "client"), ("staunch.end", "client")]);
        assert!(!said(span).contains_key("http.response.status_code"), "{span:?}");
    }
    let again = of("/hello").into_iter().filter(|span| {
        check(span, &[("staunch.server", &behind.tcp("demo").to_string())]);
        assert_eq!(span.status.as_ref().unwrap().code(), StatusCode::Unset);
        said(span).get("http.request.resend_count").is_some_and(|count| count == "1")
    });
    assert!(again.count() >= 1, "{spans:?}");
    let odd = of("/none")[0];
    check(odd, &[("http.request.method", "_OTHER"), ("http.request.method_original", "BREW")]);
    assert_eq!(odd.name, "HTTP /*");
    assert_eq!((of("/bad").len(), of("/slow").len(), of("/hello").len()), (2, 2, 4));
    bad.asked();
    behind.terminate().assert_clean();
}

/// One that is not there, and one that never answers.
#[test]
fn a_collector_without_an_answer_harms_nobody() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let behind = Server::start(BEHIND);
    for collector in [nobody(), silent.local_addr().unwrap()] {
        let rest = format!("{}buffer = 64\n{}", traces(collector), service(behind.tcp("demo"), ""));
        let gateway = gateway(&rest);
        for _ in 0..300 {
            assert_eq!(get(gateway.tcp("web"), "/hello").0, 200);
        }
        // As many wait as may, and as many again are on their way.
        eventually("the rest is lost", || {
            let lost = metric(&gateway, "staunch_traces_lost_total");
            if lost >= 300 - 2 * 64 { Ok(()) } else { Err(lost.to_string()) }
        });
        assert_eq!(metric(&gateway, "staunch_traces_sent_total"), 0);
        let begun = Instant::now();
        let ended = gateway.terminate();
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        ended.assert_clean();
        assert!(ended.stderr.contains("\"lost\":300"), "{}", ended.stderr);
    }
    behind.terminate().assert_clean();
}

#[test]
fn a_collector_that_wants_time_gets_it_and_what_it_refuses_is_lost() {
    const LATER: &str = "503 Later\r\nRetry-After: 3\r\nContent-Length: 0";
    const NO: &str = "400 No\r\nContent-Length: 0";
    // ExportTraceServiceResponse { partial_success: { rejected_spans: 1, error_message: "no" } }
    const PART: &str = "200 OK\r\nContent-Length: 8\r\n\r\n\x0a\x06\x08\x01\x12\x02no";
    let behind = Server::start(BEHIND);
    for (answers, sent) in [(&[LATER, TAKEN][..], 1), (&[NO], 0), (&[PART], 0)] {
        let collector = Collector::start(answers, 1);
        let rest = format!("{}{}", collector.config(), service(behind.tcp("demo"), ""));
        let gateway = gateway(&rest);
        assert_eq!(get(gateway.tcp("web"), "/hello").0, 200);
        eventually("it is sent or lost", || {
            let counts = ["staunch_traces_sent_total", "staunch_traces_lost_total"];
            let counts = counts.map(|name| metric(&gateway, name));
            if counts == [sent, 1 - sent] { Ok(()) } else { Err(format!("{counts:?}")) }
        });
        gateway.terminate().assert_clean();
        let posts = collector.ended();
        if let [first, second] = &posts[..] {
            let apart = second.at - first.at;
            assert!(apart >= Duration::from_secs(3), "{apart:?}");
            assert_eq!(first.spans, second.spans);
        }
        assert_eq!(posts.len(), answers.len());
    }
    behind.terminate().assert_clean();
}

#[test]
fn headers_for_a_collector_are_sent_and_never_shown() {
    let (collector, behind) =
        (Collector::start(&["401 No\r\nContent-Length: 0"], 1), Server::start(BEHIND));
    let config = |headers: &str| format!("{}headers_file = '{headers}'\n", collector.config());
    let listener = "protocol = 'http'\nlisten = '127.0.0.1:0'\n";
    let rest = format!(
        "[log]\nlevel = 'debug'\n[[listener]]\nname = 'web'\n{listener}{}",
        service(behind.tcp("demo"), "")
    );
    let text = format!("[admin]\nlisten = '127.0.0.1:0'\n{}{rest}", config("good"));
    let files = [
        ("staunch.toml", &text[..]),
        ("good", "Authorization: Bearer hidden-secret\n"),
        ("bad", "# ours\nhidden-secret\n"),
        ("other.toml", &format!("{}{rest}", config("bad"))),
    ];
    let bad = Process::start(folder(&files), &["run", "--config", "other.toml"]).ended();
    assert_eq!(bad.code, Some(2), "{}", bad.stderr);
    assert!(bad.stderr.contains("bad:2: write `name: value`"), "{}", bad.stderr);
    assert!(!bad.stderr.contains("hidden-secret"), "{}", bad.stderr);

    let mut process = Process::start(folder(&files), &["run", "--config", "staunch.toml"]);
    let web = eventually("it listens", || {
        let log = process.stderr();
        let line = log
            .lines()
            .find(|line| line.contains("listener=web") || line.contains("listener=\"web\""));
        let address = line.and_then(|line| line.split("127.0.0.1:").nth(1));
        let port =
            address.map(|it| it.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default());
        port.and_then(|port| port.parse::<u16>().ok()).ok_or(log)
    });
    assert_eq!(get(SocketAddr::from(([127, 0, 0, 1], web)), "/hello").0, 200);
    eventually(
        "a batch",
        || if collector.posts().is_empty() { Err(String::new()) } else { Ok(()) },
    );
    process.signal(rustix::process::Signal::TERM);
    let ended = process.ended();
    ended.assert_clean();
    assert!(!ended.stderr.contains("hidden-secret"), "{}", ended.stderr);
    let posts = collector.ended();
    assert_eq!(posts.len(), 1);
    assert!(posts[0].head.contains("authorization: bearer hidden-secret\r\n"), "{}", posts[0].head);
    behind.terminate().assert_clean();
}
