//! What routes ask of their requests: a gateway in front of servers that tell what came through.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustix::process::Signal;

use crate::{
    PATIENCE, eventually,
    gateway::{BEHIND, SOON, gateway, head},
    process::{Process, folder},
    routes::curl,
    server::Server,
};

/// A server that answers what a function says to a request's head, and remembers those. It closes
/// each connection.
struct Telling {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    ends: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Telling {
    fn start(answer: impl Fn(&str) -> String + Send + 'static) -> Telling {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, ends) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicBool>::default());
        let (heard, over) = (Arc::clone(&asked), Arc::clone(&ends));
        let serve = move || {
            for client in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let mut client = client.unwrap();
                client.set_read_timeout(Some(PATIENCE)).unwrap();
                let head = head(&mut client);
                let said = answer(&head);
                heard.lock().unwrap().push(head);
                client.write_all(said.as_bytes()).unwrap();
            }
        };
        let thread = Some(thread::Builder::new().spawn(serve).unwrap());
        Telling { address, asked, ends, thread }
    }

    /// One that says `200`, and what it was asked.
    fn mirror() -> Telling {
        Telling::start(|head| answer("200 OK", "X-Of-Server: 1\r\n", head))
    }

    fn times(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// A route for everything to `server`, with a policy of these tables.
fn policy(server: SocketAddr, tables: &str) -> String {
    format!(
        "[[route]]\nname = \"all\"\nservice = \"behind\"\npolicies = [\"p\"]\n\
         [[service]]\nname = \"behind\"\nendpoints = [\"{server}\"]\n{SOON}\n\
         [[policy]]\nname = \"p\"\n{tables}\n"
    )
}

/// The numbers of this metric with these labels.
fn metric(server: &Server, name: &str, labels: &str) -> u64 {
    let (_, metrics, _) = server.get("/metrics");
    let line = format!("{name}_total{{{labels}}} ");
    let value = metrics.lines().find_map(|it| it.strip_prefix(&line));
    value.unwrap_or_else(|| panic!("no {line}: {metrics}")).parse().unwrap()
}

fn refused(server: &Server, reason: &str) -> u64 {
    metric(server, "staunch_requests_refused", &format!("route=\"all\",reason=\"{reason}\""))
}

/// A key for `name`, and what the configuration says of it.
fn new_key(name: &str) -> (String, String) {
    let made = Process::start(folder(&[]), &["key", name]).ended();
    assert_eq!(made.code, Some(0), "{made:?}");
    let mut lines = made.stdout.lines();
    let key = lines.next().unwrap().strip_prefix("key:    ").unwrap().to_owned();
    (key, lines.next().unwrap().strip_prefix("config: ").unwrap().to_owned())
}

const VERSIONS: [&str; 2] = ["--http1.1", "--http2-prior-knowledge"];

#[test]
fn an_address_that_may_not_ask_is_not_even_read_from() {
    let behind = Telling::mirror();
    let before = gateway(&policy(behind.address, "[policy.clients]\ndeny = ['127.0.0.0/8']"));
    let (web, baseline) = (before.tcp("web"), before.baseline());
    for version in VERSIONS {
        let (text, status) = curl(web, "/", &[version, "--data", "x"]);
        assert_eq!((text.as_str(), status), ("Your address may not ask here\n", 403));
    }
    let mut client = TcpStream::connect(web).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n";
    client.write_all(request.as_bytes()).unwrap();
    let mut first = [0; 12];
    client.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 403", "nobody has asked for the body");
    drop(client);
    assert_eq!((refused(&before, "client"), behind.times()), (3, 0));
    before.settles_to(&baseline);
    before.terminate().assert_clean();
}

#[test]
fn who_has_a_key_is_known_by_name_and_nobody_else_is() {
    let behind = Telling::mirror();
    let (key, config) = new_key("shop");
    let rate = "[policy.rate]\nrequests = 5\nper = '1h'\nby = 'key'";
    let tables = format!("[policy.keys]\nkeys = [{config}]\n{rate}");
    let before = gateway(&policy(behind.address, &tables));
    let (web, baseline) = (before.tcp("web"), before.baseline());
    let header = format!("X-API-Key: {key}");
    let (open, with_key) = (["--include"], ["--header", &header]);
    for version in VERSIONS {
        let (text, status) = curl(web, "/", &[&open[..], &[version]].concat());
        assert_eq!(status, 401, "{text}");
        let text = text.to_lowercase();
        assert!(text.contains("www-authenticate: apikey header=\"x-api-key\""), "{text}");
        let wrong = ["--header", "X-API-Key: guess", version];
        assert_eq!(curl(web, "/", &wrong).1, 401);
        let two = [&with_key[..], &["--header", "X-API-Key: guess", version]].concat();
        assert_eq!(curl(web, "/", &two).1, 401, "nobody knows which one counts");
        // A client's own word for who it is, in every way to say it or to take ours away.
        let claims = ["--header", "X-Consumer: root", "--header", "X_Consumer: root"];
        let takes = ["--header", "Connection: X-Consumer", version];
        let all =
            [&with_key[..], &claims, if version == VERSIONS[0] { &takes } else { &takes[2..] }];
        let (told, status) = curl(web, "/", &all.concat());
        assert_eq!(status, 200, "{told}");
        let told = told.to_lowercase();
        assert!(told.contains("\r\nx-consumer: shop\r\n"), "{told}");
        assert!(!told.contains("root") && !told.contains(&key.to_lowercase()), "{told}");
    }
    let statuses: Vec<u16> = (0..4).map(|_| curl(web, "/", &with_key).1).collect();
    assert_eq!(statuses, [200, 200, 200, 429]);
    assert_eq!((refused(&before, "key"), refused(&before, "rate")), (6, 1));
    before.settles_to(&baseline);
    let (_, metrics, _) = before.get("/metrics");
    let ended = before.terminate();
    ended.assert_clean();
    let shown = format!("{metrics}{}{}", ended.stdout, ended.stderr);
    assert!(!shown.contains(&key), "a key is nowhere to be read");
}

/// Signed by `{"kty": "oct", "kid": "1", "k": SECRET}`, for `api` from `https://id.test`, to 2100.
const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY";
const CLAIMS: &str = "eyJpc3MiOiJodHRwczovL2lkLnRlc3QiLCJhdWQiOiJhcGkiLCJleHAiOjQxMDI0NDQ4MDAsInN1YiI6ImFubiIs\
                      InNjb3BlIjoicmVhZCJ9";

fn token() -> String {
    format!(
        "eyJhbGciOiJIUzI1NiIsImtpZCI6IjEifQ.{CLAIMS}.D1e7-sQ4PKrVKQ88oN_4GrJ8dhqsQEcdU318tLHwjuI"
    )
}

/// The same, signed with a key that there is not: `2`.
fn foreign_token() -> String {
    format!(
        "eyJhbGciOiJIUzI1NiIsImtpZCI6IjIifQ.{CLAIMS}.O1Xe5_-H2FoS0fsEA8SToiTNZ6_Lu058zWTXI4_gNUU"
    )
}

/// Without the scope.
const WEAK: &str = "eyJhbGciOiJIUzI1NiIsImtpZCI6IjEifQ.eyJpc3MiOiJodHRwczovL2lkLnRlc3QiLCJhdWQiOiJhcGki\
                    LCJleHAiOjQxMDI0NDQ4MDAsInN1YiI6ImFubiIsInNjb3BlIjoibm9uZSJ9.qdE90MpoN47rtNxBQHDDo3AV\
                    exoePwwuUiaIQ1i1hM4";

pub(crate) fn key_set() -> String {
    format!("{{\"keys\": [{{\"kty\": \"oct\", \"kid\": \"1\", \"k\": \"{SECRET}\"}}]}}")
}

fn jwt(keys: &str) -> String {
    format!(
        "[policy.jwt]\n{keys}\nalgorithms = ['HS256']\nissuer = 'https://id.test'\n\
         audience = ['api']\nrequire = ['scope: read']\nheaders = ['x-user: sub']\npass = false"
    )
}

fn with_token(web: SocketAddr, token: &str) -> (String, u16) {
    let header = format!("Authorization: Bearer {token}");
    curl(web, "/", &["--include", "--header", &header, "--header", "X-User: root"])
}

#[test]
fn who_has_a_token_is_known_by_what_it_says() {
    let behind = Telling::mirror();
    let keys = folder(&[("keys.json", &key_set())]);
    let file = keys.path().join("keys.json");
    let before =
        gateway(&policy(behind.address, &jwt(&format!("keys_file = '{}'", file.display()))));
    let (web, baseline) = (before.tcp("web"), before.baseline());
    let (told, status) = with_token(web, &token());
    assert_eq!(status, 200, "{told}");
    let told = told.to_lowercase();
    assert!(told.contains("\r\nx-user: ann\r\n"), "{told}");
    assert!(!told.contains("root") && !told.contains("authorization"), "{told}");
    let mut changed = token();
    changed.truncate(changed.len() - 2);
    for (token, status, challenge) in [
        ("", 401, "bearer"),
        (&changed, 401, "bearer error=\"invalid_token\""),
        (&foreign_token(), 401, "bearer error=\"invalid_token\""),
        (WEAK, 403, "bearer error=\"insufficient_scope\""),
    ] {
        let (told, got) = with_token(web, token);
        assert_eq!(got, status, "{told}");
        let challenge = format!("www-authenticate: {challenge}\r\n");
        assert!(told.to_lowercase().contains(&challenge), "{challenge} {told}");
    }
    assert_eq!((refused(&before, "token"), refused(&before, "claim")), (3, 1));
    before.settles_to(&baseline);
    let ended = before.terminate();
    ended.assert_clean();
    assert!(!ended.stderr.contains(&token()[40..80]), "{}", ended.stderr);
}

#[test]
fn keys_that_cannot_be_used_stop_the_start_and_change_nothing_later() {
    let behind = Telling::mirror();
    let keys = folder(&[("keys.json", "{\"keys\": []}")]);
    let file = keys.path().join("keys.json");
    let config = policy(behind.address, &jwt(&format!("keys_file = '{}'", file.display())));
    let text = format!(
        "[admin]\nenabled = false\n[[listener]]\nname = 'web'\nprotocol = 'http'\n\
         listen = '127.0.0.1:0'\n{config}"
    );
    let run = Process::start(folder(&[("c.toml", &text)]), &["run", "--config", "c.toml"]).ended();
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stderr.contains("the JWK set has no key that can be used"), "{}", run.stderr);

    std::fs::write(&file, key_set()).unwrap();
    let mut before = gateway(&config);
    let web = before.tcp("web");
    assert_eq!(with_token(web, &token()).1, 200);
    std::fs::write(&file, "garbage").unwrap();
    before.signal(Signal::HUP);
    eventually("it says why", || {
        let log = before.process().stderr();
        if log.contains("this is no JWK set") { Ok(()) } else { Err(log) }
    });
    assert_eq!(with_token(web, &token()).1, 200, "the last good ones stay");
    before.terminate().assert_clean();
}

/// Those who have the keys are not asked by whoever likes.
#[test]
fn keys_are_asked_for_when_one_is_not_known_but_not_again_and_again() {
    let behind = Telling::mirror();
    let id = Telling::start(|_| answer("200 OK", "", &key_set()));
    let keys = format!("keys_url = 'http://{}/keys'", id.address);
    let before = gateway(&policy(behind.address, &jwt(&keys)));
    let web = before.tcp("web");
    assert_eq!(with_token(web, &token()).1, 200);
    for _ in 0..20 {
        assert_eq!(with_token(web, &foreign_token()).1, 401);
    }
    assert!(id.times() <= 2, "{} times", id.times());
    drop(id);
    assert_eq!(with_token(web, &token()).1, 200, "the last good ones stay");
    before.terminate().assert_clean();

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let keys = format!("keys_url = 'http://{nobody}/keys'");
    let before = gateway(&policy(behind.address, &jwt(&keys)));
    assert_eq!(with_token(before.tcp("web"), &token()).1, 503, "nobody can say");
    before.terminate().assert_clean();
}

#[test]
fn a_request_is_in_flight_until_the_last_byte_of_its_answer() {
    let behind = Server::start(BEHIND);
    let before = gateway(&policy(behind.tcp("demo"), "concurrency = 1"));
    let (web, baseline) = (before.tcp("web"), before.baseline());
    for request in [
        "GET /sse HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    ] {
        // Who has the last byte of an answer may be a moment ahead of the room that it makes.
        let stream = eventually("it has begun", || {
            let mut stream = TcpStream::connect(web).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let begun = head(&mut stream);
            let is_good = ["HTTP/1.1 200", "HTTP/1.1 101"].iter().any(|it| begun.starts_with(it));
            if is_good { Ok(stream) } else { Err(begun) }
        });
        let (text, status) = curl(web, "/hello", &["--include"]);
        assert_eq!(status, 503, "{text}");
        assert!(text.to_lowercase().contains("retry-after: 1"), "{text}");
        drop(stream);
        eventually("there is room", || match curl(web, "/hello", &[]).1 {
            200 => Ok(()),
            other => Err(other.to_string()),
        });
    }
    for _ in 0..20 {
        assert_eq!(curl(web, "/hello", &[]).1, 200, "each makes room for the next");
    }
    before.settles_to(&baseline);
    before.terminate().assert_clean();
    behind.terminate().assert_clean();
}

#[test]
fn browsers_are_told_what_they_may_and_what_to_leave_alone() {
    let behind = Telling::mirror();
    let (key, config) = new_key("page");
    let tables = format!(
        "[policy.keys]\nkeys = [{config}]\n\
         [policy.cors]\norigins = ['https://*.shop.test']\nmethods = ['PUT']\nheaders = ['x-api-key']\n\
         [policy.headers]\nsecurity = true\nrequest_set = ['X-Team: shop']\nrequest_remove = ['x-debug']\n\
         answer_remove = ['x-of-server']"
    );
    let routed =
        policy(behind.address, &tables).replacen("service", "methods = ['PUT']\nservice", 1);
    let before = gateway(&routed);
    let (web, baseline) = (before.tcp("web"), before.baseline());
    let (page, put) = ("Origin: https://a.shop.test", "Access-Control-Request-Method: PUT");
    for version in VERSIONS {
        let ask = ["--include", version, "--request", "OPTIONS", "--header", put, "--header"];
        let (told, status) = curl(web, "/", &[&ask[..], &[page]].concat());
        assert_eq!(status, 204, "{told}");
        let told = told.to_lowercase();
        for said in [
            "access-control-allow-origin: https://a.shop.test\r\n",
            "access-control-allow-methods: put\r\n",
            "access-control-allow-headers: x-api-key\r\n",
            "access-control-max-age: 600\r\n",
            "vary: origin\r\n",
            "x-frame-options: sameorigin\r\n",
        ] {
            assert!(told.contains(said), "{said}: {told}");
        }
        let (told, status) = curl(web, "/", &[&ask[..], &["Origin: https://evil.test"]].concat());
        assert!(status == 403 && !told.to_lowercase().contains("allow-origin"), "{told}");
        let put = ["--include", version, "--request", "PUT", "--header", page];
        let (told, status) = curl(web, "/", &put);
        assert!(status == 401 && told.to_lowercase().contains("allow-origin"), "{told}");
        let key = format!("X-API-Key: {key}");
        let known = ["--header", &key, "--header", "X-Debug: 1"];
        let (told, status) = curl(web, "/", &[&put[..], &known].concat());
        assert_eq!(status, 200, "{told}");
        let told = told.to_lowercase();
        assert!(told.contains("\r\nx-team: shop\r\n"), "{told}");
        assert!(!told.contains("x-debug") && !told.contains("x-of-server"), "{told}");
    }
    assert_eq!(curl(web, "/", &["--request", "OPTIONS"]).1, 405, "nobody asks before they ask");
    assert_eq!((refused(&before, "preflight"), refused(&before, "origin")), (2, 2));
    before.settles_to(&baseline);
    before.terminate().assert_clean();
}

#[test]
fn an_old_version_says_so_and_is_gone_when_it_is_over() {
    let behind = Telling::mirror();
    let (key, config) = new_key("shop");
    let route = |name: &str, sunset: &str| {
        format!(
            "[[route]]\nname = '{name}'\npath = '/{name}/*'\nservice = 's'\npolicies = ['p']\n\
             [route.version]\nname = '{name}'\ndeprecated = 2024-01-01\nsunset = {sunset}\n\
             successor = '/v9'\nrefuse_after_sunset = true\n"
        )
    };
    let (address, routes) =
        (behind.address, route("v1", "2025-01-01") + &route("v2", "2099-12-31"));
    let before = gateway(&format!(
        "{routes}[[service]]\nname = 's'\nendpoints = ['{address}']\n{SOON}\n\
         [[policy]]\nname = 'p'\n[policy.keys]\nkeys = [{config}]\n"
    ));
    let web = before.tcp("web");
    let header = format!("X-API-Key: {key}");
    let asks = ["--include", "--header", &header];
    let (gone, status) = curl(web, "/v1/a", &asks);
    assert!(status == 410 && gone.contains("This version of the API is gone"), "{gone}");
    let (told, status) = curl(web, "/v2/a", &asks);
    assert_eq!(status, 200, "{told}");
    let told = told.to_lowercase();
    for said in [
        "deprecation: @1704067200\r\n",
        "sunset: thu, 31 dec 2099 00:00:00 gmt\r\n",
        "link: </v9>; rel=\"successor-version\"\r\n",
    ] {
        assert!(told.contains(said), "{said}: {told}");
    }
    assert!(gone.to_lowercase().contains("deprecation: @1704067200"), "{gone}");
    let labels = "route=\"v2\",version=\"v2\",caller=\"shop\"";
    assert_eq!(metric(&before, "staunch_requests_deprecated", labels), 1);
    before.terminate().assert_clean();
}

#[test]
fn another_service_says_who_may_ask() {
    let behind = Telling::mirror();
    let id = Telling::start(|head| {
        let is_known = head.contains("authorization: Basic YQ==");
        let headers =
            if is_known { "X-User: ann\r\n" } else { "WWW-Authenticate: Basic\r\nX-Own: 1\r\n" };
        answer(if is_known { "204 No Content" } else { "401 Unauthorized" }, headers, "")
    });
    let url = format!("http://{}/check", id.address);
    let tables = format!("[policy.forward]\nurl = '{url}'\ncopy = ['x-user']");
    let before = gateway(&policy(behind.address, &tables));
    let (web, baseline) = (before.tcp("web"), before.baseline());
    let claim = ["--include", "--header", "X-User: root", "--header", "Host: shop.test"];
    let known = [&claim[..], &["--header", "Authorization: Basic YQ=="]].concat();
    let (told, status) = curl(web, "/a?b=c", &known);
    assert_eq!(status, 200, "{told}");
    let told = told.to_lowercase();
    assert!(told.contains("\r\nx-user: ann\r\n") && !told.contains("root"), "{told}");
    let (told, status) = curl(web, "/a", &claim);
    assert_eq!(status, 401, "{told}");
    let told = told.to_lowercase();
    assert!(told.contains("www-authenticate: basic") && !told.contains("x-own"), "{told}");
    let first = id.asked.lock().unwrap()[0].to_lowercase();
    for said in [
        "get /check http/1.1\r\n",
        "x-forwarded-method: get\r\n",
        "x-forwarded-uri: /a?b=c\r\n",
        "x-forwarded-host: shop.test\r\n",
        "x-forwarded-for: 127.0.0.1\r\n",
        "x-forwarded-proto: http\r\n",
    ] {
        assert!(first.contains(said), "{said}: {first}");
    }
    // It judges the path that the server gets, in whichever spelling that was said.
    for (turn, path) in ["/%61/b%2fc?d=%61", "//a/b%2Fc?d=%61"].iter().enumerate() {
        assert_eq!(curl(web, path, &known).1, 200, "{path}");
        let judged = id.asked.lock().unwrap()[2 + turn].to_lowercase();
        assert!(judged.contains("x-forwarded-uri: /a/b%2fc?d=%61\r\n"), "{path}: {judged}");
        let got = behind.asked.lock().unwrap()[1 + turn].clone();
        assert!(got.starts_with("GET /a/b%2Fc?d=%61 HTTP/1.1\r\n"), "{path}: {got}");
    }
    drop(id);
    assert_eq!(curl(web, "/a", &known).1, 503, "nobody can say");
    assert_eq!((refused(&before, "forward"), refused(&before, "forward-down")), (1, 1));
    assert_eq!(behind.times(), 3);
    before.settles_to(&baseline);
    before.terminate().assert_clean();
}

/// Over HTTP/2 browsers send each cookie by itself (RFC 9113, 8.2.3); over HTTP/1 there is one line of them.
#[test]
fn who_is_asked_gets_all_cookies_in_one() {
    let behind = Telling::mirror();
    let id = Telling::start(|_| answer("204 No Content", "", ""));
    let tables = format!("[policy.forward]\nurl = 'http://{}/'\nsend = ['cookie']", id.address);
    let before = gateway(&policy(behind.address, &tables));
    let cookies = ["--header", "Cookie: sid=1", "--header", "Cookie: lang=de"];
    for version in VERSIONS {
        let (told, status) = curl(before.tcp("web"), "/", &[&cookies[..], &[version]].concat());
        assert_eq!(status, 200, "{told}");
        let asked = id.asked.lock().unwrap().pop().unwrap().to_lowercase();
        assert!(asked.contains("\r\ncookie: sid=1; lang=de\r\n"), "{version}: {asked}");
    }
    before.terminate().assert_clean();
}

/// Two routes to one server: one for who has a key, below `/admin`, and one for everybody.
fn guarded_and_open(server: SocketAddr, key: &str) -> String {
    let all = "[[route]]\nname = \"open\"\nservice = \"behind\"\n";
    let policy = policy(server, &format!("[policy.keys]\nkeys = [{key}]"));
    all.to_owned() + &policy.replace("name = \"all\"", "name = \"admin\"\npath = \"/admin/*\"")
}

/// Some servers cut off what follows a `;`, or take `%2F` or a backslash for a slash.
#[test]
fn a_path_that_can_be_read_as_a_guarded_one_is_refused() {
    let behind = Telling::mirror();
    let (key, known) = new_key("shop");
    let before = gateway(&guarded_and_open(behind.address, &known));
    let web = before.tcp("web");
    let header = format!("X-Api-Key: {key}");
    for version in VERSIONS {
        let ask = |path: &str, more: &[&str]| {
            curl(web, path, &[&["--path-as-is", version][..], more].concat()).1
        };
        assert_eq!(ask("/admin/users", &[]), 401);
        for path in ["/;/admin/users", "/x;/%61dmin/users", "/admin%2fusers", "/admin%5Cusers"] {
            let expected = if path.starts_with("/x") { 200 } else { 400 };
            assert_eq!(ask(path, &[]), expected, "{version} {path}");
        }
        assert_eq!(ask("/admin;v=1/users", &[]), 401, "it is the guarded one in every reading");
        assert_eq!(ask("/admin/a%2Fb;c", &["--header", &header]), 200);
        assert_eq!(ask("/group%2Frepo;x/y", &[]), 200, "it leads to the same one");
    }
    before.terminate().assert_clean();
}

/// A server believes what says who somebody is, by whichever route it comes.
#[test]
fn nobody_says_by_another_route_who_he_is() {
    let behind = Telling::mirror();
    let (key, known) = new_key("shop");
    let before = gateway(&guarded_and_open(behind.address, &known));
    let web = before.tcp("web");
    let claims = ["--header", "X-Consumer: root", "--header", "X_Consumer: root"];
    let header = format!("X-Api-Key: {key}");
    for version in VERSIONS {
        let ask = [&claims[..], &[version]].concat();
        let (told, status) = curl(web, "/public", &ask);
        assert!(status == 200 && !told.contains("root"), "{version}: {told}");
        let (told, status) = curl(web, "/admin/a", &[&ask[..], &["--header", &header]].concat());
        let told = told.to_lowercase();
        let is_told = told.contains("\r\nx-consumer: shop\r\n") && !told.contains("root");
        assert!(status == 200 && is_told, "{version}: {told}");
    }
    before.terminate().assert_clean();
}

/// What a route sets is not what a client says in another spelling.
#[test]
fn what_is_set_is_set_in_every_spelling() {
    let behind = Telling::mirror();
    let tables = "[policy.headers]\nrequest_set = ['x-team: shop']";
    let before = gateway(&policy(behind.address, tables));
    for version in VERSIONS {
        let said = ["--header", "X_Team: root", "--header", "X-Team: root", version];
        let (told, status) = curl(before.tcp("web"), "/", &said);
        let told = told.to_lowercase();
        let is_set = told.contains("\r\nx-team: shop\r\n") && !told.contains("root");
        assert!(status == 200 && is_set, "{version}: {told}");
    }
    before.terminate().assert_clean();
}

#[test]
fn a_fleet_counts_together_and_does_as_it_is_told_when_it_cannot() {
    let behind = Telling::mirror();
    let mut redis = staunch_harness::RedisServer::start().unwrap();
    let url = redis.url();
    let rate = |down: &str| {
        format!(
            "[policy.rate]\nrequests = 6\nper = '1h'\nredis = '{url}'\nredis_timeout = '2s'\n\
             redis_down = '{down}'"
        )
    };
    let two = ["pass", "refuse"].map(|down| gateway(&policy(behind.address, &rate(down))));
    let ask = |server: &Server| curl(server.tcp("web"), "/", &[]).1;
    let statuses: Vec<u16> = (0..8).map(|turn| ask(&two[turn % 2])).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 429, 429]);
    let (late, _) = curl(two[0].tcp("web"), "/", &["--include"]);
    let late = late.to_lowercase();
    let again = late.lines().find_map(|line| line.strip_prefix("retry-after: "));
    let again: u64 = again.unwrap_or_else(|| panic!("{late}")).parse().unwrap();
    assert!((550..=600).contains(&again), "{again}");
    redis.kill().unwrap();
    assert_eq!(two.each_ref().map(ask), [200, 503], "as each is told");
    assert_eq!(refused(&two[1], "rate-down"), 1);
    for server in two {
        server.terminate().assert_clean();
    }
}

