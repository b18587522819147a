//! A server that does on each connection what the test says.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

use std::{
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{Builder, JoinHandle},
    time::Duration,
};

/// A server that does on each connection what a test says. Ends when it is dropped.
#[derive(Debug)]
pub struct Raw {
    /// On 127.0.0.1.
    pub port: u16,
    accepted: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Raw {
    /// Runs `script` on each connection, with its number, from 0.
    ///
    /// # Panics
    /// Without a port or a thread for it.
    pub fn start(script: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> Raw {
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

    /// How many connections it has had.
    pub fn accepted(&self) -> usize {
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
