//! `bank`: serves until SIGTERM or SIGINT, drains, and says what is left.
//!
//! Exit code 0: nothing. 1: something was left or cut, or it failed. 2: the settings make no sense.

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use bank::Settings;

fn main() -> ExitCode {
    let settings = match Settings::from_env() {
        Ok(settings) => settings,
        Err(error) => return fail(2, format_args!("{error}")),
    };
    match bank::run(&settings) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => fail(1, format_args!("{error:#}")),
    }
}

fn fail(code: u8, error: fmt::Arguments<'_>) -> ExitCode {
    let _ = writeln!(io::stderr(), "bank: {error}"); // who has closed it need not know
    ExitCode::from(code)
}
