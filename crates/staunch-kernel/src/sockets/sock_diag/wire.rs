//! Netlink messages (`netlink(7)`): the frame around what a family says of a socket.
//!
//! ```text
//! struct nlmsghdr { u32 len; u16 type; u16 flags; u32 seq; u32 pid; }   then the payload,
//! struct nlattr   { u16 len; u16 type; }                                then the payload,
//! ```
//!
//! both aligned to 4 bytes, lengths with the header, numbers in the machine's byte order.

use crate::sockets::socket::Socket;

const HEADER_BYTES: usize = 16;
const ATTRIBUTE_HEADER_BYTES: usize = 4;

/// `NLMSG_ERROR`: an `errno`, negative, and the request that it is about.
const TYPE_ERROR: u16 = 2;
/// `NLMSG_DONE`: the dump is over; an `errno`, negative, if it is not complete.
const TYPE_DONE: u16 = 3;
/// `NLMSG_OVERRUN`: data was lost.
const TYPE_OVERRUN: u16 = 4;
/// `SOCK_DIAG_BY_FAMILY`: the type of requests and of the sockets that answer them.
const TYPE_BY_FAMILY: u16 = 20;

const FLAG_REQUEST: u16 = 0x1;
/// `NLM_F_DUMP_INTR`: the table has changed since the dump began.
const FLAG_INTERRUPTED: u16 = 0x10;
/// `NLM_F_ROOT | NLM_F_MATCH`: all entries, not one.
const FLAG_DUMP: u16 = 0x300;

/// What one datagram of a dump says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DumpReply {
    /// Its sockets.
    pub sockets: Vec<Socket>,
    /// The table has changed since the dump began: sockets may be missing or double.
    pub interrupted: bool,
    /// How the dump has ended; `None` if another datagram follows.
    pub end: Option<DumpEnd>,
}

/// How a dump has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpEnd {
    /// Every socket has been sent.
    Complete,
    /// The kernel refused, or gave up.
    Failed {
        /// Its reason, a positive `errno` number.
        errno: i32,
    },
}

/// A datagram that is not as `netlink(7)` and `sock_diag(7)` describe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset} of a datagram")]
pub struct MalformedDump {
    /// Where the message begins that was not understood.
    pub offset: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

/// Reads the datagrams of every family; `socket` reads a message's payload.
pub(super) fn parse(
    datagram: &[u8],
    socket: impl Fn(&[u8]) -> Result<Socket, &'static str>,
) -> Result<DumpReply, MalformedDump> {
    let mut reply = DumpReply::default();
    let mut rest = datagram;
    while !rest.is_empty() && reply.end.is_none() {
        let malformed = |what| MalformedDump { offset: datagram.len() - rest.len(), what };
        let (message, after) = Message::split(rest).map_err(malformed)?;
        reply.interrupted |= message.flags & FLAG_INTERRUPTED != 0;
        match message.kind {
            TYPE_BY_FAMILY => reply.sockets.push(socket(message.payload).map_err(malformed)?),
            TYPE_DONE => reply.end = Some(end(message.payload, DumpEnd::Complete)),
            TYPE_ERROR => {
                // An "error" of 0 would acknowledge the request, which asks for no such thing.
                let unreadable = DumpEnd::Failed { errno: 0 };
                reply.end = Some(end(message.payload, unreadable));
            }
            TYPE_OVERRUN => reply.interrupted = true,
            _ => {}
        }
        rest = after;
    }
    Ok(reply)
}

/// The end that a payload with an optional, negative `errno` stands for.
fn end(payload: &[u8], without: DumpEnd) -> DumpEnd {
    match Reader(payload).u32().map(u32::cast_signed) {
        Some(errno) if errno < 0 => DumpEnd::Failed { errno: errno.saturating_neg() },
        _ => without,
    }
}

struct Message<'d> {
    kind: u16,
    flags: u16,
    payload: &'d [u8],
}

impl<'d> Message<'d> {
    /// Cuts the first message off; the second part is what follows it.
    fn split(datagram: &'d [u8]) -> Result<(Message<'d>, &'d [u8]), &'static str> {
        let mut reader = Reader(datagram);
        let header = (|| Some((reader.u32()?, reader.u16()?, reader.u16()?)))();
        let (length, kind, flags) = header.ok_or("half a message header")?;
        let length = length as usize;
        let payload = datagram.get(HEADER_BYTES..length).ok_or("a message of impossible length")?;
        let after = datagram.get(align(length)..).unwrap_or_default();
        Ok((Message { kind, flags, payload }, after))
    }
}

/// The attributes behind a message's fixed part, as `(type, payload)`; ends at the first that
/// is cut off.
pub(super) fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let mut reader = Reader(rest);
        let (length, kind) = (usize::from(reader.u16()?), reader.u16()?);
        let payload = rest.get(ATTRIBUTE_HEADER_BYTES..length)?;
        rest = rest.get(align(length)..).unwrap_or_default();
        Some((kind, payload))
    })
}

