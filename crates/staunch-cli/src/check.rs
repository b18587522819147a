//! `staunch check`: everything that is wrong with a configuration, in one run; and if that is asked for, with
//! the files that it names.

use std::process::ExitCode;

use staunch_config::Config;

use crate::{args, outcome::Outcome, print, service::file_problems};

pub(crate) fn check(args: &args::Check) -> ExitCode {
    let config = match Config::load(&args.config) {
        Ok(config) => config,
        Err(errors) => {
            print::complaint(format_args!("{errors:#}"));
            return Outcome::CannotStart.into();
        }
    };
    let problems = if args.files { file_problems(&config) } else { Vec::new() };
    if problems.is_empty() {
        tell(args, &config);
        return ExitCode::SUCCESS;
    }
    for problem in problems {
        print::complaint(format_args!("{}: {problem}", args.config.display()));
    }
    Outcome::CannotStart.into()
}

fn tell(args: &args::Check, config: &Config) {
    let count = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    print::line(format_args!(
        "{}: ok, {}, {}, {}{}",
        args.config.display(),
        count(config.listeners.len(), "listener"),
        count(config.routes.len(), "route"),
        count(config.services.len(), "service"),
        if args.files { ", and the files that it names" } else { "" },
    ));
}
