//! The smallest proxy that hyper makes: its server, and the pooled client of hyper-util.
//!
//! No limits, no timeouts, no routes; headers go through as they are.

use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Parser;
use hyper::{Request, Uri, body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use staunch_bench::fd_limit;
use tokio::net::TcpListener;

#[derive(Parser)]
struct Args {
    /// The address to listen on.
    listen: SocketAddr,
    /// The server to hand requests to.
    server: SocketAddr,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    fd_limit::raise()?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(args))
}

#[expect(clippy::disallowed_methods, reason = "the peer is what one writes without Staunch")]
async fn serve(Args { listen, server }: Args) -> anyhow::Result<()> {
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).build::<_, Incoming>(connector);
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let client = client.clone();
        let forward = service_fn(move |mut request: Request<Incoming>| {
            let client = client.clone();
            async move {
                let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
                let uri = Uri::builder().scheme("http").authority(server.to_string());
                *request.uri_mut() = uri.path_and_query(path).build()?;
                Ok::<_, anyhow::Error>(client.request(request).await?)
            }
        });
        let builder = hyper::server::conn::http1::Builder::new();
        tokio::spawn(builder.serve_connection(TokioIo::new(stream), forward));
    }
}
