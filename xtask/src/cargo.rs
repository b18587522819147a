//! Cargo, started in the workspace's root.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

/// The workspace's root folder.
pub(crate) fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

/// `cargo ARGS`, to be run in the workspace's root.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(args).current_dir(root());
    command
}

/// Runs a command to its end, with its line printed before; fails if the command does.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let line = line(command);
    eprintln!("$ {line}");
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// The packages that have what is measured, and what measures it.
const MEASURED: [&str; 2] = ["staunch-cli", "staunch-bench"];

/// Builds one binary in release mode and gives its path.
///
/// Whichever it is, both packages are named: cargo builds a library anew for each set of features,
/// which is what all of the packages that it is told of ask for.
pub(crate) fn build_bin(bin: &str) -> anyhow::Result<PathBuf> {
    let mut args = vec!["build", "--release", "--bin", bin];
    args.extend(MEASURED.iter().flat_map(|package| ["--package", package]));
    build(&args, ("bin", bin))
}

/// Builds one bench target and gives its path.
pub(crate) fn build_bench(package: &str, bench: &str) -> anyhow::Result<PathBuf> {
    build(&["bench", "--no-run", "--package", package, "--bench", bench], ("bench", bench))
}

/// Runs a build and gives the path of the executable it made for `target`, a kind and a name. The
/// path is cargo's to tell: the target folder and the name in it depend on the user's settings.
fn build(args: &[&str], target: (&str, &str)) -> anyhow::Result<PathBuf> {
    let mut command = cargo(args);
    command.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let line = line(&command);
    let output = command.output().with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` failed: {}", output.status);
    }
    executable(&String::from_utf8_lossy(&output.stdout), target)
        .with_context(|| format!("`{line}` made no executable"))
}

/// The executable of a target in cargo's messages, which are one JSON object a line. A build makes
/// more than it was asked for: with a bench come the binaries of its package.
fn executable(messages: &str, (kind, name): (&str, &str)) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|it| it["target"]["kind"][0] == kind && it["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

/// A command as one would type it.
fn line(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(name, value)| {
        Some(format!("{}='{}'", name.to_string_lossy(), value?.to_string_lossy()))
    });
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words = words.map(|word| word.to_string_lossy().into_owned());
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_variables_and_arguments() {
        let mut command = cargo(&["test", "--release"]);
        command.env("RUSTFLAGS", "--cfg loom");
        assert_eq!(line(&command), "RUSTFLAGS='--cfg loom' cargo test --release");
    }

    #[test]
    fn the_executable_is_the_one_cargo_names() {
        let messages = r#"
            {"target":{"kind":["lib"],"name":"echo"},"executable":null}
            {"target":{"kind":["bin"],"name":"other"},"executable":"/t/other"}
            {"target":{"kind":["bin"],"name":"echo"},"executable":"/t/echo"}
            {"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages, ("bin", "echo")), Some(PathBuf::from("/t/echo")));
        assert_eq!(executable(messages, ("lib", "echo")), None);
        assert_eq!(executable("not JSON", ("bin", "echo")), None);
    }

    #[test]
    fn the_root_holds_the_workspace() {
        assert!(root().join("xtask/Cargo.toml").is_file());
    }
}
