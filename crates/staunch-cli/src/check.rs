//! `staunch check`: everything that is wrong with a configuration, in one run.

use std::process::ExitCode;

use staunch_config::Config;

use crate::{args, outcome::Outcome};

pub(crate) fn check(args: &args::Check) -> ExitCode {
    match Config::load(&args.config) {
        Ok(config) => {
            println!("{}: ok, {} listeners", args.config.display(), config.listeners.len());
            ExitCode::SUCCESS
        }
        Err(errors) => {
            eprintln!("{errors:#}");
            Outcome::CannotStart.into()
        }
    }
}