/// A Redis that takes connections and says nothing costs some requests their time, not each.
#[test]
fn a_redis_that_is_stuck_is_asked_seldom() {
    const REQUESTS: usize = 40;
    let behind = Telling::mirror();
    let stuck = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    stuck.set_nonblocking(true).unwrap();
    let url = format!("redis://{}/", stuck.local_addr().unwrap());
    let rate = format!(
        "[policy.rate]\nrequests = 100\nper = '1h'\nredis = '{url}'\nredis_timeout = '200ms'"
    );
    let before = gateway(&policy(behind.address, &rate));
    let mut asked = Vec::new();
    for _ in 0..REQUESTS {
        assert_eq!(curl(before.tcp("web"), "/", &[]).1, 200);
        asked.extend(std::iter::from_fn(|| stuck.accept().ok()));
    }
    assert!((3..REQUESTS).contains(&asked.len()), "{}", asked.len());
    let ended = before.terminate();
    let said = ended.stderr.matches("cannot be counted in Redis").count();
    assert!((1..asked.len()).contains(&said), "once for each core: {}", ended.stderr);
    ended.assert_clean();
}

/// Whoever has no policy pays nothing for it, and has no metrics of it.
#[test]
fn a_route_that_asks_nothing_has_nothing_of_it() {
    let behind = Telling::mirror();
    let routed = policy(behind.address, "").replace("policies = [\"p\"]\n", "");
    let before = gateway(routed.split("[[policy]]").next().unwrap());
    assert_eq!(curl(before.tcp("web"), "/", &[]).1, 200);
    let (_, metrics, _) = before.get("/metrics");
    assert!(!metrics.contains("staunch_requests_refused_total"), "{metrics}");
    before.terminate().assert_clean();
}

