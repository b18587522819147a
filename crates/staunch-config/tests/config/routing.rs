//! Routes and services: what they mean, and what is a mistake.

use std::time::Duration;

use staunch_config::{Balance, EndpointAddress, UpstreamProtocol};

use crate::{check_parts as check, parse};

const WEB: &str = "[[listener]]\nname = 'web'\nprotocol = 'http'\nlisten = '127.0.0.1:1'\n";
const SERVICE: &str = "[[service]]\nname = 's'\nendpoints = ['a:1']\n";

fn route(keys: &str) -> String {
    format!("{WEB}{SERVICE}[[route]]\nname = 'r'\nservice = 's'\n{keys}")
}

#[test]
fn a_route_and_a_service_need_little() {
    let config = parse(&route(""));
    let (route, service) = (&config.routes[0], &config.services[0]);
    assert_eq!((route.path.to_string().as_str(), route.body.get()), ("/*", 1 << 20));
    assert_eq!(route.timeout, Some(Duration::from_secs(30)));
    assert_eq!(
        (service.balance, service.protocol),
        (Balance::LeastRequests, UpstreamProtocol::Http1)
    );
    assert_eq!(service.endpoints[0].address, EndpointAddress::Tcp("a:1".to_owned()));
    assert_eq!((service.pool.connections.get(), service.pool.idle), (1024, 64));
    assert_eq!((service.retry.tries.get(), service.retry.budget), (2, 20));
    assert_eq!((service.health.as_ref(), service.outliers.failures), (None, 5));
}

#[test]
fn servers_have_an_address_and_perhaps_a_weight() {
    let servers =
        |list: &str| parse(&route("").replace("['a:1']", list)).services[0].endpoints.clone();
    let three = servers("['10.0.0.1:80 weight=7', 'unix:run/s', '[::1]:8080']");
    let names: Vec<_> = three.iter().map(|server| server.address.to_string()).collect();
    assert_eq!(names, ["10.0.0.1:80", "unix:/etc/run/s", "[::1]:8080"]);
    assert_eq!(three.iter().map(|server| server.weight.get()).collect::<Vec<_>>(), [7, 1, 1]);
    for bad in ["a", "a:0", "a:65536", "unix:", "http://a:1", "a:1 weight=0", "a:1 weight=1001", ""]
    {
        let text = route("").replace("['a:1']", &format!("['{bad}']"));
        check(&text, &[&format!("`{bad}` is no server")]);
    }
    check(&route("").replace("['a:1']", "[]"), &["must name 1 to 1000 servers"]);
    check(&route("").replace("['a:1']", "['a:1', 'a:1']"), &["`a:1` is there twice"]);
    check(&route("").replace("['a:1']", "[1]"), &["must be a list of servers"]);
}

#[test]
fn every_value_is_looked_at() {
    check(&route("path = 'a'"), &["must begin with `/`"]);
    check(&route("path = '/a/{b'"), &["must have braces around a whole segment"]);
    check(&route("hosts = ['a:80']"), &["`a:80` must be a host"]);
    check(&route("hosts = 'a'"), &["must be a list of hosts"]);
    check(&route("methods = ['get']"), &["`get` must be a method in capitals"]);
    check(&route("headers = ['a b']"), &["`a b` must be the name of a header"]);
    check(&route("path = '/a'\nstrip_prefix = true"), &["`path` has no `/*` at its end"]);
    check(
        &route("path = '/a/*'\nstrip_prefix = true\nreplace_prefix = '/b'"),
        &["must not be written beside strip_prefix = true"],
    );
    check(&route("path = '/a/*'\nreplace_prefix = '/b/'"), &["without a slash at its end"]);
    check(&route("upstream_host = 'a/b'"), &["must be a host such as"]);
    check(&route("timeout = '0s'"), &["must be a duration from 1ms to 24h"]);
    assert_eq!(parse(&route("timeout = 'unlimited'")).routes[0].timeout, None);
    check(&route("body = '0B'"), &["must be a size from 1B"]);
    check(&route("").replace("['a:1']", "['a:1']\nbalance = 'random'"), &["must be one of"]);
}

#[test]
fn names_must_be_there() {
    check(
        &route("").replace("service = 's'", "service = 'S'"),
        &[
            "service \"s\" is not used",
            "route \"r\" goes to service \"S\", which there is not: did you mean `s`?",
        ],
    );
    check(
        &format!("{WEB}{SERVICE}"),
        &["listener \"web\" has no route", "service \"s\" is not used"],
    );
    check(
        &route("listeners = ['wbe']"),
        &[
            "listener \"web\" has no route",
            "route \"r\" is on listener \"wbe\", which is no `http` listener: there are web",
        ],
    );
    let tcp = WEB.replace("'http'", "'tcp'\nservice = 'x'");
    check(
        &tcp,
        &["listener \"web\" goes to service \"x\", which there is not: write a [[service]]"],
    );
    check(&WEB.replace("'http'", "'tcp'"), &["`service` is missing in [[listener]] \"web\""]);
    check(&route("").replace("'http'", "'http'\nservice = 's'"), &["is said by a [[route]]"]);
    let demo = route("").replace("'http'", "'demo'");
    check(&demo, &["route \"r\" is on no listener"]);
}

/// Nobody mends one mistake to be told of the next.
#[test]
fn names_are_looked_up_beside_other_mistakes() {
    check(
        &route("policies = ['p']").replace("service = 's'", "service = 'S'").replace("a:1", "a"),
        &[
            "service \"s\" is not used",
            "is no server: it has no port",
            "route \"r\" goes to service \"S\", which there is not: did you mean `s`?",
            "route \"r\" has policy \"p\", which there is not: write a [[policy]]",
        ],
    );
}

