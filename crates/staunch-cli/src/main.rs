//! The `staunch` command.
//!
//! Reads like its table of contents: parse the arguments, do what they say, turn the outcome
//! into an exit code. 0: all went well. 1: something was left, had to be forced, or failed while
//! running. 2: it could not start, and the message says why.

mod args;
mod check;
mod config_page;
mod demo;
mod doctor;
mod key;
mod outcome;
mod print;
mod reload;
mod run;
mod service;
mod signals;
mod stages;
mod turn;
mod upgrade;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command};

/// Gives freed pages back to the system and can be profiled; see `docs/decisions/`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    match args.command {
        Command::Run(run) => run::run(&run),
        Command::Check(check) => check::check(&check),
        Command::Config(page) => config_page::show(page),
        Command::Schema => config_page::schema(),
        Command::Upgrade(args) => upgrade::upgrade(args.pid),
        Command::Key(key) => key::key(&key),
        Command::Doctor(doctor) => doctor::doctor(&doctor),
        Command::Demo(demo) => demo::demo(&demo),
        Command::DemoService => demo::service(),
    }
}
