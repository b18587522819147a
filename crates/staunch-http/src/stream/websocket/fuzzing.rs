//! What reads bytes, for `fuzz/`. Not for anybody else: it may change at any time.

use std::io::{Read, Result, Write};

use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket};

use super::core::{Event, Message, broke, config, message};
use crate::StreamLimits;

/// What a client says, a part with each read, and how much it is answered.
struct Wire<'p> {
    parts: std::slice::Iter<'p, &'p [u8]>,
    rest: &'p [u8],
    answered: usize,
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        while self.rest.is_empty() {
            let Some(next) = self.parts.next() else { return Ok(0) };
            self.rest = next;
        }
        self.rest.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.answered += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The messages of a client, if its bytes come in these parts; how it ends; and how many bytes it is
/// answered.
pub fn websocket(limits: &StreamLimits, parts: &[&[u8]]) -> (Vec<Message>, String, usize) {
    let wire = Wire { parts: parts.iter(), rest: &[], answered: 0 };
    let mut socket = WebSocket::from_raw_socket(wire, Role::Server, Some(config(limits)));
    let mut messages = Vec::new();
    let ended = loop {
        match socket.read() {
            Ok(heard) => messages.extend(message(heard)),
            Err(error) => break broke(error),
        }
    };
    let ended = match ended {
        Event::Broke(error) => error.to_string(),
        _ => String::new(),
    };
    (messages, ended, socket.get_ref().answered)
}
