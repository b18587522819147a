//! `staunch key`: a key for somebody, and what the configuration says of it.

use std::process::ExitCode;

use staunch_policy::NewKey;

use crate::{args, outcome::Outcome, print};

pub(crate) fn key(args: &args::Key) -> ExitCode {
    match NewKey::random() {
        Ok(key) => {
            print::line(format_args!("key:    {}", key.text()));
            print::line(format_args!("config: \"{}: {}\"", args.name, key.hash()));
            ExitCode::SUCCESS
        }
        Err(error) => {
            print::complaint(format_args!("{error}"));
            Outcome::CannotStart.into()
        }
    }
}
