//! Keys that are unknown, missing, written twice, or out of place.

use super::{check, check_datagram, check_listener, check_top};

#[test]
fn nothing_wrong() {
    check_top("", &[]);
    check_listener("limits = { idle = 'unlimited', buffer = '1KiB' }", &[]);
    check_listener("limits.idle = '5m'", &[]);
    check_datagram("[listener.limits]\npeers = 'unlimited'", &[]);
}

#[test]
fn unknown_keys() {
    check_listener(
        "bcklog = 3",
        &["5:1: unknown key `bcklog` in [[listener]] \"a\": did you mean `backlog`?"],
    );
    check_listener(
        "colour = 3",
        &["5:1: unknown key `colour` in [[listener]] \"a\": allowed are `name`, `protocol`, \
           `listen`, `backlog`, `reuse_port`, `proxy_protocol_from`, `limits`, `socket`, `tls`"],
    );
    check_listener(
        "nodelay = true",
        &["5:1: unknown key `nodelay` in [[listener]] \"a\": it belongs in [listener.socket]"],
    );
    check_listener(
        "[listener.limits]\npeers = 1",
        &["6:1: unknown key `peers` in [listener.limits] of \"a\": allowed are `connections`, \
           `lifetime`, `first_byte`, `idle`, `read_stall`, `message`, \
           `half_close`, `write_stall`, `connections_per_ip`, `min_send_rate`, `buffer`"],
    );
    check_top(
        "[logging]\nlevel = 'info'",
        &["1:2: unknown key `logging` at the top level: did you mean `log`?"],
    );
    check_top(
        "[log]\n\"a\\nb\" = 1",
        &["2:1: unknown key `a\\nb` in [log]: allowed are `format`, `level`"],
    );
}

/// A slip in a required key is one mistake, not two.
#[test]
fn a_slip_in_a_required_key() {
    check(
        "[[listener]]\nname = 'a'\nprotocol = 'echo'\nlisen = '127.0.0.1:9000'",
        &["4:1: unknown key `lisen` in [[listener]] \"a\": did you mean `listen`?"],
    );
    check(
        "[[listeners]]\nname = 'a'",
        &["1:3: unknown key `listeners` at the top level: did you mean `listener`?"],
    );
    check(
        "[[listener]]\nname = 'a'\nprotocl = 'echo'\nlisten = '127.0.0.1:0'\nfoo = 1",
        &["3:1: unknown key `protocl` in [[listener]] \"a\": did you mean `protocol`?"],
    );
}

#[test]
fn missing_keys() {
    check(
        "listener = []",
        &["1:12: `listener` at the top level is an array: must hold 1 to 1000 tables"],
    );
    check(
        "",
        &["1:1: `listener` is missing at the top level: nothing would be served; write a \
           [[listener]]"],
    );
    check(
        "[[listener]]",
        &[
            "1:1: `name` is missing in [[listener]] #1: write it, such as name = \"echo\"",
            "1:1: `protocol` is missing in [[listener]] #1: write it, such as protocol = \"echo\"",
            "1:1: `listen` is missing in [[listener]] #1: write it, such as listen = \
             \"127.0.0.1:9000\"",
        ],
    );
    check_listener(
        "[listener.tls]",
        &[
            "5:1: `certificate` is missing in [listener.tls] of \"a\": write it, such as \
             certificate = \"cert.pem\"",
            "5:1: `key` is missing in [listener.tls] of \"a\": write it, such as key = \
             \"key.pem\"",
        ],
    );
}

