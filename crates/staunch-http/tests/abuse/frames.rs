//! HTTP/2 by hand (RFC 9113, 4.1).

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// `:method` GET or POST, `:scheme` http, `:path` /, by HPACK's static table.
pub(crate) const GET: &[u8] = &[0x82, 0x86, 0x84];
pub(crate) const POST: &[u8] = &[0x83, 0x86, 0x84];

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![a, b, c, kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A header that is in no table (RFC 7541, 6.2.2).
pub(crate) fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut header = vec![0];
    for text in [name, value] {
        header.push(u8::try_from(text.len()).unwrap());
        header.extend_from_slice(text.as_bytes());
    }
    header
}

/// A client that has said the preface and its settings: pairs of a name and a value.
pub(crate) struct Client {
    pub(crate) reads: Reads,
    pub(crate) writes: Writes,
}

pub(crate) struct Reads(OwnedReadHalf);

pub(crate) struct Writes(OwnedWriteHalf);

impl Client {
    pub(crate) async fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> Client {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let (reads, mut writes) = socket.into_split();
        writes.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut client = Client { reads: Reads(reads), writes: Writes(writes) };
        let pair =
            |&(name, value): &(u16, u32)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
        let payload: Vec<u8> = settings.iter().flat_map(pair).collect();
        client.writes.say(&frame(SETTINGS, 0, 0, &payload)).await;
        client
    }
}

impl Writes {
    /// Says it, or as much as the server listens to.
    pub(crate) async fn say(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).await.is_ok()
    }
}

impl Reads {
    /// The next frame; `None` at the end, whatever it is like.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    /// The frames until the end of the connection, which must come.
    pub(crate) async fn until_closed(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        let read = async {
            while let Some(frame) = self.next().await {
                frames.push(frame);
            }
        };
        assert!(timeout(Duration::from_secs(5), read).await.is_ok(), "not closed");
        frames
    }
}

/// The reasons of the GOAWAYs among them.
pub(crate) fn goaways(frames: &[Frame]) -> Vec<u32> {
    let goaways = frames.iter().filter(|frame| frame.kind == GOAWAY);
    let reason = |frame: &Frame| u32::from_be_bytes(frame.payload[4..8].try_into().unwrap());
    goaways.map(reason).collect()
}
