//! What a watch sees of a Go service: its goroutines at each look, its heap at the first and the last.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    thread,
    time::Duration,
};

use staunch::Context;
use staunch_doctor::{Plan, Seen, Target, chain, watch};

/// Longer than any of these watches looks.
const LONG: Duration = Duration::from_mins(1);

/// What a service shows besides its goroutines.
#[derive(Clone, Default)]
struct Shown {
    heap: Option<Vec<u8>>,
    /// Whether it marks leaked goroutines when it is asked for them.
    leaks: bool,
}

/// Serves captured pages of a service, one connection at a time, until the process ends or somebody
/// asks for `/end`.
fn serve(listener: &TcpListener, shown: &Shown) {
    let mut dump = capture("goroutine-1.debug2.txt");
    for socket in listener.incoming() {
        let mut socket = socket.unwrap();
        match requested(&socket).as_str() {
            "/end" => return,
            "/debug/pprof/goroutineleak?debug=1" if shown.leaks => {
                dump = String::from_utf8(dump).unwrap().replace("]:\n", " (leaked)]:\n").into();
                answer(&mut socket, 200, b"goroutineleak profile: total 1\n");
            }
            path if path.starts_with("/debug/pprof/goroutine") => answer(&mut socket, 200, &dump),
            "/debug/pprof/heap?gc=1" if shown.heap.is_some() => {
                answer(&mut socket, 200, shown.heap.as_deref().unwrap_or_default());
            }
            _ => answer(&mut socket, 404, b"404 page not found"),
        }
    }
}

fn capture(name: &str) -> Vec<u8> {
    let captures = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/captures/go-connection-not-closed");
    fs::read(captures.join(name)).unwrap()
}

fn requested(socket: &TcpStream) -> String {
    let mut lines = BufReader::new(socket).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    let _ = lines.take_while(|line| !line.is_empty()).count();
    first.split(' ').nth(1).unwrap_or_default().to_owned()
}

fn answer(socket: &mut TcpStream, status: u16, body: &[u8]) {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    // Who asks may leave before all is sent.
    let _ = socket.write_all(head.as_bytes()).and_then(|()| socket.write_all(body));
}

/// Watches such a service until `looks` have been made or the period is over.
async fn watched(shown: Shown, period: Duration, looks: usize) -> Seen {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::Builder::new().spawn(move || serve(&listener, &shown)).unwrap();
    let targets = vec![Target::parse(&format!("http://{address}")).unwrap()];
    let plan = Plan {
        targets,
        period,
        every: Duration::from_millis(20),
        headers: Vec::new(),
        records: false,
    };
    let (context, enough) = Context::background().with_cancel();
    let mut enough = Some(enough);
    let seen = watch(plan, &context, move |progress| {
        if progress.looks >= looks
            && let Some(enough) = enough.take()
        {
            enough.cancel();
        }
    });
    let mut seen = seen.await.unwrap();
    TcpStream::connect(address).unwrap().write_all(b"GET /end HTTP/1.1\r\n\r\n").unwrap();
    server.join().unwrap();
    assert_eq!(seen.len(), 1);
    seen.remove(0)
}

fn with_heap(heap: Vec<u8>) -> Shown {
    Shown { heap: Some(heap), ..Shown::default() }
}

/// Whether each look saw a heap.
fn heaps(seen: &Seen) -> Vec<bool> {
    seen.history.instants().iter().map(|it| it.snapshot.heap.is_some()).collect()
}

#[staunch::test]
async fn the_heap_is_looked_at_first_and_last() {
    let seen =
        watched(with_heap(capture("heap-2.pb.gz")), Duration::from_millis(90), usize::MAX).await;
    assert_eq!(seen.notes, [""; 0]);
    let heaps = heaps(&seen);
    assert!(heaps.len() > 2 && heaps[0] && heaps[heaps.len() - 1], "{heaps:?}");
    assert!(!heaps[1..heaps.len() - 1].contains(&true), "{heaps:?}");
}

#[staunch::test]
async fn leaked_goroutines_are_marked_where_the_service_can() {
    let marked = |seen: &Seen| -> Vec<bool> {
        let tasks = seen.history.tasks().map(|(_, tasks)| tasks);
        tasks.map(|it| it.groups.iter().all(|it| it.state.text.ends_with(" (leaked)"))).collect()
    };
    let shown = Shown { leaks: true, ..Shown::default() };
    assert_eq!(marked(&watched(shown, LONG, 1).await), [true; 2]);
    assert_eq!(marked(&watched(Shown::default(), LONG, 1).await), [false; 2]);
}

#[staunch::test]
async fn a_watch_that_is_ended_has_a_last_look() {
    let seen = watched(with_heap(capture("heap-2.pb.gz")), LONG, 2).await;
    assert_eq!(heaps(&seen), [true, false, true]);
    assert!(seen.notes[0].starts_with("the watch was ended after"), "{:?}", seen.notes);
}

#[staunch::test]
async fn a_service_without_a_heap_is_examined_without_it() {
    let seen = watched(Shown::default(), LONG, 2).await;
    assert_eq!(heaps(&seen), [false; 3]);
    assert!(seen.history.instants().iter().all(|it| it.snapshot.tasks.is_some()));
    let notes: Vec<_> = seen.notes.iter().filter(|note| note.contains("heap")).collect();
    assert_eq!(notes.len(), 1, "once is enough: {:?}", seen.notes);
    assert!(notes[0].contains("404"), "{notes:?}");
}

#[staunch::test]
async fn a_page_that_is_no_heap_is_said_to_be_none() {
    let seen = watched(with_heap(b"<html>hello".to_vec()), LONG, 1).await;
    assert_eq!(heaps(&seen), [false; 2]);
    assert!(seen.notes.iter().any(|note| note.contains("no heap profile")), "{:?}", seen.notes);
}

#[staunch::test]
async fn reading_saved_files_ends_with_the_watch() {
    let capture = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/captures/go-connection-not-closed/goroutine-0.debug2.txt");
    let targets = vec![Target::parse(capture.to_str().unwrap()).unwrap()];
    let plan = Plan { targets, period: LONG, every: LONG, headers: Vec::new(), records: false };
    let (context, enough) = Context::background().with_cancel();
    assert_eq!(watch(plan.clone(), &context, |_| ()).await.unwrap().len(), 1);
    enough.cancel();
    let error = chain(&watch(plan, &context, |_| ()).await.unwrap_err());
    assert!(error.contains("not read to its end"), "{error}");
}
