//! No text makes the reader panic, and no text makes it say more than anybody reads.

use proptest::prelude::*;
use staunch_config::{Config, ConfigError};

/// Pieces of configurations, right and wrong, to be put together in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "[admin]\n",
        "[log]\n",
        "[[listener]]\n",
        "[listener.limits]\n",
        "[listener.tls]\n",
        "[listener.socket]\n",
        "[listener]\n",
        "[memory\n",
        "[[listener]\n",
        "[",
        "]",
        "{",
        "}",
        "name = \"a\"\n",
        "name = \"b\"\n",
        "protocol = \"echo\"\n",
        "protocol = \"udp-echo\"\n",
        "listen = \"127.0.0.1:1\"\n",
        "listen = \"unix:x\"\n",
        "listen = 127.0.0.1\n",
        "limits = { idle = \"1s\" }\n",
        "limits.idle = \"1s\"\n",
        "idle = \"1s\"\n",
        "idle = \"\"\n",
        "tls = 1\n",
        "alpn = [\"h2\",\n",
        "\"\"\"",
        "'''",
        "\"",
        "'",
        "é = 'é'\n",
        "= ",
        "=\n",
        "# ",
        "\n",
        "\r\n",
        ",",
        ".",
        "level = \"a=b=c[{\"\n",
        "buffer = \"1KiB\"\n",
        "\u{feff}",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Parses and shows `text` with whatever is wrong.
fn exercise(text: &str) {
    if let Err(errors) = Config::parse("t", text) {
        assert!(errors.iter().len() > 0, "refused without a reason");
        assert!(errors.iter().map(ConfigError::position).is_sorted());
        for error in &errors {
            assert!(!error.to_string().contains('\n'), "{error:?}");
        }
        let _ = format!("{errors:#}");
    }
}

proptest! {
    #[test]
    fn any_text(text in ".*|(?s).{0,200}") {
        exercise(&text);
    }

    #[test]
    fn any_pieces(text in pieces()) {
        exercise(&text);
    }

    /// The default with a few bytes overwritten.
    #[test]
    fn any_slip(at in prop::collection::vec((0..7_000_usize, any::<char>()), 1..5)) {
        let mut chars: Vec<char> = Config::default_text().chars().collect();
        for (index, c) in at {
            let len = chars.len();
            chars[index % len] = c;
        }
        exercise(&chars.into_iter().collect::<String>());
    }
}

#[test]
fn deep_nesting_is_refused() {
    for text in ["[".repeat(100_000), "a = ".to_owned() + &"[".repeat(100_000)] {
        exercise(&text);
    }
    let text = "a.".repeat(100_000) + "a = 1";
    let message = Config::parse("t", &text).unwrap_err().to_string();
    assert_eq!(message, "t: recursion limit");
}

#[test]
fn a_hundred_mistakes_are_enough() {
    let lines: Vec<_> = (0..5_000).map(|n| format!("x{n} = 1")).collect();
    let errors = Config::parse("t", &lines.join("\n")).unwrap_err();
    assert_eq!((errors.iter().len(), errors.left_out()), (100, 4_901));
    assert!(errors.to_string().ends_with("\nand 4901 more"));
}

#[test]
fn a_file_full_of_garbage_is_given_up_soon() {
    let errors = Config::parse("t", &"garbage here\n".repeat(1_000)).unwrap_err();
    assert_eq!(errors.iter().len(), 20);
    let errors = Config::parse("t", &"=\n".repeat(20_000)).unwrap_err();
    assert_eq!(errors.iter().len(), 1);
}

#[test]
fn a_thousand_listeners_are_enough() {
    let errors = Config::parse("t", &"[[listener]]\n".repeat(1_001)).unwrap_err().to_string();
    assert_eq!(
        errors,
        "t:1:1: `listener` at the top level is an array: must hold 1 to 1000 tables"
    );
}
