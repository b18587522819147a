//! `staunch check`: everything that is wrong with a configuration, in one run.

use std::process::ExitCode;

use staunch_config::Config;

use crate::{args, outcome::Outcome, print};

pub(crate) fn check(args: &args::Check) -> ExitCode {
    match Config::load(&args.config) {
        Ok(config) => {
            let (file, count) = (args.config.display(), config.listeners.len());
            print::line(format_args!("{file}: ok, {count} listeners"));
            ExitCode::SUCCESS
        }
        Err(errors) => {
            print::complaint(format_args!("{errors:#}"));
            Outcome::CannotStart.into()
        }
    }
}
