//! Bytes both ways between two connections, until both have said their last.
//!
//! A pair that is idle holds no buffer: what comes is read into one buffer of the thread, and only
//! what the other side does not take at once is kept, until it does.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context as Poller, Poll, ready},
};

use staunch_net::{Closer, Cut, CutReason};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{held::Held, scratch::with_scratch};

/// Bytes that are read at a time, and that one direction keeps at most.
const PIECE: usize = 32 << 10;

/// One direction.
#[derive(Default)]
struct Flow {
    held: Held,
    /// Bytes that were read all in all.
    total: u64,
    /// What was written may still lie with the other side's own buffers, as TLS has them.
    must_flush: bool,
    step: Step,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Step {
    #[default]
    Flowing,
    /// The source has said its last, and the other side is to be told.
    Ending,
    Ended,
}

/// What ends the two connections of a relay from elsewhere, as far as that is to be.
#[derive(Default)]
pub(crate) struct Closers {
    pub(crate) a: Option<Closer>,
    pub(crate) b: Option<Closer>,
}

impl Closers {
    /// Resets those that are left when it is dropped: what was cut must not look whole. Who has been told all is
    /// not: a reset would take what the kernel has yet to send.
    fn whole(&mut self, to_a: bool, to_b: bool) {
        self.a.take_if(|_| to_a);
        self.b.take_if(|_| to_b);
    }
}

impl Drop for Closers {
    fn drop(&mut self) {
        for closer in self.a.iter().chain(&self.b) {
            closer.close();
        }
    }
}

/// Whether nothing was on its way as far as anybody can tell. Many speak TLS and end without saying so (RFC 8446,
/// 6.1); whether that was in the middle of something is for what is within it to say.
fn is_orderly(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
        || Cut::reason_in(error).is_some_and(CutReason::is_orderly)
}

/// Copies both ways until both sides have said their last, or one of them fails. `moved` is told
/// how many bytes went from `a` to `b`, and from `b` to `a`, whenever there are more. If it ends otherwise,
/// but for a pair that had nothing to say, the one that was not told all is reset by `closers`.
///
/// # Cancel safety
/// Dropped before its end, what was read and not written is lost with the connections.
pub(crate) async fn relay<A, B>(
    a: A,
    b: B,
    closers: Closers,
    mut moved: impl FnMut(u64, u64),
) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut a, mut b) = (a, b);
    let mut closers = closers; // dropped before the two
    let (mut there, mut back) = (Flow::default(), Flow::default());
    let mut told = (0, 0);
    let ended = poll_fn(|cx| {
        let there_ended = there.poll(cx, &mut a, &mut b);
        let back_ended = back.poll(cx, &mut b, &mut a);
        let now = (there.total, back.total);
        if std::mem::replace(&mut told, now) != now {
            moved(there.total, back.total);
        }
        closers.whole(back.step == Step::Ended, there.step == Step::Ended);
        let (there_ended, back_ended) = (there_ended?, back_ended?);
        if there_ended.is_ready() && back_ended.is_ready() {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    });
    let ended = ended.await;
    if ended.as_ref().is_err_and(is_orderly) {
        closers.whole(true, true);
    }
    ended
}

