//! Values of the wrong type or out of bounds.

use super::{LISTENER, check, check_listener, check_top, mistakes};

#[test]
fn wrong_types() {
    check_top(
        "[drain]\ngrace = 10",
        &["2:9: `grace` in [drain] is 10: must be a duration such as \"10s\" or \"1m30s\", in \
           quotes"],
    );
    check_top(
        "[runtime]\nworkers = '2'",
        &["2:11: `workers` in [runtime] is \"2\": must be a whole number from 1 to 1024"],
    );
    check_top(
        "[admin]\nenabled = 1979-05-27",
        &["2:11: `enabled` in [admin] is 1979-05-27: must be true or false"],
    );
    check_top("log = 'info'", &["1:7: `log` at the top level is \"info\": must be a table, [log]"]);
    check_listener(
        "tls = true",
        &["5:7: `tls` in [[listener]] \"a\" is true: must be a table, [listener.tls]"],
    );
    check(
        "listener = 3",
        &["1:12: `listener` at the top level is 3: must be an array of tables, [[listener]]"],
    );
    check(
        "listener = [3]",
        &["1:13: entry #1 of `listener` is 3: must be an array of tables, [[listener]]"],
    );
    check(
        "[listener]\nname = 'a'\nprotocol = 'echo'\nlisten = 3",
        &[
            "1:1: `listener` at the top level is a table: must be an array of tables, \
             [[listener]]",
            "4:10: `listen` in [[listener]] \"a\" is 3: must be an IP address and port such as \
             \"127.0.0.1:9000\", in quotes, or \"unix:/path\"",
        ],
    );
    check_listener(
        "[listener.tls]\ncertificate = 'c'\nkey = ''\nalpn = ['h2', 2]",
        &[
            "7:7: `key` in [listener.tls] of \"a\" is \"\": must be the path of a file",
            "8:8: `alpn` in [listener.tls] of \"a\" is an array: must be a list of names such as \
             [\"echo/1\"]",
        ],
    );
}

#[test]
fn bad_values() {
    check_listener(
        "backlog = 0x1_0000",
        &["5:11: `backlog` in [[listener]] \"a\" is 0x10000: must be a whole number from 1 to \
           65535"],
    );
    check_listener(
        "backlog = -1",
        &["5:11: `backlog` in [[listener]] \"a\" is -1: must be a whole number from 1 to 65535"],
    );
    check_listener(
        "limits.idle = '10x'",
        &["5:15: `idle` in [listener.limits] of \"a\" is \"10x\": must be a duration such as \
           \"10s\" or \"1m30s\" (`x` is no unit: h, m, s, ms, us or ns), or \"unlimited\""],
    );
    check_listener(
        "limits.idle = '0s'",
        &["5:15: `idle` in [listener.limits] of \"a\" is \"0s\": must be a duration from 1ms to \
           8760h, or \"unlimited\""],
    );
    check_listener(
        "limits.buffer = '16'",
        &["5:17: `buffer` in [listener.limits] of \"a\" is \"16\": must be a size such as \
           \"512B\" or \"16KiB\" (`16` has no unit: B, KiB, MiB, GiB, TiB, or decimal KB, MB, GB, \
           TB)"],
    );
    check_listener(
        "limits.buffer = '1GiB'",
        &["5:17: `buffer` in [listener.limits] of \"a\" is \"1GiB\": must be a size from 512B to \
           16MiB"],
    );
    check_listener(
        "limits.buffer = 'unlimited'",
        &["5:17: `buffer` in [listener.limits] of \"a\" is \"unlimited\": must be a size such as \
           \"512B\" or \"16KiB\" (a number is missing)"],
    );
    check_listener(
        "socket.linger = '5s'",
        &["5:17: `linger` in [listener.socket] of \"a\" is \"5s\": must be one of `off`, `0s`; \
           did you mean `0s`?"],
    );
    check_top(
        "log.level = 'inof'",
        &["1:13: `level` in [log] is \"inof\": must be off, error, warn, info, debug, trace, or \
           directives such as \"info,staunch_net=debug\" (`inof` is no level)"],
    );
    check_top(
        "[log]\nformat = 'jsn'",
        &["2:10: `format` in [log] is \"jsn\": must be one of `text`, `json`; did you mean \
           `json`?"],
    );
}