#[test]
fn duplicates() {
    check_listener("name = 'b'", &["5:1: duplicate key `name`: it is there already on line 2"]);
    check_listener(
        "limits = { idle = '1s', idle = '2s' }",
        &["5:25: duplicate key `idle`: it is there already on line 5"],
    );
    check_top(
        "[log]\nlevel = 'info'\n[drain]\n[log]\nformat = 'xml'",
        &[
            "4:2: table `log` is written twice: join the two",
            "5:10: `format` in [log] is \"xml\": must be one of `text`, `json`",
        ],
    );
    check_listener(
        "[[listener]]\nname = 'a'\nprotocol = 'echo'\nlisten = '127.0.0.1:9001'",
        &["6:8: `name` in [[listener]] \"a\" is \"a\": line 2 has that name already"],
    );
    check_top(
        "[listener]\nname = 'b'\nprotocol = 'demo'\nlisten = '127.0.0.1:1'",
        &[
            "1:1: `listener` at the top level is a table: must be an array of tables, \
             [[listener]]",
            "5:3: `listener` is written otherwise above: each one needs [[listener]]",
        ],
    );
}

#[test]
fn keys_that_could_not_act() {
    check_datagram(
        "backlog = 3\n[listener.tls]\ncertificate = 'c'\n[listener.socket]\nnodelay = true",
        &[
            "5:1: `backlog` in [[listener]] \"a\": only connections wait to be accepted, and UDP \
             has none",
            "6:11: `tls` in [[listener]] \"a\": TLS needs a connection, and UDP has none",
            "8:11: `socket` in [[listener]] \"a\": these are options of TCP, and this is UDP",
        ],
    );
    check_datagram(
        "limits.idle = '5s'",
        &["5:8: unknown key `idle` in [listener.limits] of \"a\": allowed are `datagram`, \
           `peers`, `peer_idle`"],
    );
    check(
        "[[listener]]\nname = 'a'\nprotocol = 'echo'\nlisten = 'unix:x'\nreuse_port = true\n\
         socket.nodelay = true",
        &[
            "5:1: `reuse_port` in [[listener]] \"a\": a Unix socket has no port",
            "6:1: `socket` in [[listener]] \"a\": these are options of TCP, and this is a Unix \
             socket",
        ],
    );
}

#[test]
fn limits_that_could_not_act() {
    check_listener(
        "limits.handshake = '5s'",
        &["5:8: `handshake` in [listener.limits] of \"a\": there is none without \
               [listener.tls] or `proxy_protocol_from`"],
    );
    let tls = "[listener.tls]\ncertificate = 'c'\nkey = 'k'\n";
    check_listener(&format!("limits.handshake = '5s'\n{tls}"), &[]);
    check(
        "[[listener]]\nname = 'a'\nprotocol = 'echo'\nlisten = 'unix:x'\n\
         limits.connections_per_ip = 3",
        &[
            "5:8: `connections_per_ip` in [listener.limits] of \"a\": who uses a Unix socket has no \
           IP address",
        ],
    );
    let http = |keys: &str| {
        format!("[[listener]]\nname='a'\nprotocol='demo'\nlisten='127.0.0.1:1'\n{keys}\n")
    };
    check(
        &http("limits.message = '5s'"),
        &["5:8: `message` in [listener.limits] of \"a\": HTTP has limits of its own for the head \
           and the body of a request"],
    );
    check(
        &http("limits.buffer = '4KiB'"),
        &["5:17: `buffer` in [listener.limits] of \"a\" is \"4KiB\": must be a size from 8KiB to \
           16MiB"],
    );
    check(
        &http(&format!("{tls}alpn = ['h2', 'h3']")),
        &["8:8: `alpn` in [listener.tls] of \"a\" is an array: must be a list of \"h2\" and \
           \"http/1.1\", which are spoken"],
    );
}

/// Which keys are allowed depends on the protocol; if that is wrong, only values are looked at.
#[test]
fn a_wrong_protocol() {
    check(
        "[[listener]]\nname = 'a'\nprotocol = 'upd-echo'\nlisten = '127.0.0.1:0'\n\
         [listener.limits]\npeers = 3\nbuffer = 3",
        &[
            "3:12: `protocol` in [[listener]] \"a\" is \"upd-echo\": must be one of `http`, \
             `tcp`, `udp`, `echo`, `udp-echo`, `demo`, `bank`; did you mean `udp-echo`?",
            "7:10: `buffer` in [listener.limits] of \"a\" is 3: must be a size such as \"512B\" \
             or \"16KiB\", in quotes",
        ],
    );
}
