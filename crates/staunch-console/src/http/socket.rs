//! The socket under hyper, which tells the watchdog when a handler is at work.
//!
//! While a handler works, hyper reads ahead to notice a client that leaves. To the connection
//! that looks like waiting for the client, and the watchdog would cut it as idle. So while the
//! client can only wait for its answer this socket says `Running` instead.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context as Poller, Poll},
};

use staunch_ledger::State;
use staunch_net::Connection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::exchange::Exchange;

pub(super) struct Socket {
    connection: Connection,
    exchange: Exchange,
}

impl Socket {
    pub(super) fn new(connection: Connection, exchange: Exchange) -> Socket {
        Socket { connection, exchange }
    }

    fn connection(self: Pin<&mut Self>) -> Pin<&mut Connection> {
        Pin::new(&mut self.get_mut().connection)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.connection).poll_read(cx, buffer);
        if polled.is_pending() && this.exchange.is_answering() {
            let account = this.connection.account();
            account.touch();
            account.set_state(State::Running);
        }
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.connection().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.connection().poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        self.connection().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        self.connection().poll_shutdown(cx)
    }
}
