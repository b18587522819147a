//! The PROXY protocol, with HAProxy before the gateway and behind it.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    process::Command,
};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use staunch_harness::HaproxyServer;

use crate::{
    eventually,
    gateway::{BEHIND, SOON, service},
    server::Server,
};

/// What says who its client is, behind a header of the PROXY protocol; over TLS on the second port.
fn telling(pem: &str) -> String {
    let frontend = |name: &str, bind: &str| {
        format!(
            "frontend {name}\n  mode http\n  bind 127.0.0.1:{bind}\n  http-request return status 200 \
             content-type text/plain lf-string \"%[src]:%[src_port]\"\n"
        )
    };
    let [plain, secure] = ["{0} accept-proxy", "{1} accept-proxy ssl crt "];
    [frontend("plain", plain), frontend("secure", &format!("{secure}{pem}"))].concat()
}

/// Who the server says that we are, and who we are.
fn who(gateway: &Server, listener: &str) -> (String, String) {
    let mut client = TcpStream::connect(gateway.tcp(listener)).unwrap();
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut told = String::new();
    client.read_to_string(&mut told).unwrap();
    let body = told.rsplit_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    let body = body.unwrap_or_else(|| panic!("{listener}: {told}"));
    (body, client.local_addr().unwrap().to_string())
}

#[test]
fn servers_are_told_whose_connection_it_is() {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let pem = folder.path().join("both.pem");
    std::fs::write(&pem, cert.pem() + &signing_key.serialize_pem()).unwrap();
    let haproxy = HaproxyServer::start(2, &telling(&pem.display().to_string())).unwrap();
    let way = |name: &str, port: u16, more: &str| {
        format!(
            "[[listener]]\nname = '{name}'\nprotocol = 'tcp'\nservice = '{name}'\n\
             listen = '127.0.0.1:0'\n[[service]]\nname = '{name}'\n{SOON}\n\
             endpoints = ['127.0.0.1:{port}']\nhealth = {{ every = '100ms' }}\n{more}\n"
        )
    };
    let tls = "[service.tls]\nca = 'ca.pem'\nserver_name = 'localhost'";
    let config = [
        "[[listener]]\nname = 'echo'\nprotocol = 'echo'\nlisten = '127.0.0.1:0'\n".to_owned(),
        way("v1", haproxy.port(0), "proxy_protocol = 'v1'"),
        way("v2", haproxy.port(0), "proxy_protocol = 'v2'"),
        way("tls-v1", haproxy.port(1), &format!("proxy_protocol = 'v1'\n{tls}")),
        way("tls-v2", haproxy.port(1), &format!("proxy_protocol = 'v2'\n{tls}")),
    ];
    let gateway = Server::start_with(&[("ca.pem", &*cert.pem())], &config.concat());
    for listener in ["v1", "v2", "tls-v1", "tls-v2"] {
        let (told, own) = who(&gateway, listener);
        assert_eq!(told, own, "{listener}");
    }
    gateway.terminate().assert_clean();
}

