//! A server that does on each connection what the test says.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{Builder, JoinHandle},
    time::Duration,
};

/// Ends when it is dropped.
pub(crate) struct Raw {
    pub(crate) port: u16,
    accepted: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Raw {
    /// Runs `script` on each connection, with its number, from 0.
    pub(crate) fn start(script: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> Raw {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (accepted, is_over) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (count, over) = (Arc::clone(&accepted), Arc::clone(&is_over));
        let accept = move || {
            std::thread::scope(|scope| {
                for stream in listener.incoming().filter_map(Result::ok) {
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                    let (number, script) = (count.fetch_add(1, Ordering::SeqCst), &script);
                    scope.spawn(move || script(stream, number));
                }
            });
        };
        let acceptor = Builder::new().name("raw".into()).spawn(accept).unwrap();
        Raw { port, accepted, is_over, acceptor: Some(acceptor) }
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port)); // wakes the acceptor
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join(); // a panic there is on standard error
        }
    }
}

/// Reads a request's head; `None` when the client has closed.
pub(crate) fn read_head(stream: &mut TcpStream) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    String::from_utf8(head).ok()
}

/// Answers each request with `answer`, until the client closes.
pub(crate) fn answer_all(stream: &mut TcpStream, answer: &str) -> io::Result<()> {
    while read_head(stream).is_some() {
        stream.write_all(answer.as_bytes())?;
    }
    Ok(())
}

/// Waits until the client closes; whether it did.
pub(crate) fn until_closed(stream: &mut TcpStream) -> bool {
    loop {
        match stream.read(&mut [0; 4096]) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}
