//! The servers that are compared: how each is built and started.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::{Args, proxy};
use crate::cargo;
use crate::server::{Server, free_addresses};

/// A server program that has been built.
pub(super) struct Subject {
    pub(super) name: &'static str,
    program: PathBuf,
    arguments: Arguments,
}

/// How a server program is told where to listen.
#[derive(Clone, Copy)]
enum Arguments {
    /// `PROGRAM ADDRESS`
    Address,
    /// `PROGRAM SUBJECT ADDRESS`
    Subject(&'static str),
    /// `PROGRAM run --config FILE`, with a listener that speaks this and has these tables.
    Config(&'static str, &'static str),
    /// `PROGRAM -c FILE`, in the foreground.
    Nginx,
    /// The same for proxies, each with a configuration of its own.
    Proxy(fn(&Place) -> anyhow::Result<Vec<String>>),
}

/// The file that nginx serves; the others make what they are asked for.
const DOWNLOAD_BYTES: u64 = 10 << 20;

/// Where a server runs, and for how many clients.
pub(super) struct Place {
    pub(super) folder: PathBuf,
    pub(super) address: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) connections: u32,
    /// The server that a proxy hands requests to.
    behind: Option<SocketAddr>,
}

#[derive(Clone, Copy)]
pub(super) struct Recipe {
    name: &'static str,
    /// Makes the program, if need be in the folder given, and gives its path.
    build: fn(&Path) -> anyhow::Result<PathBuf>,
    arguments: Arguments,
}

/// Line echo servers. The first is the one whose ratios to the others are shown.
pub(super) const ECHO: &[Recipe] = &[
    Recipe {
        name: "staunch",
        build: |_| cargo::build_bin("staunch"),
        arguments: Arguments::Config("echo", ""),
    },
    Recipe {
        name: "tokio",
        build: |_| cargo::build_bin("tokio_echo"),
        arguments: Arguments::Address,
    },
    Recipe {
        name: "go",
        build: |folder| build_go(folder, "go-echo"),
        arguments: Arguments::Address,
    },
];

/// HTTP servers that say hello.
pub(super) const HTTP: &[Recipe] =
    &[hello("staunch"), hello("hyper"), hello("hyper-auto"), hello("axum"), GO_HTTP];

/// HTTP servers that hold idle connections. Staunch's is the program, since what an allocator gives
/// back is part of what is measured.
pub(super) const PARKED: &[Recipe] = &[STAUNCH_HTTP, hello("hyper"), GO_HTTP, NGINX];

/// HTTP servers to download from. Staunch's is there twice: what the kernel holds depends on an
/// option of its sockets.
pub(super) const DOWNLOAD: &[Recipe] = &[
    STAUNCH_HTTP,
    Recipe {
        name: "staunch-no-lowat",
        build: |_| cargo::build_bin("staunch"),
        arguments: Arguments::Config("demo", "[listener.socket]\nnotsent_lowat = \"off\"\n"),
    },
    Recipe {
        name: "hyper",
        build: |_| cargo::build_bin("http_download"),
        arguments: Arguments::Address,
    },
    GO_HTTP,
    NGINX,
];

/// HTTP proxies. The first is the one whose ratios to the others are shown.
pub(super) const PROXIES: &[Recipe] = &[
    Recipe {
        name: "staunch",
        build: |_| cargo::build_bin("staunch"),
        arguments: Arguments::Proxy(proxy::staunch),
    },
    Recipe { name: "nginx", build: |_| find_nginx(), arguments: Arguments::Proxy(proxy::nginx) },
    Recipe {
        name: "haproxy",
        build: |_| find("haproxy", "/usr/sbin/haproxy"),
        arguments: Arguments::Proxy(proxy::haproxy),
    },
    Recipe {
        name: "hyper",
        build: |_| cargo::build_bin("http_proxy"),
        arguments: Arguments::Proxy(proxy::addresses),
    },
    Recipe {
        name: "caddy",
        build: |_| find("caddy", "/usr/bin/caddy"),
        arguments: Arguments::Proxy(proxy::caddy),
    },
    Recipe {
        name: "pingora",
        build: |_| build_pingora(),
        arguments: Arguments::Proxy(proxy::addresses),
    },
];

