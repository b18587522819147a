//! What a file means that leaves keys out, and the embedded default.

use std::collections::BTreeSet;
use std::num::{NonZeroU8, NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use staunch_config::{
    Config, Linger, Listener, LogFormat, StreamAddress, StreamLimits, StreamListener,
};

/// Parses `text`, in which nothing is wrong.
#[track_caller]
fn parse(text: &str) -> Config {
    Config::parse("/etc/staunch/t.toml", text).unwrap_or_else(|errors| panic!("{errors:#}"))
}

/// A stream listener with `rest` below its required keys.
fn stream(rest: &str) -> String {
    format!("[[listener]]\nname = \"a\"\nprotocol = \"demo\"\nlisten = \"127.0.0.1:1\"\n{rest}")
}

/// The only listener of `text`.
#[track_caller]
fn only_stream(text: &str) -> StreamListener {
    match parse(text).listeners.pop() {
        Some(Listener::Stream(listener)) => listener,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_embedded_default_shows_the_defaults() {
    let shortest = r#"
        [[listener]]
        name = "echo"
        protocol = "echo"
        listen = "127.0.0.1:9100"
        [[listener]]
        name = "udp-echo"
        protocol = "udp-echo"
        listen = "127.0.0.1:9101"
        [[listener]]
        name = "demo"
        protocol = "demo"
        listen = "127.0.0.1:8082"
        [[listener]]
        name = "bank"
        protocol = "bank"
        listen = "127.0.0.1:8081"
        [[listener]]
        name = "gateway"
        protocol = "http"
        listen = "127.0.0.1:8080"
        [[listener]]
        name = "lines"
        protocol = "tcp"
        listen = "127.0.0.1:9000"
        service = "echo"
        [[listener]]
        name = "datagrams"
        protocol = "udp"
        listen = "127.0.0.1:9001"
        service = "udp-echo"
        [[route]]
        name = "bank"
        listeners = ["gateway"]
        path = "/v2/*"
        service = "bank"
        [[route]]
        name = "old-bank"
        listeners = ["gateway"]
        path = "/v1/*"
        service = "bank"
        [[route]]
        name = "bank-api"
        listeners = ["gateway"]
        path = "/openapi.json"
        service = "bank"
        [[route]]
        name = "demo"
        listeners = ["gateway"]
        service = "demo"
        body = "4GiB"
        [[service]]
        name = "bank"
        endpoints = ["127.0.0.1:8081"]
        health = { path = "/readyz" }
        [[service]]
        name = "demo"
        endpoints = ["127.0.0.1:8082"]
        [[service]]
        name = "echo"
        endpoints = ["127.0.0.1:9100"]
        [[service]]
        name = "udp-echo"
        endpoints = ["127.0.0.1:9101"]
    "#;
    assert_eq!(parse(Config::default_text()), parse(shortest));
}

#[test]
fn the_defaults_are_those_documented() {
    let config = parse(Config::default_text());
    let admin = config.admin.unwrap();
    assert_eq!((admin.listen.to_string().as_str(), admin.token_file), ("127.0.0.1:6060", None));
    assert_eq!((config.log.format, config.log.level.as_str()), (LogFormat::Text, "info"));
    assert_eq!(config.runtime.workers, std::thread::available_parallelism().unwrap());
    assert_eq!(config.drain.grace, Duration::from_secs(10));
    assert_eq!((config.memory.buffers.get(), config.memory.bodies.get()), (64 << 20, 64 << 20));
    assert_eq!(config.patrol.every, Duration::from_secs(10));
    let guard = config.guard.unwrap();
    let marks = [guard.marks.warn, guard.marks.shed, guard.marks.refuse].map(NonZeroU8::get);
    assert_eq!((guard.every, marks), (Duration::from_millis(50), [75, 90, 95]));
    assert_eq!((guard.memory, guard.growth.get()), (None, 10_000_000));
    assert_eq!(guard.growth_window, Duration::from_secs(10));

    let [Listener::Stream(echo), Listener::Datagram(udp), ..] = &config.listeners[..] else {
        panic!("{:?}", config.listeners)
    };
    assert_eq!((echo.backlog.get(), echo.reuse_port, &echo.tls), (1024, false, &None));
    let expected = StreamLimits {
        connections: NonZeroUsize::new(10_000),
        connections_per_ip: NonZeroUsize::new(1_000),
        handshake: Some(Duration::from_secs(10)),
        first_byte: Some(Duration::from_secs(10)),
        idle: Some(Duration::from_secs(75)),
        lifetime: Some(Duration::from_hours(24)),
        read_stall: Some(Duration::from_secs(30)),
        message: Some(Duration::from_mins(1)),
        half_close: Some(Duration::from_secs(30)),
        write_stall: Some(Duration::from_secs(30)),
        min_send_rate: NonZeroU64::new(16),
        buffer: NonZeroUsize::new(16_384).unwrap(),
    };
    assert_eq!(echo.limits, expected);
    assert!(echo.socket.nodelay);
    assert_eq!(echo.socket.keepalive, Some(Duration::from_mins(1)));
    assert_eq!((echo.socket.user_timeout, echo.socket.linger), (None, Linger::Off));
    assert_eq!(echo.socket.notsent_lowat, NonZeroU32::new(131_072));
    assert_eq!(udp.limits.datagram.get(), 1_472);
    assert_eq!(udp.limits.peers, NonZeroUsize::new(10_000));
    assert_eq!(udp.limits.peer_idle, Duration::from_mins(2));
}

/// A key that is not set in the default is shown as `#key = value`.
#[test]
fn the_default_also_parses_with_every_key_set() {
    let set = |line: &'static str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') => rest,
        _ => line,
    };
    let text: Vec<_> = Config::default_text().lines().map(set).collect();
    let config = parse(&text.join("\n"));
    assert_eq!(config.admin.unwrap().token_file, Some("/etc/staunch/admin.token".into()));
    assert_eq!(config.runtime.workers.get(), 2);
    let Listener::Stream(echo) = &config.listeners[0] else { panic!() };
    assert_eq!(echo.tls.as_ref().unwrap().reload, Duration::from_secs(30));
}

/// The allowed keys of every table, as the message about an unknown one lists them.
#[test]
fn the_default_names_every_key() {
    let tables = "[admin]\n?\n[log]\n?\n[access_log]\n?\n[runtime]\n?\n[drain]\n?\n[memory]\n?\n[guard]\n?\n";
    let echo = "?\n[listener.limits]\n?\n[listener.socket]\n?\n[listener.tls]\n?\n";
    let udp = "[[listener]]\nname='b'\nprotocol='udp-echo'\nlisten='127.0.0.1:2'\n\
               [listener.limits]\n?\n";
    let routed = "[[listener]]\nname='c'\nprotocol='tcp'\nlisten='127.0.0.1:3'\nservice='s'\n?\n\
                  [[route]]\nname='r'\nservice='s'\n?\n[[service]]\nname='s'\n\
                  endpoints=['a:1']\n?\n[service.pool]\n?\n[service.timeouts]\n?\n\
                  [service.retry]\n?\n[service.health]\n?\n[service.tls]\n?\n[service.outliers]\n?\n\
                  [service.discovery]\n?\n";
    let sources = ["file='f'", "dns='a:1'", "etcd=['http://a:1']", "consul='http://a:1'"];
    let found = sources.map(|source| {
        format!("[[service]]\nname='{}'\n[service.discovery]\n{source}\n?\n", &source[..3])
    });
    let routed = format!("{routed}{}", found.concat());
    let policy = "[[route]]\nname='p'\nservice='s'\npolicies=['p']\n[route.version]\nname='1'\n?\n\
                  [[policy]]\nname='p'\n?\n[policy.clients]\n?\n[policy.keys]\n?\n[policy.certificate]\n?\n\
                  [policy.jwt]\n?\n[policy.forward]\n?\n[policy.rate]\nredis='redis://a'\n?\n\
                  [policy.cors]\n?\n[policy.headers]\n?\n";
    let text = format!("{tables}{}{udp}{routed}{policy}", stream(echo)).replace('?', "zzzzzz = 1");
    let errors = Config::parse("t", &text).unwrap_err();
    let mut keys = BTreeSet::new();
    for error in errors.iter().filter(|error| error.key().ends_with("zzzzzz")) {
        let (_, list) = error.message().split_once(": allowed are ").unwrap();
        keys.extend(list.split(", ").map(|key| key.trim_matches('`').to_owned()));
    }
    assert!(keys.len() > 100, "{keys:?}");
    let shown: BTreeSet<_> = Config::default_text()
        .lines()
        .map(|line| line.trim_start_matches('#'))
        .filter_map(|line| {
            line.split_once(" = ").map(|(key, _)| key).or_else(|| {
                let table = line.strip_prefix('[').and_then(|table| table.strip_suffix(']'))?;
                table.split_once('.').map(|(_, table)| table)
            })
        })
        .map(str::to_owned)
        .collect();
    let missing: Vec<_> = keys.difference(&shown).collect();
    assert!(missing.is_empty(), "not in default.toml: {missing:?}");
}

#[test]
fn unlimited_and_off_are_words() {
    let text = stream(
        r#"
        [listener.limits]
        connections = "unlimited"
        connections_per_ip = "unlimited"
        first_byte = "unlimited"
        idle = "unlimited"
        lifetime = "unlimited"
        read_stall = "unlimited"
        half_close = "unlimited"
        write_stall = "unlimited"
        min_send_rate = "0B"
        [listener.socket]
        keepalive = "off"
        user_timeout = "5s"
        linger = "0s"
        notsent_lowat = "off"
        "#,
    );
    let StreamListener { limits, socket, .. } = only_stream(&text);
    let unlimited = StreamLimits {
        connections: None,
        connections_per_ip: None,
        handshake: limits.handshake,
        first_byte: None,
        idle: None,
        lifetime: None,
        read_stall: None,
        message: limits.message,
        half_close: None,
        write_stall: None,
        min_send_rate: None,
        buffer: limits.buffer,
    };
    assert_eq!(limits, unlimited);
    assert_eq!((socket.keepalive, socket.linger), (None, Linger::Reset));
    assert_eq!((socket.user_timeout, socket.notsent_lowat), (Some(Duration::from_secs(5)), None));
    let tls = "limits = { handshake = \"unlimited\" }\ntls = { certificate = \"c\", key = \"k\" }";
    assert_eq!(only_stream(&stream(tls)).limits.handshake, None);
}

#[test]
fn the_default_of_a_lower_limit_gives_way() {
    let text = stream("limits = { connections = 10, lifetime = \"5s\", idle = \"1s\" }");
    let limits = only_stream(&text).limits;
    assert_eq!(limits.connections_per_ip, NonZeroUsize::new(10));
    assert_eq!(limits.idle, Some(Duration::from_secs(1)));
    let five_seconds = Some(Duration::from_secs(5));
    assert_eq!([limits.read_stall, limits.first_byte, limits.write_stall], [five_seconds; 3]);
}

#[test]
fn paths_start_from_the_folder_of_the_file() {
    let tls = "[listener.tls]\ncertificate = \"cert.pem\"\nkey = \"/run/key.pem\"\n";
    let tls = only_stream(&stream(tls)).tls.unwrap();
    assert_eq!(tls.certificate, Path::new("/etc/staunch/cert.pem"));
    assert_eq!(tls.key, Path::new("/run/key.pem"));
    assert_eq!(tls.alpn, ["h2", "http/1.1"]);

    let text = stream("").replace("127.0.0.1:1", "unix:run/a.sock");
    let expected = StreamAddress::Unix(PathBuf::from("/etc/staunch/run/a.sock"));
    assert_eq!(only_stream(&text).listen, expected);
}

#[test]
fn the_admin_endpoint_can_be_off() {
    let config =
        parse(&format!("[admin]\nenabled = false\nlisten = \"1.2.3.4:1\"\n{}", stream("")));
    assert_eq!(config.admin, None);
}

#[test]
fn log_directives_are_taken_as_they_are() {
    for level in ["off", "DEBUG", "info,staunch_net=debug", "warn,[conn{peer=\"1.2\"}]=trace"] {
        let config = parse(&format!("log.level = '{level}'\n{}", stream("")));
        assert_eq!(config.log.level.as_str(), level);
    }
}

#[test]
fn a_file_is_loaded_as_its_text_is_parsed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.toml");
    std::fs::write(&path, Config::default_text()).unwrap();
    assert_eq!(Config::load(&path).unwrap(), parse(Config::default_text()));

    std::fs::write(&path, "[admin]\nlisen = 1\n").unwrap();
    let message = Config::load(&path).unwrap_err().to_string();
    assert!(message.contains(&format!("{}:2:1: unknown key `lisen`", path.display())), "{message}");
}

/// `docs/reference/config.md` is `staunch config reference`.
#[test]
fn the_reference_is_that_of_the_default() {
    let written = include_str!("../../../../docs/reference/config.md");
    let is_made = written == Config::reference();
    assert!(is_made, "write it anew: staunch config reference > docs/reference/config.md");
}
