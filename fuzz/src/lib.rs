//! Functions that read bytes from outside, each as a function that must not panic, whatever they
//! are. A target is one line of [`TARGETS`] and a function in [`targets`].
//!
//! Private to their crates, and so not here: certificates' dates (`staunch-net`), queries and heap
//! dumps (`staunch-console`).

mod targets;

/// Something that reads bytes.
pub struct Target {
    pub name: &'static str,
    /// Panics if it finds something wrong.
    pub run: fn(&[u8]),
    /// What it reads in earnest; inputs are made from these.
    pub seeds: &'static [&'static [u8]],
}

const fn target(name: &'static str, run: fn(&[u8]), seeds: &'static [&'static [u8]]) -> Target {
    Target { name, run, seeds }
}

pub const TARGETS: &[Target] = &[
    target("http1-framing", targets::http1_framing, targets::REQUESTS),
    target("http2-frames", targets::http2_frames, targets::FRAMES),
    target("plain-request", targets::plain_request, targets::REQUESTS),
    target("plain-head", targets::plain_head, targets::REQUESTS),
    target("answer", targets::answer, targets::ANSWERS),
    target("chunked", targets::chunked, targets::CHUNKED),
    target("host", targets::host, &[b"a", b"[::1]:80", b"a.b.c:65535", b"user@a", b"1.2.3.4:"]),
    target("events", targets::events, targets::EVENTS),
    target("websocket", targets::websocket, targets::WEBSOCKETS),
    target(
        "no-proxy",
        targets::no_proxy,
        &[b"a.com, .b:80 10.0.0.0/8", b"[::1]:81,*", b"::1,fd00::/8,*.c"],
    ),
    target("traceparent", targets::traceparent, targets::TRACEPARENTS),
    target("lines", targets::lines, &[b"one\r\ntwo\n\nthree", b"\r\r\n\r"]),
    target("proxy-header", targets::proxy_header, targets::PROXY_HEADERS),
    target("endpoint", targets::endpoint, &[b"127.0.0.1:80", b"unix:/run/a", b"[::]:1"]),
    target("config", targets::config, targets::CONFIGS),
    target(
        "ip-range",
        targets::ip_range,
        &[b"10.0.0.0/8", b"::ffff:10.0.0.0/104", b"2001:db8::/33", b"::1"],
    ),
    target(
        "origin",
        targets::origin,
        &[b"https://*.a.com", b"a.com:443", b"http://[::1]:80", b"http://localhost:3000"],
    ),
    target("token", targets::token, targets::TOKENS),
    target("key-set", targets::key_set, targets::KEY_SETS),
    target(
        "duration",
        targets::duration,
        &[b"1h 2m", b"300 ms", b"1.5s", b"18446744073709551615d"],
    ),
    target("goroutine-dump", targets::goroutine_dump, targets::GOROUTINE_DUMPS),
    target("profile", targets::profile, targets::PROFILES),
    target("text-profile", targets::text_profile, targets::TEXT_PROFILES),
    target("thread-dump", targets::thread_dump, targets::THREAD_DUMPS),
    target("class-histogram", targets::class_histogram, targets::CLASS_HISTOGRAMS),
    target("samples", targets::samples, targets::SAMPLES),
    target("socket-list", targets::socket_list, targets::SOCKET_LISTS),
    target("proc-net", targets::proc_net, targets::PROC_NETS),
    target("sock-diag", targets::sock_diag, targets::DATAGRAMS),
    target("proc-pid", targets::proc_pid, targets::PROC_PIDS),
    target(
        "fd-link",
        targets::fd_link,
        &[b"socket:[123]", b"/a (deleted)", b"anon_inode:[eventfd]"],
    ),
];