#[test]
fn a_client_is_who_the_balancer_before_us_says() {
    let behind = Server::start(BEHIND);
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = [("cert.pem", &*cert.pem()), ("key.pem", &*signing_key.serialize_pem())];
    let from = "proxy_protocol_from = ['127.0.0.1']";
    let tls = "[listener.tls]\ncertificate = 'cert.pem'\nkey = 'key.pem'";
    let listener = |name: &str, protocol: &str, more: &str| {
        format!(
            "[[listener]]\nname = '{name}'\nprotocol = '{protocol}'\nlisten = '127.0.0.1:0'\n{more}\n"
        )
    };
    let config = [
        "[access_log]\nto = 'access.log'\n".to_owned(),
        listener("echo", "echo", ""),
        listener("web", "http", from),
        listener("tls", "http", &format!("{from}\n{tls}")),
        service(behind.tcp("demo"), ""),
    ];
    let gateway = Server::start_with(&files, &config.concat());
    let [web, secure] = ["web", "tls"].map(|name| gateway.tcp(name).port());
    let haproxy = |port: u16, send: &str, index: usize| {
        format!(
            "listen l{index}\n  mode tcp\n  bind 127.0.0.1:{{{index}}}\n  \
             server s 127.0.0.1:{port} {send}\n"
        )
    };
    let sections = [
        haproxy(web, "send-proxy", 0),
        haproxy(web, "send-proxy-v2", 1),
        haproxy(secure, "send-proxy-v2", 2),
    ];
    let balancer = HaproxyServer::start(3, &sections.concat()).unwrap();
    let asked = [("http", 0, "127.0.0.5"), ("http", 1, "127.0.0.6"), ("https", 2, "127.0.0.7")];
    for (scheme, port, from) in asked {
        let url = format!("{scheme}://localhost:{}/hello", balancer.port(port));
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--ipv4", "--insecure", "--max-time", "20", "--interface", from]);
        let output = curl.arg(url).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "Hello.\n", "{scheme} {from}");
    }
    let path = gateway.process().path("access.log");
    eventually("all clients in the log", || {
        let log = std::fs::read_to_string(&path).unwrap_or_default();
        let is_there = |(_, _, from): &(&str, usize, &str)| {
            log.contains(&format!("\"client\":\"{from}\",\"method\":\"GET\""))
        };
        if asked.iter().all(is_there) { Ok(()) } else { Err(log) }
    });
    // Whoever is believed must say it.
    let mut direct = TcpStream::connect(gateway.tcp("web")).unwrap();
    direct.write_all(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut heard = Vec::new();
    let ended = direct.read_to_end(&mut heard);
    assert!(ended.is_err() && heard.is_empty(), "{ended:?} {heard:?}");
    // Whoever is not, is who they are.
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--max-time", "20", "--interface", "127.0.0.9"]);
    let output = curl.arg(format!("http://127.0.0.1:{web}/hello")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Hello.\n");
    drop(balancer);
    gateway.terminate().assert_clean();
    behind.terminate().assert_clean();
}

/// The gateway's, and those that it is not.
#[test]
fn each_listener_counts_whom_it_lets_in() {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = [("cert.pem", &*cert.pem()), ("key.pem", &*signing_key.serialize_pem())];
    let listener = |name: &str, protocol: &str, more: &str| {
        format!(
            "[[listener]]\nname = '{name}'\nprotocol = '{protocol}'\nlisten = '127.0.0.1:0'\n{more}\n"
        )
    };
    let from = "proxy_protocol_from = ['127.0.0.1']";
    let tls = "[listener.tls]\ncertificate = 'cert.pem'\nkey = 'key.pem'";
    let config = [
        listener("echo", "echo", tls),
        listener("demo", "demo", ""),
        listener("web", "http", from),
        listener("raw", "tcp", &format!("service = 's'\n{from}")),
        format!("[[service]]\nname = 's'\n{SOON}\nendpoints = ['127.0.0.1:1']\n"),
        "[[route]]\nname = 'r'\nservice = 's'\n".to_owned(),
    ];
    let gateway = Server::start_with(&files, &config.concat());
    for name in ["echo", "demo", "web", "raw"] {
        let mut client = TcpStream::connect(gateway.tcp(name)).unwrap();
        client.write_all(b"GET /hello HTTP/1.0\r\n\r\n").unwrap();
        let _ = client.read_to_end(&mut Vec::new()); // however it ends
    }
    let metrics = gateway.get("/metrics").1;
    let mut expected = vec![
        "staunch_tls_handshakes_failed_total{listener=\"echo\",reason=\"not-tls\"} 1".to_owned(),
    ];
    for name in ["echo", "demo", "web", "raw"] {
        expected.push(format!("staunch_connections_accepted_total{{listener=\"{name}\"}} 1"));
        let refused = u8::from(matches!(name, "web" | "raw"));
        expected.push(format!(
            "staunch_connections_refused_total{{listener=\"{name}\",reason=\"proxy-protocol\"}} {refused}"
        ));
    }
    for line in expected {
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }
    gateway.terminate().assert_clean();
}
