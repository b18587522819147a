//! What servers by hand read and say.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
};

/// Reads a request's head; `None` when the client has closed.
pub(crate) fn read_head(stream: &mut TcpStream) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    String::from_utf8(head).ok()
}

/// Answers each request with `answer`, until the client closes.
pub(crate) fn answer_all(stream: &mut TcpStream, answer: &str) -> io::Result<()> {
    while read_head(stream).is_some() {
        stream.write_all(answer.as_bytes())?;
    }
    Ok(())
}

/// Waits until the client closes; whether it did.
pub(crate) fn until_closed(stream: &mut TcpStream) -> bool {
    loop {
        match stream.read(&mut [0; 4096]) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}
