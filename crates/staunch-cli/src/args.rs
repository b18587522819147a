//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Network services that cannot leak, and a way to find out when others do.
#[derive(Debug, Parser)]
#[command(name = "staunch", version, about)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve what a configuration says, until SIGTERM or SIGINT; a second one cuts who is left.
    Run(Run),
    /// Say everything that is wrong with a configuration.
    Check(Check),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// The configuration file; without it, the embedded default is served: line echo on
    /// 127.0.0.1:9000, UDP echo on 9001, HTTP on 8080, admin on 6060.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
}
