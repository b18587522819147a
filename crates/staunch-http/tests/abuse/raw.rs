//! Clients that write bytes, not requests.

use std::{net::SocketAddr, time::Duration};

use staunch::Ledger;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Longer than anything here takes, and shorter than any limit of the server.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often it was observed.
pub(crate) fn observed(rule: &str) -> u64 {
    let counts = Ledger::current().observation_counts();
    counts.into_iter().find(|(name, _)| *name == rule).map_or(0, |(_, count)| count)
}

/// What a server says to a client that says `parts`, one packet each, until it closes the connection.
pub(crate) async fn said_to(address: SocketAddr, parts: &[&[u8]]) -> Result<Vec<u8>, String> {
    let mut client = TcpStream::connect(address).await.unwrap();
    client.set_nodelay(true).unwrap();
    let mut answer = Vec::new();
    let conversation = async {
        for part in parts {
            let _ = client.write_all(part).await; // the end may come before the last of them
            tokio::task::yield_now().await;
        }
        let mut some = [0; 4096];
        while let Ok(count @ 1..) = client.read(&mut some).await {
            answer.extend_from_slice(&some[..count]); // until an end, or a reset
        }
    };
    let ended = timeout(PATIENCE, conversation).await;
    match ended {
        Ok(()) => Ok(answer),
        Err(_) => Err(format!("not closed after {:?}", String::from_utf8_lossy(&answer))),
    }
}

/// The statuses of HTTP/1 answers whose bodies have a `Content-Length`.
pub(crate) fn statuses(mut answers: &[u8]) -> Vec<u16> {
    let mut statuses = Vec::new();
    while let Some(end) = answers.windows(4).position(|four| four == b"\r\n\r\n") {
        let head = std::str::from_utf8(&answers[..end]).unwrap().to_ascii_lowercase();
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        let length = field("content-length:").map_or(0, |value| value.trim().parse().unwrap());
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        if status != 100 {
            statuses.push(status);
        }
        answers = &answers[end + 4 + length..];
    }
    statuses
}
