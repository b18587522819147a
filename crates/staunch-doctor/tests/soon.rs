//! How soon a rare leak is named: one goroutine with one in 1,000 requests, at 500 requests a second.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread,
    time::{Duration, Instant},
};

use staunch::Context;
use staunch_diagnosis::{Finding, Options, diagnose};
use staunch_doctor::{Plan, Target, watch};
use staunch_harness::fixture::{Mark, Running, Twin, pair};

/// What somebody waits for who has just been told that a service leaks.
const SOON: Duration = Duration::from_secs(30);

const REQUESTS_EVERY: Duration = Duration::from_millis(2);
const REQUESTS_A_LEAK: u32 = 1000;

#[test]
fn a_rare_leak_is_named_within_thirty_seconds() {
    let pair = pair("go/send-nobody-receives").unwrap();
    let service = pair.program(Twin::Leaky).start().unwrap();
    let target = Target::parse(service.pprof().unwrap()).unwrap();
    let (says, said) = sync_channel(1);
    let (findings, requests) = thread::scope(|threads| {
        threads.spawn(move || says.send(examine(target)).unwrap());
        requests_until(&service, &said)
    });
    service.stop().unwrap();
    let (findings, took) = findings;
    println!("named after {took:?}, in which there were {requests} requests");
    assert!(took < SOON, "{took:?}");
    let [finding] = &findings[..] else { panic!("{findings:?}") };
    let birth = finding.birth.as_ref().unwrap();
    assert!(pair.marks().unwrap().is_right(Mark::Birth, &birth.file, birth.line), "{finding:?}");
}

/// What is found in ten looks, and how long that takes.
fn examine(target: Target) -> (Vec<Finding>, Duration) {
    let begun = Instant::now();
    let (period, every) = (Duration::from_secs(20), Duration::from_secs(2));
    let plan = Plan { targets: vec![target], period, every, headers: Vec::new(), records: false };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let seen = runtime.block_on(watch(plan, &Context::background(), |_| ())).unwrap();
    (diagnose(&seen[0].history, &Options::default()), begun.elapsed())
}

/// Requests on a connection that is kept, of which the last of each thousand leaks, until there is an
/// answer; with how many there were.
fn requests_until<T>(service: &Running, answer: &Receiver<T>) -> (T, u32) {
    let mut socket = BufReader::new(TcpStream::connect(service.address()).unwrap());
    let begun = Instant::now();
    let mut count = 0;
    loop {
        let left = (REQUESTS_EVERY * count).saturating_sub(begun.elapsed());
        match answer.recv_timeout(left) {
            Err(RecvTimeoutError::Timeout) => count += 1,
            answer => return (answer.unwrap(), count),
        }
        match count % REQUESTS_A_LEAK {
            0 => service.work(1).unwrap(),
            _ => request(&mut socket),
        }
    }
}

/// A request for what the service does not have, and its answer.
fn request(socket: &mut BufReader<TcpStream>) {
    socket.get_mut().write_all(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut length = 0;
    loop {
        let mut line = String::new();
        assert!(socket.read_line(&mut line).unwrap() > 0, "the service hung up");
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(bytes) = line.strip_prefix("content-length: ") {
            length = bytes.parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    socket.read_exact(&mut vec![0; length]).unwrap();
}
