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

/// An error and its causes, but for those whose words it has said already, as errors of ours do.
pub(crate) fn causes(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| {
        if said.is_empty() {
            return cause;
        }
        if said.contains(&cause) { said } else { format!("{said}: {cause}") }
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use anyhow::Context as _;
    use staunch_console::Secret;

    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let error = Secret::read(Path::new("/no/such")).context("admin").map(drop).unwrap_err();
        let said = causes(&error);
        assert!(
            said.starts_with("admin: cannot read the token from /no/such: No such file"),
            "{said}"
        );
        assert_eq!(said.matches("os error").count(), 1, "{said}");
        assert_eq!(causes(&anyhow::anyhow!("b").context("a")), "a: b");
    }
}