fn align(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// A request to dump what `payload` describes.
pub(super) fn request(payload: &[u8]) -> Vec<u8> {
    let length = HEADER_BYTES + payload.len();
    let mut message = Vec::with_capacity(length);
    message.extend((length as u32).to_ne_bytes());
    message.extend(TYPE_BY_FAMILY.to_ne_bytes());
    message.extend((FLAG_REQUEST | FLAG_DUMP).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(payload);
    message
}

/// Takes numbers off the front of bytes; `None` when they are used up.
pub(super) struct Reader<'d>(pub(super) &'d [u8]);

impl<'d> Reader<'d> {
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (front, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*front)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_ne_bytes)
    }

    pub(super) fn u16_be(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_ne_bytes)
    }

    /// What has not been taken.
    pub(super) fn rest(self) -> &'d [u8] {
        self.0
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Writes a message as the kernel does, padded.
    fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(((HEADER_BYTES + payload.len()) as u32).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(payload);
        bytes.resize(align(bytes.len()), 0);
        bytes
    }

    /// A message that describes a socket.
    pub(in crate::sockets::sock_diag) fn socket_message(payload: &[u8]) -> Vec<u8> {
        message(TYPE_BY_FAMILY, 2, payload)
    }

    /// The message that ends a dump.
    pub(in crate::sockets::sock_diag) fn done_message(errno: i32) -> Vec<u8> {
        message(TYPE_DONE, 2, &errno.to_ne_bytes())
    }

    fn no_socket(_payload: &[u8]) -> Result<Socket, &'static str> {
        Err("no socket")
    }

    fn check_end(datagram: &[u8], end: Option<DumpEnd>) {
        assert_eq!(parse(datagram, no_socket).unwrap().end, end);
    }

    #[test]
    fn ends() {
        check_end(&[], None);
        check_end(&message(TYPE_DONE, 2, &0_u32.to_ne_bytes()), Some(DumpEnd::Complete));
        check_end(&message(TYPE_DONE, 2, &[]), Some(DumpEnd::Complete));
        let refused = Some(DumpEnd::Failed { errno: 2 });
        check_end(&message(TYPE_DONE, 2, &(-2_i32).to_ne_bytes()), refused);
        check_end(&message(TYPE_ERROR, 0, &(-2_i32).to_ne_bytes()), refused);
        check_end(&message(TYPE_ERROR, 0, &[]), Some(DumpEnd::Failed { errno: 0 }));
        let lowest = Some(DumpEnd::Failed { errno: i32::MAX });
        check_end(&message(TYPE_ERROR, 0, &i32::MIN.to_ne_bytes()), lowest);
        // Nothing after the end is read.
        check_end(&[message(TYPE_DONE, 2, &[]), vec![1, 2, 3]].concat(), Some(DumpEnd::Complete));
        // A message that does nothing (NLMSG_NOOP) is passed over.
        check_end(
            &[message(1, 0, &[9]), message(TYPE_DONE, 2, &[])].concat(),
            Some(DumpEnd::Complete),
        );
    }

    #[test]
    fn interruptions() {
        let check = |datagram: &[u8], expected| {
            assert_eq!(parse(datagram, no_socket).unwrap().interrupted, expected);
        };
        check(&message(TYPE_DONE, 2, &[]), false);
        check(&message(TYPE_DONE, 2 | FLAG_INTERRUPTED, &[]), true);
        check(&message(TYPE_OVERRUN, 0, &[]), true);
    }

    #[test]
    fn a_malformed_message_is_located() {
        let check = |second: &[u8], what| {
            let datagram = [message(1, 0, &[]), second.to_vec()].concat();
            assert_eq!(parse(&datagram, no_socket), Err(MalformedDump { offset: 16, what }));
        };
        check(&[1, 2, 3], "half a message header");
        check(&15_u64.to_ne_bytes(), "a message of impossible length");
        check(&message(1, 0, &[0; 8])[..20], "a message of impossible length");
        check(&u64::MAX.to_ne_bytes(), "a message of impossible length");
        check(&socket_message(&[]), "no socket");
    }

    #[test]
    fn attributes_end_where_one_is_cut_off() {
        let bytes = [&5_u16.to_ne_bytes(), &7_u16.to_ne_bytes(), &[1, 0][..], &[0, 0]].concat();
        let cut = [&bytes[..], &9_u16.to_ne_bytes(), &8_u16.to_ne_bytes(), &[1]].concat();
        for bytes in [&bytes, &cut] {
            assert_eq!(attributes(bytes).collect::<Vec<_>>(), [(7, &[1][..])]);
        }
        assert_eq!(attributes(&[0; 64]).count(), 0);
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(bytes: Vec<u8>) {
            let _ = parse(&bytes, no_socket);
            let _ = attributes(&bytes).count();
        }
    }
}
