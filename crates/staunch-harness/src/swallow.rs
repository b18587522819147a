//! A proxy that can fall silent: as a network does that drops packets, it neither passes bytes on
//! nor closes anything.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{Builder, JoinHandle},
    time::Duration,
};

/// Passes bytes on to a server on this machine, until it is told to swallow them.
#[derive(Debug)]
pub struct Swallow {
    port: u16,
    state: Arc<State>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    swallows: AtomicBool,
    is_over: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
    openings: Mutex<Vec<Vec<u8>>>,
}

/// So many bytes of what a client says first are kept: a request for TLS, in PostgreSQL's protocol.
const OPENING: usize = 8;

impl Swallow {
    /// A proxy to a port of 127.0.0.1.
    ///
    /// # Errors
    /// Those of sockets and threads.
    pub fn start(to: u16) -> io::Result<Swallow> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let accept = move || accept(&listener, to, &shared);
        let acceptor = Builder::new().name("swallow".into()).spawn(accept)?;
        Ok(Swallow { port, state, acceptor: Some(acceptor) })
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What each of the clients so far has said first: at most 8 bytes of it.
    pub fn openings(&self) -> Vec<Vec<u8>> {
        lock(&self.state.openings).clone()
    }

    /// Whether to swallow what comes from now on.
    pub fn swallow(&self, swallows: bool) {
        self.state.swallows.store(swallows, Ordering::SeqCst);
    }
}

impl Drop for Swallow {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port)); // wakes the acceptor
        for stream in lock(&self.state.streams).drain(..) {
            let _ = stream.shutdown(Shutdown::Both); // it may be closed
        }
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join(); // a panic there is on standard error
        }
    }
}

fn accept(listener: &TcpListener, to: u16, state: &Arc<State>) {
    std::thread::scope(|scope| {
        for client in listener.incoming().filter_map(Result::ok) {
            if state.is_over.load(Ordering::SeqCst) {
                return;
            }
            let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { continue };
            let ends = [client.try_clone(), server.try_clone()];
            lock(&state.streams).extend(ends.into_iter().filter_map(Result::ok));
            let there = (client.try_clone(), server.try_clone());
            if let (Ok(client), Ok(server)) = there {
                scope.spawn(move || pass(client, server, state, true));
            }
            scope.spawn(move || pass(server, client, state, false));
        }
    });
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pass(mut from: TcpStream, mut to: TcpStream, state: &State, mut is_opening: bool) {
    let mut buffer = [0; 16 << 10];
    while let Ok(count) = from.read(&mut buffer) {
        if std::mem::take(&mut is_opening) {
            lock(&state.openings).push(buffer[..count.min(OPENING)].to_vec());
        }
        while state.swallows.load(Ordering::SeqCst) && !state.is_over.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        if count == 0 || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both); // either may be closed
    let _ = from.shutdown(Shutdown::Both);
}
