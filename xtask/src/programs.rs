//! The programs that tests call, and where to get those that are missing.

use std::process::Command;

use anyhow::bail;

use crate::cargo;

struct Program {
    name: &'static str,
    /// Its Debian package, installed on the spot when we are root.
    package: &'static str,
}

const NEEDED: &[Program] = &[
    Program { name: "nc", package: "netcat-openbsd" },
    Program { name: "curl", package: "curl" },
    Program { name: "ss", package: "iproute2" },
    // Its programs proper are not on the PATH; this one comes with them.
    Program { name: "pg_createcluster", package: "postgresql" },
    Program { name: "redis-server", package: "redis-server" },
    Program { name: "nginx", package: "nginx-light" },
    Program { name: "h2load", package: "nghttp2-client" },
    Program { name: "wrk", package: "wrk" },
    Program { name: "haproxy", package: "haproxy" },
    Program { name: "tinyproxy", package: "tinyproxy" },
    Program { name: "etcd", package: "etcd-server" },
    Program { name: "dnsmasq", package: "dnsmasq-base" },
    Program { name: "go", package: "golang-go" },
    // `jcmd` and `jstack` come with it.
    Program { name: "javac", package: "default-jdk-headless" },
];

const INSTALL: &str = "apt-get install -y --no-install-recommends";

/// Makes sure that every program tests need is there: installs what is missing if that is possible
/// without asking, otherwise fails and says what to do.
pub(crate) fn ensure() -> anyhow::Result<()> {
    let packages = packages(missing());
    if !packages.is_empty() && rustix::process::geteuid().is_root() && is_installed("apt-get") {
        install(&packages)?;
    }
    let missing: Vec<&Program> = missing().collect();
    if !missing.is_empty() {
        bail!("programs that the tests need are missing:\n{}", remedies(&missing));
    }
    Ok(())
}

/// Whether `program` is an executable on the PATH.
pub(crate) fn is_installed(program: &str) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders)
        .filter_map(|folder| folder.join(program).metadata().ok())
        .any(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

fn missing() -> impl Iterator<Item = &'static Program> {
    NEEDED.iter().filter(|program| !is_installed(program.name))
}

fn packages<'a>(programs: impl Iterator<Item = &'a Program>) -> Vec<&'static str> {
    programs.map(|program| program.package).collect()
}

fn install(packages: &[&str]) -> anyhow::Result<()> {
    cargo::run(Command::new("apt-get").arg("update"))?;
    let mut words = INSTALL.split(' ').chain(packages.iter().copied());
    let mut command = Command::new(words.next().unwrap_or_default());
    cargo::run(command.args(words).env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Where each missing program comes from, one line each, and the command that installs them all.
fn remedies(missing: &[&Program]) -> String {
    let source =
        |program: &&Program| format!("  {}: in Debian's {}", program.name, program.package);
    let mut lines: Vec<String> = missing.iter().map(source).collect();
    let packages = packages(missing.iter().copied()).join(" ");
    lines.push(format!("run: sudo apt-get update && sudo {INSTALL} {packages}"));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_end_with_the_command_to_run() {
        let all: Vec<&Program> = NEEDED.iter().collect();
        let text = remedies(&all);
        assert!(text.contains("  go: in Debian's golang-go"), "{text}");
        let command = "run: sudo apt-get update && sudo apt-get install -y \
                       --no-install-recommends netcat-openbsd curl iproute2 postgresql redis-server \
                       nginx-light nghttp2-client wrk haproxy tinyproxy etcd-server dnsmasq-base golang-go \
                       default-jdk-headless";
        assert!(text.ends_with(command), "{text}");
    }

    #[test]
    fn programs_are_looked_up_on_the_path() {
        assert!(is_installed("sh"));
        assert!(!is_installed("no-such-program"));
    }
}
