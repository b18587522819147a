//! Lines on standard output and error. Who has closed them does not want to know; `println!` and
//! `eprintln!` would panic.

use std::{
    fmt,
    io::{self, Write},
};

/// Prints a line on standard output.
pub(crate) fn line(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// Prints a line on standard error.
pub(crate) fn complaint(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints text that ends its own lines on standard output.
pub(crate) fn text(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}
