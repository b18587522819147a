//! HTTP/1 proxies: what handing a request on costs.
//!
//! Behind all of them is one nginx, which has the answer in memory. Every proxy keeps connections
//! to it, logs no request, and may use both cores. What Staunch has switched on is what `staunch
//! run` has: ledger, limits, watchdog, counts, trace context.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use super::echo::{CPU, P50, P99, THROUGHPUT, seconds_per_million};
use super::record::{Metric, Record};
use super::subject::{self, Place, write};
use super::{Args, http, live};
use crate::server::Server;

const CONNECTIONS: u32 = 64;

/// What is asked for, how often, and what it is called.
const SMALL: Load = Load { path: "/small", requests: 100_000, case: "1 KiB, 64 connections" };
const LARGE: Load = Load { path: "/large", requests: 4_000, case: "1 MiB, 64 connections" };

struct Load {
    path: &'static str,
    requests: u32,
    case: &'static str,
}

pub(super) fn run(args: &Args, record: &mut Record) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("requests");
    let behind = subject::start_behind(folder.path(), CONNECTIONS)?;
    let address = Some(behind.address());
    let servers = live::start_before(address, args, subject::PROXIES, folder.path(), CONNECTIONS)?;
    let cases = [SMALL.case, LARGE.case];
    live::measure(args, record, &servers, &cases, |server, case| {
        measure(server, if case == SMALL.case { &SMALL } else { &LARGE }, &log)
    })?;
    live::stop(servers)?;
    live::stop(vec![("behind", behind)])
}

fn measure(server: &Server, load: &Load, log: &Path) -> anyhow::Result<Vec<(Metric, f64)>> {
    let before = server.cpu_time()?;
    let said = run_load(server, load, log)?;
    let cpu = server.cpu_time()?.saturating_sub(before);
    let times = http::times(&fs::read_to_string(log)?)?;
    fs::remove_file(log)?; // h2load appends
    Ok(vec![
        (CPU, seconds_per_million(cpu, f64::from(load.requests))),
        (THROUGHPUT, http::throughput(&said)?),
        (P50, times[times.len() / 2]),
        (P99, times[times.len() * 99 / 100]),
    ])
}

fn run_load(server: &Server, load: &Load, log: &Path) -> anyhow::Result<String> {
    let Load { path, requests, .. } = load;
    let output = Command::new("h2load")
        .args(["--h1", "--clients", &CONNECTIONS.to_string()])
        .args(["--requests", &requests.to_string()])
        .arg(format!("--log-file={}", log.display()))
        .arg(format!("http://{}{path}", server.address()))
        .output()
        .context("cannot start h2load (Debian's nghttp2-client)")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let all = format!("{requests} succeeded, 0 failed, 0 errored, 0 timeout");
    let good = format!("status codes: {requests} 2xx");
    if !output.status.success() || !said.contains(&all) || !said.contains(&good) {
        bail!("h2load did not get {requests} answers; it said:\n{said}");
    }
    Ok(said)
}

/// nginx with both answers as files, which the kernel has in memory.
pub(super) fn behind(place: &Place) -> anyhow::Result<Vec<String>> {
    for (name, bytes) in [("small", 1 << 10), ("large", 1 << 20), ("download", 10 << 20)] {
        File::create(place.folder.join(name))?.set_len(bytes)?;
    }
    let Place { folder, address, .. } = place;
    let server = format!(
        "keepalive_requests 1000000000; sendfile on; tcp_nopush on;
         server {{ listen {address} backlog=1024; location / {{ root {}; }} }}",
        folder.display()
    );
    nginx_command(place, 1, &server)
}

pub(super) fn nginx(place: &Place) -> anyhow::Result<Vec<String>> {
    nginx_proxy(place, "")
}

pub(super) fn nginx_unbuffered(place: &Place) -> anyhow::Result<Vec<String>> {
    nginx_proxy(place, "proxy_buffering off;")
}

