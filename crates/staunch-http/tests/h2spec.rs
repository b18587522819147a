//! What h2spec, a conformance test of HTTP/2, says of the server. `cargo xtask test` installs it; where
//! it is not installed nothing is tested, and the test says so.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

use std::{path::Path, process::Command};

use http_body_util::BodyExt;
use hyper::Request;
use staunch_http::{HttpLimits, RequestBody, handler};
use staunch_net::Limits;

#[path = "server/support.rs"]
#[allow(dead_code, reason = "the tests of the server use the rest of it")]
mod support;

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/tools/h2spec");

/// Where the server does otherwise. A case that is not here must pass, and one that is must fail.
const OTHERWISE: &[&str] = &[
    // What does not begin as HTTP/2 is HTTP/1, and is refused in that: 400, and the connection closed. To
    // h2spec the answer is a frame that does not end.
    "2: Sends invalid connection preface",
];

#[staunch::test]
async fn the_server_conforms() {
    if !Path::new(PROGRAM).exists() {
        eprintln!("h2spec is not installed: nothing was tested");
        return;
    }
    let (http, limits) = (HttpLimits::default(), Limits::default());
    let service = handler(async |request: Request<RequestBody>| {
        let _ = request.into_body().collect().await;
        support::text(vec![b'.'; 200_000])
    });
    support::with_server(http, limits, service, async |address, scope| {
        let spec = scope.blocking(move |_| {
            let port = address.port().to_string();
            Ok(Command::new(PROGRAM).args(["--strict", "--port", &port]).output()?)
        });
        let report = String::from_utf8(spec.join().await.unwrap().stdout).unwrap();
        let (_, failures) = report.split_once("Failures:").unwrap_or((&report, ""));
        let failed = failures.lines().filter_map(|line| line.trim().strip_prefix("× "));
        let failed: Vec<&str> = failed.collect();
        assert!(report.contains("146 tests, ") && failed == OTHERWISE, "{report}");
    })
    .await;
}