/// Who has a name that cannot be read may be the one that is looked for.
#[test]
fn a_name_that_cannot_be_read_is_one_mistake() {
    let whole = route("");
    let with = |from: &str, to: &str| {
        assert!(whole.contains(from), "{from}: {whole}");
        whole.replacen(from, to, 1)
    };
    check(&with("[[service]]\nname = 's'", "[[service]]\nname = s"), &["a text needs quotes"]);
    check(&with("[[service]]\nname = 's'", "[[service]]\nnme = 's'"), &["did you mean `name`?"]);
    check(&with("service = 's'", "sevice = 's'"), &["did you mean `service`?"]);
    check(&with("[[service]]", "[service]"), &["must be an array of tables"]);
    check(&with("[[route]]", "[route]"), &["must be an array of tables"]);
    let refused = with("'http'", "'http'\nservice = 'other'");
    check(&refused, &["is said by a [[route]]"]);
}

#[test]
fn of_a_route_with_a_mistake_nobody_knows_what_it_is_for() {
    let one = |name, keys| format!("[[route]]\nname = '{name}'\nservice = 's'\n{keys}\n");
    for (keys, mistake) in [
        ("path = '/api*'", "after the last slash, as in `/files/*`"),
        ("pth = '/api/*'", "unknown key `pth`"),
        ("hosts = ['a b']", "`hosts` in [[route]]"),
    ] {
        check(&format!("{WEB}{SERVICE}{}{}", one("a", ""), one("b", keys)), &[mistake]);
    }
}

#[test]
fn two_routes_for_the_same_requests_are_a_mistake() {
    let two = |a: &str, b: &str| {
        let one = |name, keys| format!("[[route]]\nname = '{name}'\nservice = 's'\n{keys}\n");
        format!("{WEB}{SERVICE}{}{}", one("a", a), one("b", b))
    };
    let clash = "route \"b\" and route \"a\" (line 9) are for the same requests";
    for (a, b) in [
        ("", ""),
        ("path = '/a/{x}'", "path = '/a/{y}'"),
        ("hosts = ['a.test', 'b.test']", "hosts = ['B.test']"),
        ("methods = ['GET', 'PUT']", "methods = ['PUT']"),
        ("headers = ['a']", "headers = ['b: 1']"),
    ] {
        check(&two(a, b), &[clash]);
    }
    for (a, b) in [
        ("path = '/a'", "path = '/a/'"),
        ("path = '/a/*'", "path = '/a'"),
        ("hosts = ['a.test']", ""),
        ("methods = ['GET']", "methods = ['PUT']"),
        ("methods = ['GET']", ""),
        ("headers = ['a: 1']", "headers = ['a: 2']"),
        ("headers = ['a']", "headers = ['a', 'b']"),
    ] {
        parse(&two(a, b));
    }
}

#[test]
fn tls_to_servers_needs_a_name_and_a_whole_identity() {
    let tls = |keys: &str| route("").replace("['a:1']", &format!("['a:1']\n[service.tls]\n{keys}"));
    let service = parse(&tls("ca = 'ca.pem'\nserver_name = '[::1]'")).services.remove(0);
    let found = service.tls.unwrap();
    assert_eq!(found.ca.unwrap(), std::path::Path::new("/etc/ca.pem"));
    assert_eq!((found.server_name.as_deref(), found.identity), (Some("[::1]"), None));
    check(
        &tls("server_name = '*.a'"),
        &["`server_name` in [service.tls] of \"s\" is \"*.a\": must be the name of a host"],
    );
    check(&tls("certificate = 'c.pem'"), &["`key` is missing in [service.tls]"]);
    let unix = tls("").replace("'a:1'", "'unix:/s'");
    check(&unix, &["must not be there with servers on Unix sockets"]);
}

#[test]
fn the_proxy_protocol_is_for_whole_connections() {
    let by_route = route("").replace("['a:1']", "['a:1']\nproxy_protocol = 'v1'");
    check(
        &by_route,
        &["service \"s\" has `proxy_protocol`, which says for whom a whole connection is"],
    );
    let listener = |protocol: &str, listen: &str, more: &str| {
        format!("[[listener]]\nname = 'l'\nprotocol = '{protocol}'\nlisten = '{listen}'\n{more}\n")
    };
    let of_service = format!("{SERVICE}proxy_protocol = 'v2'\n");
    parse(&(listener("tcp", "127.0.0.1:1", "service = 's'") + &of_service));
    let by_udp = listener("udp", "127.0.0.1:1", "service = 's'") + &of_service;
    check(&by_udp, &["only `tcp` listeners can use it"]);
    let of_datagrams = listener("udp", "127.0.0.1:1", "service = 's'") + SERVICE;
    parse(&of_datagrams);
    check(&(of_datagrams.clone() + "[service.tls]\n"), &["which no `udp` listener can use"]);
    let unix = of_datagrams.replace("['a:1']", "['unix:/s']");
    check(&unix, &["service \"s\" has unix:/s, which no `udp` listener can send to"]);
    let from = "proxy_protocol_from = ['10.0.0.0/8']\nlimits = { handshake = '1s' }";
    check(&listener("echo", "127.0.0.1:1", from), &["only `http` and `tcp` listeners"]);
    let unix = listener("tcp", "unix:/s", &format!("service = 's'\n{from}")) + SERVICE;
    check(&unix, &["who uses a Unix socket has no IP address"]);
    let nobody =
        listener("tcp", "127.0.0.1:1", "service = 's'\nproxy_protocol_from = ['a']") + SERVICE;
    check(&nobody, &["`proxy_protocol_from` in [[listener]]"]);
}
