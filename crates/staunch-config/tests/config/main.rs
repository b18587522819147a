//! What `Config::parse` gives, and what it says about what people get wrong.

mod between;
mod defaults;
mod discovery;
mod keys;
mod policies;
mod robustness;
mod routing;
mod schema;
mod text;
mod values;

use staunch_config::Config;

/// A listener with nothing wrong.
const LISTENER: &str = "
[[listener]]
name = 'a'
protocol = 'echo'
listen = '127.0.0.1:9000'
";

/// The mistakes in `text`, one a line, without the name of the file.
fn mistakes(text: &str) -> Vec<String> {
    let Err(errors) = Config::parse("t", text) else { return Vec::new() };
    errors.iter().map(|error| error.to_string().trim_start_matches("t:").to_owned()).collect()
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(mistakes(text), expected, "\n{text}");
}

#[track_caller]
fn parse(text: &str) -> Config {
    Config::parse("/etc/t.toml", text).unwrap_or_else(|errors| panic!("{errors:#}"))
}

/// Each of `expected` is a part of one mistake, and there are no others.
#[track_caller]
fn check_parts(text: &str, expected: &[&str]) {
    let errors = Config::parse("t", text).expect_err("there is a mistake");
    let found: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), expected.len(), "{errors:#}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{expected}: {errors:#}");
    }
}

/// Checks `text` with a faultless listener below it.
#[track_caller]
fn check_top(text: &str, expected: &[&str]) {
    check(&format!("{text}{LISTENER}"), expected);
}

/// Checks `text` as the end of a faultless listener: its first line is line 5.
#[track_caller]
fn check_listener(text: &str, expected: &[&str]) {
    check(&format!("{}{text}", LISTENER.trim_start()), expected);
}

/// Checks `text` as the end of a faultless listener for datagrams: its first line is line 5.
#[track_caller]
fn check_datagram(text: &str, expected: &[&str]) {
    let listener = LISTENER.replace("'echo'", "'udp-echo'");
    check(&format!("{}{text}", listener.trim_start()), expected);
}
