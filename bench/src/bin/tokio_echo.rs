//! The bare tokio peer: a line echo server as the tokio documentation would have it.
//!
//! Multi-thread runtime, an accept loop, one task per connection, lines read through a
//! [`BufReader`], one write per answer. It has none of what Staunch adds: no limits, no timeouts,
//! no ledger, no drain. That is its purpose: what Staunch costs is measured against it.

use std::net::SocketAddr;

use anyhow::Context;
use clap::Parser;
use staunch_bench::fd_limit;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[derive(Parser)]
struct Args {
    /// The address to listen on.
    listen: SocketAddr,
}

fn main() -> anyhow::Result<()> {
    let Args { listen } = Args::parse();
    fd_limit::raise()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_io().build()?;
    runtime.block_on(serve(listen))
}

#[expect(clippy::disallowed_methods, reason = "the peer is what one writes without Staunch")]
async fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo(stream));
        }
    }
}

async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read);
    let (mut line, mut answer) = (String::new(), String::new());
    while lines.read_line(&mut line).await? > 0 {
        answer.clear();
        answer.extend(["Echo: ", line.trim(), "\n"]);
        write.write_all(answer.as_bytes()).await?;
        line.clear();
    }
    Ok(())
}
