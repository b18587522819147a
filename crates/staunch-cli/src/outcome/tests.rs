//! The only test of this program that counts the files of its own process.

use std::net::TcpListener;

use super::*;

#[test]
fn what_only_the_kernel_has_is_left() {
    let owned = Ledger::new();
    let inherited = owned.adopt_open_fds("was there before the test").unwrap();
    let forgotten = TcpListener::bind("127.0.0.1:0").unwrap();
    let unaccounted = owned.reconcile().unwrap().unaccounted;
    drop(inherited);

    let end = End { left: &[], unaccounted: &unaccounted, detector: Detector::Awake };
    let mut printed = Vec::new();
    Served::default().print(&end, &mut printed).unwrap();
    let address = forgotten.local_addr().unwrap();
    let printed = String::from_utf8(printed).unwrap();
    let lines: Vec<&str> = printed.lines().collect();
    let expected = format!("tcp LISTEN {address}, which is not on the ledger");
    assert!(lines[0].starts_with("left: fd ") && lines[0].ends_with(&expected), "{printed}");
    assert_eq!(
        lines[1],
        "served 0 connections (0 refused, 0 cut by the drain) and 0 datagrams; 1 left"
    );
    assert_eq!(Books::new(*owned).close(&unaccounted), Outcome::Failed);
    assert_eq!(Books::new(*owned).close(&[]), Outcome::Done);
}
