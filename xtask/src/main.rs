//! Development commands: `cargo xtask COMMAND`.
//!
//! A command is one module with a `run` function. What several of them need has a module of its
//! own: [`cargo`] starts cargo, [`server`] runs a server as a child process, [`procfs`] reads what
//! the kernel knows about it.

mod bench;
mod cargo;
mod ci;
mod fuzz;
mod h2spec;
mod poll;
mod procfs;
mod programs;
mod server;
mod test;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "Development commands of the workspace")]
enum Command {
    Test(test::Args),
    Bench(bench::Args),
    Fuzz(fuzz::Args),
    /// Check format, lints, documentation and dependencies, then run every test.
    Ci,
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Test(args) => test::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Ci => ci::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
