//! The tasks of a connection: that they all end, and when they have.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context as Poller, Poll},
};

use hyper::rt::Executor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::upload::Turn;
use crate::managers::driver::Drivers;

/// A connection's life, for whoever has a part in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    off: CancellationToken,
    ended: CancellationToken,
    heard: Arc<AtomicU64>,
}

/// Starts a connection's tasks: ours, and those that hyper asks for.
#[derive(Clone)]
pub(super) struct Tasks {
    drivers: Arc<Drivers>,
    off: CancellationToken,
    alive: Arc<Alive>,
    /// Over HTTP/2.
    pub(super) turn: Turn,
}

/// The last task that has it says that all have ended.
struct Alive(CancellationToken);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Life {
    /// Whatever starts the tasks; each of them has a part of it.
    pub(super) fn tasks(&self, drivers: &Arc<Drivers>) -> Tasks {
        let alive = Arc::new(Alive(self.ended.clone()));
        Tasks { drivers: Arc::clone(drivers), off: self.off.clone(), alive, turn: Turn::default() }
    }

    /// Ends the tasks, and with them the socket.
    pub(super) fn off(&self) {
        self.off.cancel();
    }

    pub(super) fn is_over(&self) -> bool {
        self.off.is_cancelled() || self.ended.is_cancelled()
    }

    /// Waits until the tasks have ended by themselves.
    ///
    /// # Cancel safety
    /// Dropped before, it ends them.
    pub(super) async fn ends(self) {
        let ended = self.ended.clone();
        let _off = OffOnDrop(self);
        ended.cancelled().await;
    }

    /// Bytes that came from the server, ever.
    pub(super) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// Counts what comes.
    pub(super) fn listens<T>(&self, transport: T) -> Heard<T> {
        Heard { transport, count: Arc::clone(&self.heard) }
    }
}

/// Ends the tasks when it is dropped.
#[derive(Debug)]
pub(super) struct OffOnDrop(pub(super) Life);

impl Drop for OffOnDrop {
    fn drop(&mut self) {
        self.0.off();
    }
}

impl Tasks {
    pub(super) fn start(&self, task: impl Future<Output = ()> + Send + 'static) {
        let (off, alive) = (self.off.clone(), Arc::clone(&self.alive));
        self.drivers.start(async move {
            let _alive = alive;
            tokio::select! {
                biased;
                () = off.cancelled() => {}
                () = task => {}
            }
        });
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        match self.turn.take() {
            None => self.start(task),
            Some(stop) => self.start(async move {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = task => {}
                }
            }),
        }
    }
}

/// A socket whose bytes are counted as they come.
#[derive(Debug)]
pub(super) struct Heard<T> {
    transport: T,
    count: Arc<AtomicU64>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Heard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.transport).poll_read(cx, buffer);
        let came = buffer.filled().len() - before;
        self.count.fetch_add(came as u64, Ordering::Relaxed);
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Heard<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        parts: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}