impl Flow {
    fn poll<R, W>(&mut self, cx: &mut Poller<'_>, from: &mut R, to: &mut W) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            ready!(self.held.poll_write(cx, to))?;
            if self.must_flush {
                ready!(Pin::new(&mut *to).poll_flush(cx))?;
                self.must_flush = false;
            }
            match self.step {
                Step::Flowing => ready!(self.poll_piece(cx, from, to))?,
                Step::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.step = Step::Ended;
                }
                Step::Ended => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Reads a piece, and writes of it what the other side takes at once.
    fn poll_piece<R, W>(
        &mut self,
        cx: &mut Poller<'_>,
        from: &mut R,
        to: &mut W,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        with_scratch(|scratch| {
            let mut buffer = ReadBuf::new(&mut scratch[..PIECE.min(self.held.most())]);
            ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
            let piece = buffer.filled();
            if piece.is_empty() {
                self.step = Step::Ending;
                return Poll::Ready(Ok(()));
            }
            let written = match Pin::new(&mut *to).poll_write(cx, piece) {
                Poll::Ready(written) => written?,
                Poll::Pending => 0,
            };
            self.total += piece.len() as u64;
            self.must_flush = true;
            self.held.keep(piece, written);
            Poll::Ready(Ok(()))
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// Both ends say `bytes` to each other through pipes that hold little.
    fn check(bytes: usize, pipe: usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let ((mut client, a), (mut server, b)) = (duplex(pipe), duplex(pipe));
            let sent: Vec<u8> = (0..bytes).map(|index| index as u8).collect();
            let exchange = async {
                let ask = async {
                    let (mut reads, mut writes) = tokio::io::split(&mut client);
                    let said = async {
                        writes.write_all(&sent).await.unwrap();
                        writes.shutdown().await.unwrap();
                    };
                    let mut heard = Vec::new();
                    let ((), read) = tokio::join!(said, reads.read_to_end(&mut heard));
                    read.unwrap();
                    heard
                };
                let answer = async {
                    let mut heard = Vec::new();
                    server.read_to_end(&mut heard).await.unwrap();
                    server.write_all(&heard).await.unwrap();
                    server.shutdown().await.unwrap();
                };
                tokio::join!(ask, answer).0
            };
            let mut moved = (0, 0);
            let relay = relay(a, b, Closers::default(), |there, back| moved = (there, back));
            let (relayed, heard) = tokio::join!(relay, exchange);
            relayed.unwrap();
            assert_eq!(moved, (bytes as u64, bytes as u64));
            assert!(heard == sent, "{bytes} bytes by {pipe}");
        });
    }

    #[test]
    fn every_byte_comes_through_and_so_do_both_ends() {
        for (bytes, pipe) in [(0, 64), (1, 64), (1000, 7), (200_000, 4096), (200_000, 1 << 20)] {
            check(bytes, pipe);
        }
    }

    #[test]
    fn a_side_that_breaks_ends_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let ((mut client, a), (server, b)) = (duplex(8), duplex(8));
            drop(server);
            client.write_all(b"hello").await.unwrap();
            assert!(relay(a, b, Closers::default(), |_, _| ()).await.is_err());
            let ((_client, a), (mut server, b)) = (duplex(8), duplex(8));
            server.write_all(b"hello").await.unwrap();
            assert!(
                relay(a, Broken(b), Closers::default(), |_, _| ()).await.is_err(),
                "the other way"
            );
        });
    }

    /// Says what it has, and then breaks.
    struct Broken(tokio::io::DuplexStream);

    impl AsyncRead for Broken {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Poller<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            match Pin::new(&mut self.0).poll_read(cx, buffer) {
                Poll::Pending => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                read @ Poll::Ready(_) => read,
            }
        }
    }

    impl AsyncWrite for Broken {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Poller<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(cx, bytes)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Poller<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Poller<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Takes everything at once, and sends it when it is flushed: as TLS does.
    struct Holding {
        io: tokio::io::DuplexStream,
        held: Vec<u8>,
    }

    impl AsyncRead for Holding {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Poller<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.io).poll_read(cx, buffer)
        }
    }

    impl AsyncWrite for Holding {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Poller<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.held.extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
            let this = &mut *self;
            while !this.held.is_empty() {
                let written = ready!(Pin::new(&mut this.io).poll_write(cx, &this.held))?;
                this.held.drain(..written);
            }
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
            ready!(self.as_mut().poll_flush(cx))?;
            Pin::new(&mut self.io).poll_shutdown(cx)
        }
    }

    #[test]
    fn what_a_side_holds_is_sent_while_the_other_says_nothing() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let ((mut client, a), (mut server, io)) = (duplex(1 << 20), duplex(7));
            let heard = async {
                client.write_all(&[7; 5000]).await.unwrap();
                let mut heard = vec![0; 5000];
                server.read_exact(&mut heard).await.unwrap();
                heard
            };
            tokio::select! {
                ended = relay(a, Holding { io, held: Vec::new() }, Closers::default(), |_, _| ()) => panic!("{ended:?}"),
                heard = heard => assert_eq!(heard, [7; 5000]),
            }
        });
    }
}
