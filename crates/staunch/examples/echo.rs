//! A line echo server that cannot leak: `cargo run --package staunch --example echo`, then
//! `nc 127.0.0.1 9000`, then Ctrl-C.

use staunch::{
    Context, Ledger,
    net::{Connection, Limits, Listener, ReadLineError, SocketOptions},
};

async fn echo(connection: Connection) -> Result<(), ReadLineError> {
    let mut lines = connection.lines(); // each at most 16 KiB; no buffer between lines
    while let Some(line) = lines.next().await? {
        connection.write_all([b"Echo: ", line.trim_ascii(), b"\n"]).await?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = "127.0.0.1:9000".parse()?;
    let listener = Listener::bind(&endpoint, &SocketOptions::default(), Limits::default())?;
    let (context, stop) = Context::background().with_cancel();
    let serving = listener.serve(&context, echo);
    let (served, ()) = tokio::join!(serving, async {
        let _ = tokio::signal::ctrl_c().await;
        stop.cancel(); // stops accepting, lets lines in progress finish, cuts who stalls
    });
    println!("served {}, cut {:?}, left {}", served.accepted, served.cut, Ledger::global().live());
    Ok(())
}
