//! An HTTP server that says hello: Staunch's, bare hyper, or axum's own.
//!
//! One subject a process. hyper and axum have what their introductions show: no limits, no
//! timeouts, no ledger, no drain. What Staunch costs is measured against them.

use std::{convert::Infallible, net::SocketAddr};

use anyhow::Context as _;
use bytes::Bytes;
use clap::{Parser, ValueEnum};
use http_body_util::Full;
use hyper::{
    Request, Response,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use staunch_bench::fd_limit;
use tokio::net::TcpListener;

#[derive(Parser)]
struct Args {
    subject: Subject,
    /// The address to listen on.
    listen: SocketAddr,
}

#[derive(Clone, Copy, ValueEnum)]
enum Subject {
    /// With limits, watchdog, ledger and drain.
    Staunch,
    /// HTTP/1 only.
    Hyper,
    /// HTTP/1 and HTTP/2.
    HyperAuto,
    Axum,
}

fn main() -> anyhow::Result<()> {
    let Args { subject, listen } = Args::parse();
    fd_limit::raise()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match subject {
            Subject::Staunch => staunch(listen).await,
            Subject::Hyper => hyper(listen).await,
            Subject::HyperAuto => hyper_auto(listen).await,
            Subject::Axum => axum(listen).await,
        }
    })
}

fn hello() -> Response<Full<Bytes>> {
    let mut hello = Response::new(Full::new(Bytes::from_static(b"Hello, world!\n")));
    hello.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    hello
}

async fn staunch(listen: SocketAddr) -> anyhow::Result<()> {
    use staunch_http::{Server, handler};
    use staunch_net::{Endpoint, Limits, Listener, SocketOptions};
    use staunch_scope::Context;

    let limits = Limits { connections_per_ip: None, ..Limits::default() }; // the load has one
    let listener = Listener::bind(&Endpoint::Tcp(listen), &SocketOptions::default(), limits)?;
    let hello = handler(|_| async { hello() });
    let _ = Server::default().serve(listener, &Context::background(), hello).await;
    Ok(())
}

async fn bind(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))
}

#[expect(clippy::disallowed_methods, reason = "the peer is what one writes without Staunch")]
async fn hyper(listen: SocketAddr) -> anyhow::Result<()> {
    let listener = bind(listen).await?;
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let hello = service_fn(async |_: Request<Incoming>| Ok::<_, Infallible>(hello()));
        let builder = hyper::server::conn::http1::Builder::new();
        tokio::spawn(builder.serve_connection(TokioIo::new(stream), hello));
    }
}

#[expect(clippy::disallowed_methods, reason = "the peer is what one writes without Staunch")]
async fn hyper_auto(listen: SocketAddr) -> anyhow::Result<()> {
    let listener = bind(listen).await?;
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let hello = service_fn(async |_: Request<Incoming>| Ok::<_, Infallible>(hello()));
        tokio::spawn(async move {
            let builder = auto::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), hello).await;
        });
    }
}

async fn axum(listen: SocketAddr) -> anyhow::Result<()> {
    use axum::{Router, routing::get};

    let router = Router::new().route("/", get(async || hello()));
    Ok(axum::serve(bind(listen).await?, router).await?)
}