fn nginx_proxy(place: &Place, more: &str) -> anyhow::Result<Vec<String>> {
    let (address, behind) = (place.address, place.behind()?);
    let server = format!(
        "keepalive_requests 1000000000;
         upstream behind {{ server {behind}; keepalive 64; keepalive_requests 1000000000; }}
         server {{
            listen {address} backlog=1024 reuseport;
            location / {{
                proxy_pass http://behind;
                proxy_http_version 1.1;
                proxy_set_header Connection \"\";
                {more}
                proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            }}
         }}"
    );
    nginx_command(place, 2, &server)
}

fn nginx_command(place: &Place, workers: u32, server: &str) -> anyhow::Result<Vec<String>> {
    let folder = place.folder.display();
    let port = place.address.port();
    let slots = (2 * place.connections + 200).max(4096);
    let text = format!(
        "daemon off;
worker_processes {workers};
pid {folder}/nginx-{port}.pid;
error_log stderr;
events {{ worker_connections {slots}; }}
http {{
    access_log off;
    keepalive_timeout 600s;
    client_body_temp_path {folder}/body-{port};
    proxy_temp_path {folder}/proxy-{port};
    fastcgi_temp_path {folder}/fastcgi-{port};
    uwsgi_temp_path {folder}/uwsgi-{port};
    scgi_temp_path {folder}/scgi-{port};
    {server}
}}
"
    );
    let file = write(place, &format!("nginx-{port}.conf"), &text)?;
    Ok(["-p", &folder.to_string(), "-c", &file.display().to_string()].map(str::to_owned).into())
}

/// Of those that are told no more than where to listen and whom to ask.
pub(super) fn addresses(place: &Place) -> anyhow::Result<Vec<String>> {
    Ok(vec![place.address.to_string(), place.behind()?.to_string()])
}

pub(super) fn haproxy(place: &Place) -> anyhow::Result<Vec<String>> {
    let (address, behind) = (place.address, place.behind()?);
    let most = (place.connections + 100).max(4096);
    // It would ask for two descriptors for each connection, more than it may have with many idle
    // ones, which need one.
    let files = most + 4096;
    let text = format!(
        "global
    nbthread 2
    maxconn {most}
    ulimit-n {files}
defaults
    mode http
    timeout connect 5s
    timeout client 75s
    timeout server 30s
    option forwardfor
    option abortonclose
    http-reuse always
frontend front
    bind {address}
    default_backend back
backend back
    server one {behind} pool-max-conn 64
"
    );
    let file = write(place, "haproxy.cfg", &text)?;
    Ok(["-db", "-f", &file.display().to_string()].map(str::to_owned).into())
}

pub(super) fn caddy(place: &Place) -> anyhow::Result<Vec<String>> {
    let (address, behind) = (place.address, place.behind()?);
    let text = format!(
        "{{
    admin off
    auto_https off
    log {{
        level ERROR
    }}
}}
http://:{port} {{
    bind {host}
    reverse_proxy {behind}
}}
",
        host = address.ip(),
        port = address.port(),
    );
    let file = write(place, "Caddyfile", &text)?;
    let file = file.display().to_string();
    Ok(["run", "--config", &file, "--adapter", "caddyfile"].map(str::to_owned).into())
}

pub(super) fn staunch(place: &Place) -> anyhow::Result<Vec<String>> {
    let Place { address, admin, connections, .. } = place;
    let (behind, limit) = (place.behind()?, connections + 10);
    let pooled = (2 * connections).clamp(1024, 100_000);
    let text = format!(
        "[admin]
listen = \"{admin}\"
[runtime]
workers = 2
[[listener]]
name = \"web\"
protocol = \"http\"
listen = \"{address}\"
limits = {{ connections = {limit}, connections_per_ip = {limit} }}
[[route]]
name = \"all\"
service = \"behind\"
[[service]]
name = \"behind\"
endpoints = [\"{behind}\"]
pool = {{ connections = {pooled} }}
"
    );
    let file = write(place, "staunch.toml", &text)?;
    Ok(["run", "--config", &file.display().to_string()].map(str::to_owned).into())
}