/// The same for clients that read slowly: nginx would otherwise store answers in files.
pub(super) const PATIENT_PROXIES: &[Recipe] = &[
    PROXIES[0],
    Recipe {
        name: "nginx-unbuffered",
        build: |_| find_nginx(),
        arguments: Arguments::Proxy(proxy::nginx_unbuffered),
    },
    PROXIES[2],
    PROXIES[3],
    PROXIES[4],
    PROXIES[5],
];

/// Those whose clients give up: hyper's example goes on reading, and so does Caddy over HTTP/1.
pub(super) const CANCELLING_PROXIES: &[Recipe] = &[PROXIES[0], PROXIES[1], PROXIES[2], PROXIES[4]];

/// What the proxies of a bench hand requests to.
const BEHIND: &[Recipe] = &[Recipe {
    name: "behind",
    build: |_| find_nginx(),
    arguments: Arguments::Proxy(proxy::behind),
}];

/// Starts what proxies hand requests to.
pub(super) fn start_behind(folder: &Path, connections: u32) -> anyhow::Result<Server> {
    let [behind] = BEHIND else { anyhow::bail!("there is one server behind the proxies") };
    build_one(behind, folder)?.start(folder, connections)
}

fn find(name: &str, path: &str) -> anyhow::Result<PathBuf> {
    let path = PathBuf::from(path);
    anyhow::ensure!(path.exists(), "there is no {name} (Debian's package `{name}`)");
    Ok(path)
}

/// HTTP servers that are attacked.
pub(super) const ABUSED: &[Recipe] = &[STAUNCH_HTTP, STAUNCH_HTTP_ALONE, hello("hyper"), NGINX];

/// With one worker, as nginx has here: what attacks and the honest client have the other processor.
const STAUNCH_HTTP_ALONE: Recipe = Recipe {
    name: "staunch-1-worker",
    build: |_| cargo::build_bin("staunch"),
    arguments: Arguments::Config("demo", "\n[runtime]\nworkers = 1\n"),
};

const STAUNCH_HTTP: Recipe = Recipe {
    name: "staunch",
    build: |_| cargo::build_bin("staunch"),
    arguments: Arguments::Config("demo", ""),
};

const GO_HTTP: Recipe = Recipe {
    name: "go",
    build: |folder| build_go(folder, "go-http"),
    arguments: Arguments::Address,
};

const NGINX: Recipe =
    Recipe { name: "nginx", build: |_| find_nginx(), arguments: Arguments::Nginx };

fn find_nginx() -> anyhow::Result<PathBuf> {
    let found = ["/usr/sbin/nginx", "/usr/bin/nginx"].map(PathBuf::from);
    let found = found.into_iter().find(|path| path.exists());
    found.context("there is no nginx (Debian's package `nginx-light`)")
}

const fn hello(name: &'static str) -> Recipe {
    let build: fn(&Path) -> anyhow::Result<PathBuf> = |_| cargo::build_bin("http_hello");
    Recipe { name, build, arguments: Arguments::Subject(name) }
}

/// Builds the subjects that were asked for.
pub(super) fn build(
    args: &Args,
    recipes: &[Recipe],
    folder: &Path,
) -> anyhow::Result<Vec<Subject>> {
    let recipes = args.select(recipes, |recipe| recipe.name)?;
    let subjects = recipes.into_iter().map(|Recipe { name, build, arguments }| {
        let program = build(folder).with_context(|| {
            format!("cannot build {name} (to leave it out, name the others with `--subject`)")
        })?;
        Ok(Subject { name, program, arguments })
    });
    subjects.collect()
}

/// Builds one that the arguments do not choose.
fn build_one(recipe: &Recipe, folder: &Path) -> anyhow::Result<Subject> {
    let Recipe { name, build, arguments } = *recipe;
    Ok(Subject { name, program: build(folder)?, arguments })
}

impl Subject {
    /// Starts the server on a free port, with its files in `folder`, to hold `connections`.
    pub(super) fn start(&self, folder: &Path, connections: u32) -> anyhow::Result<Server> {
        self.start_before(None, folder, connections)
    }

    /// The same for a proxy, which hands requests to `behind`.
    pub(super) fn start_before(
        &self,
        behind: Option<SocketAddr>,
        folder: &Path,
        connections: u32,
    ) -> anyhow::Result<Server> {
        let [address, admin] = free_addresses()?;
        let place = Place { folder: folder.to_owned(), address, admin, connections, behind };
        let log = folder.join(format!("{}-{}.log", self.name, address.port()));
        let command = self.command(&place)?;
        Server::start(command, address, &log).with_context(|| format!("cannot start {}", self.name))
    }

