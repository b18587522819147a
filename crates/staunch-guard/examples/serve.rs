//! A server behind a guard. `cargo run -p staunch-guard --features tower --example serve`, then
//! `curl -i localhost:8080/`.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use staunch::{BoxError, Context, scope};
use staunch_guard::{Guard, GuardOptions, Layer, Level, Priority, Shed};
use staunch_http::{Server, handler};
use staunch_net::{Endpoint, Limits, Listener, SocketOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let address = Endpoint::Tcp("127.0.0.1:8080".parse()?);
    let listener = Listener::bind(&address, &SocketOptions::default(), Limits::default())?;
    let served = scope(&Context::background(), |s| async move {
        let options = GuardOptions { memory_limit: Some(256 << 20), ..GuardOptions::default() };
        let guard = Guard::start(&s, options)?;
        let _shrinks = guard.on(Level::Shed, "caches", |pressing| {
            println!("give back what can be had again: {} is short", pressing.cause.name());
        });
        let shed = Shed::new(&guard).priority(|request| match request.uri.path() {
            "/healthz" => Priority::Critical,
            path if path.starts_with("/report/") => Priority::Low,
            _ => Priority::Normal,
        });
        let hello = handler(|_| async { Response::new(Full::new(Bytes::from("hello\n"))) });
        let served = Server::default().serve(listener, s.context(), shed.layer(hello)).await;
        Ok::<_, BoxError>(served.accepted)
    });
    println!("{} connections", served.await?);
    Ok(())
}
