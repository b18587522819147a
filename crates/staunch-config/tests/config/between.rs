//! Keys that are right each and wrong together.

use super::{LISTENER, check, check_listener, check_top, parse};

#[test]
fn overlapping_addresses() {
    let other = |protocol: &str, listen: &str| {
        format!("[[listener]]\nname = 'b'\nprotocol = '{protocol}'\nlisten = '{listen}'")
    };
    check_listener(
        &other("demo", "127.0.0.1:9000"),
        &["8:10: `listen` in [[listener]] \"b\" is 127.0.0.1:9000: [[listener]] \"a\" has \
           127.0.0.1:9000 (line 4); choose another"],
    );
    check_listener(
        &other("demo", "0.0.0.0:9000"),
        &["8:10: `listen` in [[listener]] \"b\" is 0.0.0.0:9000: [[listener]] \"a\" has \
           127.0.0.1:9000 (line 4); choose another"],
    );
    check_listener(
        &other("demo", "127.0.0.1:6060"),
        &["8:10: `listen` in [[listener]] \"b\" is 127.0.0.1:6060: [admin] has 127.0.0.1:6060 \
           (by default); choose another"],
    );
    check_top(
        "[admin]\nlisten = '127.0.0.1:9000'",
        &["6:10: `listen` in [[listener]] \"a\" is 127.0.0.1:9000: [admin] has 127.0.0.1:9000 \
           (line 2); choose another"],
    );
    check_top("[admin]\nenabled = false\nlisten = '127.0.0.1:9000'", &[]);
    check_listener(&other("udp-echo", "127.0.0.1:9000"), &[]);
    check_listener(&other("demo", "127.0.0.2:9000"), &[]);
}

#[test]
fn contradictions() {
    check_listener(
        "[listener.limits]\nread_stall = '1m'\nlifetime = '30s'",
        &["6:14: `read_stall` in [listener.limits] of \"a\" is \"1m\": must not exceed \
           `lifetime`, which is 30s"],
    );
    check_listener(
        "limits = { idle = '25h', connections = 5, connections_per_ip = 6 }",
        &[
            "5:19: `idle` in [listener.limits] of \"a\" is \"25h\": must not exceed `lifetime`, \
             which is 24h",
            "5:64: `connections_per_ip` in [listener.limits] of \"a\" is 6: must not exceed \
             `connections`, which is 5",
        ],
    );
    // A wrong limit is one mistake; nothing is held against it.
    check_listener(
        "limits = { idle = '25h', lifetime = '1d' }",
        &["5:37: `lifetime` in [listener.limits] of \"a\" is \"1d\": must be a duration such as \
           \"10s\" or \"1m30s\" (`d` is no unit: h, m, s, ms, us or ns), or \"unlimited\""],
    );
    check_listener(
        "limits.buffer = '2MiB'\n[memory]\nbuffers = '1MiB'",
        &[
            "5:17: `buffer` in [listener.limits] of \"a\" is \"2MiB\": must not exceed `buffers` in \
           [memory], which is 1MiB",
        ],
    );
}

#[test]
fn shares_that_hold_no_buffer() {
    let other = "[[listener]]\nname = 'b'\nprotocol = 'echo'\nlisten = '127.0.0.1:9001'\n";
    let memory = "[memory]\nbuffers = '1MiB'\n";
    check_listener(
        &format!("limits.buffer = '768KiB'\n{other}{memory}"),
        &[
            "10:1: `buffers` in [memory] is 1MiB for 2 listeners, 512KiB each: `buffer` of \"a\" is \
           768KiB, which is more",
        ],
    );
    check_listener(&format!("limits.buffer = '768KiB'\n{memory}"), &[]);
    // HTTP takes none of them.
    let http = other.replace("echo", "demo");
    check_listener(&format!("limits.buffer = '768KiB'\n{http}{memory}"), &[]);
}

#[test]
fn budgets_that_the_guard_does_not_allow() {
    let both = "[memory]\nbodies = '40MiB'\nbuffers = '40MiB'\n[guard]\nmemory = '64MiB'\n";
    check_top(
        both,
        &[
            "1:1: the budgets in [memory] are 80MiB together, and `memory` in [guard] is 64MiB: leave \
           them out, or write a quarter of it for each",
        ],
    );
    check_top("[memory]\nbodies = '16MiB'\n[guard]\nmemory = '64MiB'\n", &[]);
    // Nobody takes pooled buffers; nobody guards.
    let http = LISTENER.replace("echo", "demo");
    check(&format!("{both}{http}"), &[]);
    check_top(&format!("{both}enabled = false\n"), &[]);
}

#[test]
fn budgets_that_nobody_wrote() {
    let budgets = |guard: &str| {
        let memory = parse(&format!("[guard]\n{guard}\n{LISTENER}")).memory;
        (memory.buffers.get(), memory.bodies.get())
    };
    assert_eq!(budgets("memory = '1GiB'"), (64 << 20, 64 << 20));
    assert_eq!(budgets("memory = '64MiB'"), (16 << 20, 16 << 20));
    assert_eq!(budgets("memory = '1MiB'"), (1 << 20, 1 << 20));
    assert_eq!(budgets("memory = '64MiB'\nenabled = false"), (64 << 20, 64 << 20));
}

#[test]
fn tokens() {
    check_top(
        "[admin]\nlisten = '0.0.0.0:6060'",
        &["1:1: `token_file` is missing in [admin]: 0.0.0.0:6060 is reachable beyond this machine"],
    );
    check_top("[admin]\nlisten = '0.0.0.0:6060'\ntoken_file = 'token'", &[]);
    check_top("[admin]\nlisten = '[::1]:6060'", &[]);
    check_top("[admin]\nlisten = '[::ffff:127.0.0.1]:6060'", &[]);
    check_top(
        "[admin]\ntoken = 'secret'",
        &["2:1: `token` in [admin]: it does not belong in here; put it in a file, and name that \
           in `token_file`"],
    );
}