    fn command(&self, place: &Place) -> anyhow::Result<Command> {
        let mut command = Command::new(&self.program);
        match self.arguments {
            Arguments::Address => command.arg(place.address.to_string()),
            Arguments::Subject(subject) => command.args([subject, &place.address.to_string()]),
            Arguments::Config(protocol, tables) => {
                command.args(["run", "--config"]).arg(write_config(place, protocol, tables)?)
            }
            Arguments::Nginx => {
                command.arg("-p").arg(&place.folder).arg("-c").arg(write_nginx_config(place)?)
            }
            Arguments::Proxy(arguments) => {
                command.env("XDG_CONFIG_HOME", &place.folder).env("XDG_DATA_HOME", &place.folder);
                command.args(arguments(place)?)
            }
        };
        Ok(command)
    }
}

impl Place {
    pub(super) fn behind(&self) -> anyhow::Result<SocketAddr> {
        self.behind.context("nothing is behind this proxy")
    }
}

fn write_config(place: &Place, protocol: &str, tables: &str) -> anyhow::Result<PathBuf> {
    let name = format!("staunch-{}.toml", place.address.port());
    write(place, &name, &(config(place, protocol) + tables))
}

pub(super) fn write(place: &Place, name: &str, text: &str) -> anyhow::Result<PathBuf> {
    let file = place.folder.join(name);
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

/// One worker with a slot for each connection and a few more, which is how the figure is told: with
/// more slots than connections it pays for those too.
fn write_nginx_config(place: &Place) -> anyhow::Result<PathBuf> {
    let Place { folder, address, connections, .. } = place;
    let download = File::create(folder.join("download")).context("cannot create a file")?;
    download.set_len(DOWNLOAD_BYTES)?;
    let (folder, slots) = (folder.display(), connections + 100);
    let text = format!(
        r#"daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections {slots}; }}
http {{
    access_log off;
    keepalive_timeout 600s;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {address};
        location / {{ return 200 "Hello, world!\n"; }}
        location = /download {{ root {folder}; }}
    }}
}}
"#
    );
    write(place, &format!("nginx-{}.conf", address.port()), &text)
}

/// Most connections of a bench come from one address, so the limit per address is the total one.
/// Both leave room for the probe that waits for the server to be ready.
fn config(place: &Place, protocol: &str) -> String {
    let Place { address, admin, connections, .. } = place;
    let limit = connections + 10;
    format!(
        r#"[admin]
listen = "{admin}"

[[listener]]
name = "subject"
protocol = "{protocol}"
listen = "{address}"

[listener.limits]
connections = {limit}
connections_per_ip = {limit}
"#
    )
}

/// Builds a peer written in Go, in the folder given.
pub(super) fn build_go(folder: &Path, peer: &str) -> anyhow::Result<PathBuf> {
    let program = folder.join(peer);
    let mut command = Command::new("go");
    command.args(["build", "-o"]).arg(&program).arg(".");
    cargo::run(command.current_dir(cargo::root().join("bench/peers").join(peer)))
        .context("Go 1.21 or newer is needed: https://go.dev/dl")?;
    Ok(program)
}

/// Builds a proxy on Pingora, which is a workspace of its own.
fn build_pingora() -> anyhow::Result<PathBuf> {
    let (peer, target) = ("bench/peers/pingora-proxy", cargo::root().join("target/peers"));
    let mut command = Command::new("cargo");
    command.args(["build", "--release", "--locked", "--target-dir"]).arg(&target);
    cargo::run(command.current_dir(cargo::root().join(peer)))
        .context("Pingora needs cmake and g++ to be built (Debian's packages of these names)")?;
    Ok(target.join("release/pingora-proxy-peer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_names_the_addresses_and_limits() {
        let [address, admin] = free_addresses().unwrap();
        let place = Place { folder: PathBuf::new(), address, admin, connections: 64, behind: None };
        let config = config(&place, "echo");
        assert!(config.starts_with(&format!("[admin]\nlisten = \"{admin}\"\n")), "{config}");
        assert!(config.contains(&format!("\nlisten = \"{address}\"\n")), "{config}");
        assert!(config.ends_with("connections = 74\nconnections_per_ip = 74\n"), "{config}");
    }
}