#[test]
fn a_key_is_made_for_a_name() {
    let wrong =
        Command::new(env!("CARGO_BIN_EXE_staunch")).args(["key", "My Shop"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    let told = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(told.contains("a name is 1 to 32 of a-z, 0-9 and -"), "{told}");
    let [(one, config), (other, _)] = [new_key("shop"), new_key("shop")];
    assert!(one.len() == 43 && one != other, "{one} {other}");
    assert!(config.starts_with("\"shop: ") && config.len() == 72, "{config}");
}

/// A certificate authority for clients, and what it signs.
pub(crate) struct Authority(rcgen::Issuer<'static, rcgen::KeyPair>, pub(crate) String);

impl Authority {
    pub(crate) fn new() -> Authority {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Authority(rcgen::Issuer::new(params, key), certificate)
    }

    /// A certificate for this name, and its key.
    pub(crate) fn sign(&self, name: &str) -> String {
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        params.signed_by(&key, &self.0).unwrap().pem() + &key.serialize_pem()
    }
}

#[test]
fn who_has_a_certificate_is_known_by_its_name() {
    let behind = Telling::mirror();
    let (ours, others) = (Authority::new(), Authority::new());
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = [
        ("cert.pem", &*cert.pem()),
        ("key.pem", &*signing_key.serialize_pem()),
        ("clients.pem", &*ours.1),
        ("shop.pem", &*ours.sign("shop.internal")),
        ("guest.pem", &*ours.sign("guest.internal")),
        ("stranger.pem", &*others.sign("shop.internal")),
    ];
    let listeners = "[[listener]]\nname = 'echo'\nprotocol = 'echo'\nlisten = '127.0.0.1:0'\n\
                     [[listener]]\nname = 'web'\nprotocol = 'http'\nlisten = '127.0.0.1:0'\n\
                     [listener.tls]\ncertificate = 'cert.pem'\nkey = 'key.pem'\n\
                     client_ca = 'clients.pem'\nclient_auth = 'optional'\n";
    let table =
        "[policy.certificate]\nnames = ['shop.internal']\n[policy.headers]\nsecurity = true";
    let config = format!("{listeners}{}", policy(behind.address, table));
    let before = Server::start_with(&files, &config);
    let (web, baseline) = (before.tcp("web"), before.baseline());
    let url = format!("https://localhost:{}/", web.port());
    let ask = |version: &str, certificate: Option<&str>| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--include", "--max-time", "20", version, "--header"]);
        curl.arg("X-Client-Name: root").arg("--cacert").arg(before.process().path("cert.pem"));
        if let Some(name) = certificate {
            curl.arg("--cert").arg(before.process().path(name));
        }
        let output = curl.arg(&url).output().unwrap();
        String::from_utf8_lossy(&output.stdout).to_lowercase()
    };
    for (version, begins) in [("--http1.1", "http/1.1 "), ("--http2", "http/2 ")] {
        let told = ask(version, Some("shop.pem"));
        assert!(told.starts_with(&format!("{begins}200")), "{told}");
        assert!(told.contains("\r\nx-client-name: shop.internal\r\n"), "{told}");
        assert!(told.contains("strict-transport-security: max-age=31536000\r\n"), "{told}");
        assert!(!told.contains("root"), "{told}");
        let guest = ask(version, Some("guest.pem"));
        assert!(
            guest.starts_with(&format!("{begins}403")) && guest.contains("not known"),
            "{guest}"
        );
        let nobody = ask(version, None);
        assert!(
            nobody.starts_with(&format!("{begins}403")) && nobody.contains("is needed"),
            "{nobody}"
        );
        assert_eq!(ask(version, Some("stranger.pem")), "", "there is no connection");
    }
    assert_eq!((refused(&before, "certificate"), behind.times()), (4, 2));
    before.settles_to(&baseline);
    before.terminate().assert_clean();
}
