//! HTTP/2 by hand (RFC 9113, 4.1): frames, and a server and a client that say nothing but what a test says, and
//! that never give the other side more room than there is at first.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// `type` of a frame.
pub const DATA: u8 = 0;
/// `type` of a frame.
pub const HEADERS: u8 = 1;
/// `type` of a frame.
pub const RESET: u8 = 3;
const SETTINGS: u8 = 4;
/// `type` of a frame.
pub const GO_AWAY: u8 = 7;

/// A flag of [`DATA`] and [`HEADERS`].
pub const END_STREAM: u8 = 1;
/// A flag of [`HEADERS`].
pub const END_HEADERS: u8 = 4;

/// A reason of [`RESET`].
pub const NO_ERROR: [u8; 4] = [0, 0, 0, 0];
/// A reason of [`RESET`].
pub const INTERNAL_ERROR: [u8; 4] = [0, 0, 0, 2];
/// A reason of [`RESET`].
pub const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];
/// A reason of [`RESET`].
pub const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// `:status: 200`, by its number in the table.
pub const OK: [u8; 1] = [0x88];
/// `:method: POST`, `:scheme: http`, `:path: /`, by their numbers in the table.
pub const POST: [u8; 3] = [0x83, 0x86, 0x84];

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Those of its type.
    pub flags: u8,
    /// 0: of the connection.
    pub stream: u32,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// A frame, as it is sent.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes(); // of a few
    [&length[..], &[kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

/// The next frame that is not about settings; those are acknowledged.
///
/// # Errors
/// Those of the socket, and `UnexpectedEof` at its end.
pub fn next(socket: &mut TcpStream) -> io::Result<Frame> {
    loop {
        let mut head = [0; 9];
        socket.read_exact(&mut head)?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        socket.read_exact(&mut payload)?;
        match kind {
            SETTINGS if flags & 1 == 0 => socket.write_all(&frame(SETTINGS, 1, 0, &[]))?,
            SETTINGS => {}
            _ => return Ok(Frame { kind, flags, stream: u32::from_be_bytes(id), payload }),
        }
    }
}

/// Says to each frame of a client what `act` answers, until the client goes away.
///
/// # Errors
/// That it has closed before, or those of the socket.
pub fn serve(mut socket: TcpStream, mut act: impl FnMut(Frame) -> Vec<u8>) -> io::Result<()> {
    socket.read_exact(&mut [0; PREFACE.len()])?;
    socket.write_all(&frame(SETTINGS, 0, 0, &[]))?;
    loop {
        let said = next(&mut socket)?;
        if said.kind == GO_AWAY {
            return Ok(());
        }
        socket.write_all(&act(said))?;
    }
}

/// A client that has said the preface and its settings.
///
/// # Errors
/// Those of the socket.
pub fn connect(server: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let mut socket = TcpStream::connect(server)?;
    socket.set_read_timeout(Some(patience))?;
    socket.set_nodelay(true)?;
    socket.write_all(&[&PREFACE[..], &frame(SETTINGS, 0, 0, &[])].concat())?;
    Ok(socket)
}
