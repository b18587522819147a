//! Text that is no TOML, and how mistakes are shown.

use staunch_config::Config;

use super::{LISTENER, check_listener, check_top};

#[test]
fn broken_lines_do_not_hide_the_rest() {
    check_top(
        "[drain]\ngrace = 10s\n[log]\nlevel: info\nformat = 'xml'\n[memory]\nbuffers =",
        &[
            "2:9: `10s` is neither a number nor true or false; a text needs quotes: \"10s\"",
            "4:6: invalid unquoted key, expected letters, numbers, `-`, `_`",
            "5:10: `format` in [log] is \"xml\": must be one of `text`, `json`",
            "7:10: a value is missing after `=`",
        ],
    );
    check_top(
        "[log\nformat = 'xml'\n[drain]\ngrace = '2d'",
        &[
            "1:5: unclosed table, expected `]`",
            "4:9: `grace` in [drain] is \"2d\": must be a duration such as \"10s\" or \"1m30s\" \
             (`d` is no unit: h, m, s, ms, us or ns)",
        ],
    );
    check_listener(
        "[listener.tls]\ncertificate = 'c'\nkey = 'k'\nalpn = ['h2'\nreload = '1s'\n[lgo]",
        &[
            "8:8: this value is not closed: its last quote or bracket is missing",
            "10:2: unknown key `lgo` at the top level: did you mean `log`?",
        ],
    );
    check_listener(
        "[listener.tls]\nkey = 'k'\nalpn = [\n  'h2'\n  'x'\n]\nreload = 1",
        &[
            "9:3: missing comma between array elements, expected `,`",
            "11:10: `reload` in [listener.tls] of \"a\" is 1: must be a duration such as \"10s\" \
             or \"1m30s\", in quotes",
        ],
    );
    check_listener(
        "[listener.tls]\ncertificate = 'c\nkey = \"k\"x\nalpn = ['h2' 'x',\n'y']\nreload = 1",
        &[
            "6:15: this value is not closed: its last quote or bracket is missing",
            "7:10: unexpected key or value, expected newline, `#`",
            "8:14: missing comma between array elements, expected `,`",
            "10:10: `reload` in [listener.tls] of \"a\" is 1: must be a duration such as \"10s\" \
             or \"1m30s\", in quotes",
        ],
    );
    check_top(
        "[log]\r\nformat = \"text\r\nlevel = 3\r\n",
        &[
            "2:10: this value is not closed: its last quote or bracket is missing",
            "3:9: `level` in [log] is 3: must be a level such as \"info\", in quotes",
        ],
    );
}

#[test]
fn columns_count_characters() {
    check_listener(
        "limits = { 'é日' = 1, idle = 1 }",
        &[
            "5:12: unknown key `é日` in [listener.limits] of \"a\": allowed are `connections`, \
             `lifetime`, `first_byte`, `idle`, `read_stall`, `message`, \
             `half_close`, `write_stall`, `connections_per_ip`, `min_send_rate`, `buffer`",
            "5:29: `idle` in [listener.limits] of \"a\" is 1: must be a duration such as \"10s\" \
             or \"1m30s\", in quotes, or \"unlimited\"",
        ],
    );
}

#[test]
fn ten_mistakes_are_ten_errors() {
    let text = r#"
[admin]
listen = "0.0.0.0:6060"

[loging]
level = "info"

[drain]
grace = 10

[[listener]]
name = "echo"
protocol = "echo"
lisen = "127.0.0.1:9000"
backlog = 0
backlog = 1

[listener.limits]
idle = 75s
buffer = "16k"

[[listener]]
name = "echo"
protocol = "udp-echo"
listen = "localhost:9000"

[listener.tls]
certificate = "cert.pem"
"#;
    let errors = Config::parse("gateway.toml", text).unwrap_err();
    let places: Vec<_> = errors
        .iter()
        .map(|error| (error.position().map_or(0, |position| position.line), error.key()))
        .collect();
    let expected = [
        (5, "loging"),
        (9, "drain.grace"),
        (14, "listener[0].lisen"),
        (15, "listener[0].backlog"),
        (16, "backlog"),
        (19, ""),
        (20, "listener[0].limits.buffer"),
        (23, "listener[1].name"),
        (25, "listener[1].listen"),
        (27, "listener[1].tls"),
    ];
    assert_eq!(places, expected, "\n{errors}");
}

#[test]
fn the_source_line_is_shown_on_demand() {
    let text = "[log]\n\tlevl = 'info'  # é\n";
    let errors = Config::parse("gateway.toml", &format!("{text}{LISTENER}")).unwrap_err();
    let line = "gateway.toml:2:2: unknown key `levl` in [log]: did you mean `level`?";
    assert_eq!(errors.to_string(), line);
    let expected = format!("{line}\n   |\n 2 |  levl = 'info'  # é\n   |  ^^^^");
    assert_eq!(format!("{errors:#}"), expected);
}

#[test]
fn a_token_in_the_file_is_not_shown() {
    let text = format!("[admin]\ntoken = 'hunter2'{LISTENER}");
    let shown = format!("{:#}", Config::parse("t", &text).unwrap_err());
    assert!(shown.contains("t:2:1") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn what_may_be_a_secret_is_not_shown_either() {
    for wrong in [
        "[admin]\ntokn = 'hunter2'",
        "[admin]\nlisten = '127.0.0.1:1'\ntoken = 'a'\ntoken = 'hunter2'",
        "[traces]\nto = 'http://u:hunter2@h'",
        "[traces]\nto = http://u:hunter2@h",
        "[[policy]]\nname = 'p'\n[policy.rate]\nredis = redis://:hunter2@10.0.0.9",
        "[[policy]]\nname = 'p'\n[policy.rate]\nrediss = 'hunter2'",
        "[[policy]]\nname = 'p'\n[policy.keys]\nkey = ['shop: hunter2']",
        "[[policy]]\nname = 'p'\n[policy.keys]\nkeys = ['shop: hunter2'",
        "[[policy]]\nname = 'p'\n[policy.forward]\nurl = 'http://admin:hunter2@h/'",
    ] {
        let shown = format!("{:#}", Config::parse("t", &format!("{wrong}{LISTENER}")).unwrap_err());
        assert!(!shown.contains("hunter2"), "{wrong}\n{shown}");
    }
}
