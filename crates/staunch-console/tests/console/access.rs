//! Who is answered.

use staunch_console::{Access, Console, Readiness, Secret};

use crate::support::{ask, get, with, with_console};

const TOKEN: &str = "correct-horse-battery-staple";

#[staunch::test]
async fn a_name_that_resolves_to_loopback_does_not_open_the_console() {
    with_console(async |console| {
        let check = async |head: &str, status| {
            let answer = ask(console, &format!("GET /debug/ledger HTTP/1.1\r\n{head}")).await;
            assert_eq!(answer.status, status, "{head}: {}", answer.text());
        };
        check(&format!("Host: {console}\r\n"), 200).await;
        check("Host: localhost:6060\r\n", 200).await;
        check("Host: [::1]:6060\r\n", 200).await;
        check("Host: rebound.test\r\n", 403).await;
        check("Host: localhost\r\nOrigin: http://evil.test\r\n", 403).await;
        check("Host: localhost\r\nSec-Fetch-Site: cross-site\r\n", 403).await;
        let probe = ask(console, "GET /healthz HTTP/1.1\r\nHost: 10.0.0.1\r\n").await;
        assert_eq!(probe.status, 200, "probes are for everybody");
    })
    .await;
}

#[staunch::test]
async fn with_a_token_nothing_but_probes_is_answered_without_it() {
    let access = Access::Token(Secret::new(TOKEN).unwrap());
    with(access, Readiness::default(), Console::limits(), async |console| {
        let check = async |path: &str, head: &str, status| {
            let request = format!("GET {path} HTTP/1.1\r\nHost: ops.test\r\n{head}");
            let answer = ask(console, &request).await;
            assert_eq!(answer.status, status, "{path} {head}");
            answer
        };
        let none = check("/metrics", "", 401).await;
        assert!(none.headers.contains("\r\nwww-authenticate: bearer"));
        assert!(none.text().contains("Authorization: Bearer"));
        check("/metrics", "Authorization: Bearer wrong-wrong-wrong\r\n", 401).await;
        check("/metrics", &format!("Authorization: Bearer {TOKEN}\r\n"), 200).await;
        check("/no-page", "", 401).await;
        check("/no-page", &format!("Authorization: Bearer {TOKEN}\r\n"), 404).await;
        check("/readyz", "", 503).await;
        assert_eq!(get(console, "/healthz").await.status, 200);
    })
    .await;
}

#[test]
fn a_token_is_read_from_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, format!("{TOKEN}\n")).unwrap();
    assert!(Secret::read(&path).is_ok());
    std::fs::write(&path, "short\n").unwrap();
    let short = Secret::read(&path).unwrap_err().to_string();
    assert!(short.starts_with("the token has 5 bytes; it must have 16 to 1024"), "{short}");
    std::fs::write(&path, "x".repeat(1 << 20)).unwrap();
    assert!(Secret::read(&path).unwrap_err().to_string().contains("2048 bytes"));
    let missing = Secret::read(&directory.path().join("none")).unwrap_err().to_string();
    assert!(missing.starts_with("cannot read the token from "), "{missing}");
}
