//! `cargo xtask fuzz`: mutated inputs for each function that reads bytes from outside, on a stable
//! compiler. See `fuzz/`.

use crate::cargo::{self, cargo};

/// Throw mutated bytes at each function that reads bytes from outside.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// One target; every one unless named.
    target: Option<String>,
    /// Seconds for each target.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// What the inputs follow from: the same again for the same.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let (seconds, seed) = (args.seconds.to_string(), args.seed.to_string());
    let mut command = cargo(&["run", "--quiet", "--manifest-path", "fuzz/Cargo.toml"]);
    command.args(["--bin", "staunch-fuzz", "--", &seconds, &seed]).args(&args.target);
    cargo::run(&mut command)
}
