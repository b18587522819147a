//! A proxy that can fall silent: as a network does that drops packets, it neither passes bytes on
//! nor closes anything.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
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
}

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

    /// Whether to swallow what comes from now on.
    pub fn swallow(&self, swallows: bool) {
        self.state.swallows.store(swallows, Ordering::SeqCst);
    }
}

impl Drop for Swallow {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port)); // wakes the acceptor
        let mut streams = self.state.streams.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both); // it may be closed
        }
        drop(streams);
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
            let mut streams = state.streams.lock().unwrap_or_else(PoisonError::into_inner);
            streams.extend(ends.into_iter().filter_map(Result::ok));
            drop(streams);
            for (from, to) in [(client.try_clone(), server.try_clone()), (Ok(server), Ok(client))] {
                if let (Ok(from), Ok(to)) = (from, to) {
                    scope.spawn(move || pass(from, to, state));
                }
            }
        }
    });
}

fn pass(mut from: TcpStream, mut to: TcpStream, state: &State) {
    let mut buffer = [0; 16 << 10];
    while let Ok(count) = from.read(&mut buffer) {
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