#[test]
fn bad_addresses_and_names() {
    let listen = |address: &str| LISTENER.trim_start().replace("127.0.0.1:9000", address);
    for (address, why) in [
        ("localhost:9000", " (a name can have many addresses: write the one to listen on)"),
        (":9000", " (for all addresses write 0.0.0.0 or [::])"),
        ("127.0.0.1", " (it has no port)"),
        ("127.0.0.1:99999", " (ports are 0 to 65535)"),
        ("[::1:80", ""),
    ] {
        check(
            &listen(address),
            &[&format!(
                "4:10: `listen` in [[listener]] \"a\" is \"{address}\": must be an IP address \
                 and port such as \"127.0.0.1:9000\"{why}, or \"unix:/path\""
            )],
        );
    }
    check(
        &listen("unix:"),
        &["4:10: `listen` in [[listener]] \"a\" is \"unix:\": must name a path of 1 to 107 bytes"],
    );
    assert_eq!(mistakes(&listen(&format!("unix:{}", "x".repeat(107)))).len(), 0);
    assert_eq!(mistakes(&listen(&format!("unix:{}", "x".repeat(108)))).len(), 1);
    for name in ["", "A", "a b", "é", &"x".repeat(33)] {
        check(
            &LISTENER.trim_start().replace("'a'", &format!("'{name}'")),
            &[&format!(
                "2:8: `name` in [[listener]] \"{name}\" is \"{name}\": must be 1 to 32 of a-z, \
                 0-9 and -"
            )],
        );
    }
}

/// Marks in ascending order, and reactions that there are.
#[test]
fn a_guard_that_makes_no_sense() {
    check_top(
        "[guard]\nwarn = 95\nrefuse = 101",
        &[
            "2:8: `warn` in [guard] is 95: must be at most `shed`, which is 90",
            "3:10: `refuse` in [guard] is 101: must be a whole number from 1 to 100",
        ],
    );
    check_top(
        "[guard]\nmemory = 'off'\nat_shed = ['purge', 'pray']\nevery = '0s'",
        &[
            "2:10: `memory` in [guard] is \"off\": must be a size such as \"512B\" or \"16KiB\" (a \
             number is missing), or \"none\"",
            "3:11: `at_shed` in [guard] is an array: `pray` must be one of `purge`, `close-idle`, \
             `refuse-streams`, `shed-low`, `shed-normal`, `shed-high`, \
             `refuse-connections`",
            "4:9: `every` in [guard] is \"0s\": must be a duration from 5ms to 10s",
        ],
    );
}

/// Nothing that says who somebody is can be logged.
#[test]
fn an_access_log_that_is_none() {
    check_top(
        "[access_log]\nto = ''\nformat = 'csv'\none_in = 0\nheaders = ['Cookie', 'a b']\nbuffer = '1B'",
        &[
            "2:6: `to` in [access_log] is \"\": must be \"none\", \"stdout\" or the path of a file",
            "3:10: `format` in [access_log] is \"csv\": must be one of `json`, `text`",
            "4:10: `one_in` in [access_log] is 0: must be a whole number from 1 to 1000000",
            "5:11: `headers` in [access_log] is an array: `Cookie` must be another header: this one \
             holds secrets",
            "6:10: `buffer` in [access_log] is \"1B\": must be a size from 64KiB to 1GiB",
        ],
    );
    let nine: Vec<String> = (0..9).map(|number| format!("h{number}")).collect();
    check_top(
        &format!("[access_log]\nto = 'f'\nheaders = {nine:?}"),
        &["3:11: `headers` in [access_log] is an array: must hold 8 names at most"],
    );
}

#[test]
fn traces_that_cannot_be_sent() {
    let url = "must be \"none\", or the URL of a collector such as \"http://127.0.0.1:4318\", without a \
               name, a password or a query";
    check_top(
        "[traces]\nto = 'collector:4317'\none_in = 0\nfollow = 1\nservice = ''\nbuffer = 1",
        &[
            &format!("2:6: `to` in [traces] is \"collector:4317\": {url}"),
            "3:10: `one_in` in [traces] is 0: must be a whole number from 1 to 1000000",
            "4:10: `follow` in [traces] is 1: must be true or false",
            "5:11: `service` in [traces] is \"\": must be what spans are of: 1 to 128 characters, none of \
             them a control character",
            "6:10: `buffer` in [traces] is 1: must be a whole number from 64 to 65536",
        ],
    );
    check_top(
        "[traces]\nto = 'http://c/?token=a'\nheaders_file = ''",
        &[
            &format!("2:6: `to` in [traces] is \"http://c/?token=a\": {url}"),
            "3:16: `headers_file` in [traces] is \"\": must be the path of a file",
        ],
    );
    check_top(
        "[traces]\nto = 'http://c:4318'\nca = 'a.pem'",
        &["3:6: `ca` in [traces] is \"a.pem\": must not be there: nobody is asked over https"],
    );
}

#[test]
fn traces_go_where_otlp_has_them_unless_a_path_is_written() {
    for (written, to) in [
        ("http://c:4318", "http://c:4318/v1/traces"),
        ("https://c/", "https://c/v1/traces"),
        ("https://c/otlp/v1/traces", "https://c/otlp/v1/traces"),
    ] {
        let listener = "[[listener]]\nname = 'a'\nprotocol = 'echo'\nlisten = '127.0.0.1:1'\n";
        let text = format!("{listener}[traces]\nto = '{written}'");
        let config = staunch_config::Config::parse("t", &text).unwrap();
        assert_eq!(config.traces, Some(staunch_config::Traces::new(to)));
    }
}
