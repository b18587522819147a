//! An HTTP/1 server on bare hyper that answers with as many bytes as the query asks for, made in chunks.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use clap::Parser;
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming, SizeHint},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use staunch_bench::fd_limit;
use tokio::net::TcpListener;

/// What Go's `io.Copy` takes at once, and nginx's output buffers hold.
const CHUNK: u64 = 32 << 10;

#[derive(Parser)]
struct Args {
    /// The address to listen on.
    listen: SocketAddr,
}

/// So many bytes, of which each chunk is made when there is room for it.
struct Chunks(u64);

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let size = self.0.min(CHUNK);
        self.0 -= size;
        let chunk = (size > 0).then(|| Ok(Frame::data(Bytes::from(vec![b'.'; size as usize]))));
        Poll::Ready(chunk)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}

fn main() -> anyhow::Result<()> {
    let Args { listen } = Args::parse();
    fd_limit::raise()?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(listen))
}

#[expect(clippy::disallowed_methods, reason = "the peer is what one writes without Staunch")]
async fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let download = service_fn(async |request: Request<Incoming>| {
            let query = request.uri().query().unwrap_or_default();
            let bytes = query.strip_prefix("bytes=").and_then(|bytes| bytes.parse().ok());
            Ok::<_, Infallible>(Response::new(Chunks(bytes.unwrap_or(0))))
        });
        let builder = hyper::server::conn::http1::Builder::new();
        tokio::spawn(builder.serve_connection(TokioIo::new(stream), download));
    }
}
