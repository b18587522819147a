//! `staunch check`: everything that is wrong with a configuration, in one run.

use std::process::ExitCode;

use staunch_config::Config;

use crate::{args, outcome::Outcome, print};

pub(crate) fn check(args: &args::Check) -> ExitCode {
    match Config::load(&args.config) {
        Ok(config) => {
            let count = |count: usize, what: &str| match count {
                1 => format!("1 {what}"),
                count => format!("{count} {what}s"),
            };
            print::line(format_args!(
                "{}: ok, {}, {}, {}",
                args.config.display(),
                count(config.listeners.len(), "listener"),
                count(config.routes.len(), "route"),
                count(config.services.len(), "service"),
            ));
            ExitCode::SUCCESS
        }
        Err(errors) => {
            print::complaint(format_args!("{errors:#}"));
            Outcome::CannotStart.into()
        }
    }
}
