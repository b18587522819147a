//! `cargo xtask test`: every test of the workspace.

use std::process::Command;

use crate::cargo::{self, cargo};
use crate::{h2spec, programs};

/// Run every test: unit, integration, documentation, the loom models, the ledger's 10^8 births, and
/// the pool's 10^6 acquires.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Arguments for the test binaries, for example a part of a test's name.
    #[arg(last = true)]
    test_args: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    programs::ensure()?;
    h2spec::ensure()?;
    for Step { mut command, options } in steps() {
        cargo::run(command.arg("--").args(options).args(&args.test_args))?;
    }
    Ok(())
}

/// Runs every test without a filter.
pub(crate) fn run_all() -> anyhow::Result<()> {
    run(&Args { test_args: Vec::new() })
}

struct Step {
    command: Command,
    /// What the test binaries are told.
    options: &'static [&'static str],
}

fn steps() -> Vec<Step> {
    // Not `--all-targets`: that would run the benches too.
    let targets = cargo(&["test", "--workspace", "--lib", "--bins", "--tests", "--examples"]);
    let documentation = cargo(&["test", "--workspace", "--doc"]);
    let plain = [targets, documentation, flat_memory()].into_iter().chain(loom());
    let mut steps: Vec<Step> = plain.map(|command| Step { command, options: &[] }).collect();
    steps.push(soak());
    steps
}

/// What takes long, or must be alone in its process. Of the whole workspace, so that it is built
/// already.
fn soak() -> Step {
    let command = cargo(&["test", "--workspace", "--test", "soak"]);
    Step { command, options: &["--ignored", "--test-threads=1", "--nocapture"] }
}

/// As many births as the ledger promises to be flat for; without optimization, far fewer run.
fn flat_memory() -> Command {
    cargo(&["test", "--package", "staunch-ledger", "--release", "--test", "flat_memory"])
}

/// The loom models replace the standard library's atomics in the whole build, so they have a
/// target folder of their own: sharing one would rebuild everything at each change of sides.
fn loom() -> Option<Command> {
    let models: Vec<&str> = ["staunch-ledger", "staunch-stock"]
        .into_iter()
        .filter(|name| cargo::root().join("crates").join(name).join("tests/loom.rs").is_file())
        .collect();
    let mut command = cargo(&["test", "--release", "--test", "loom"]);
    command.args(models.iter().flat_map(|name| ["--package", name]));
    command.env("RUSTFLAGS", "--cfg loom");
    command.env("CARGO_TARGET_DIR", cargo::root().join("target/loom"));
    (!models.is_empty()).then_some(command)
}
