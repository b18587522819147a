//! Unix sockets in sock_diag (`linux/unix_diag.h`).
//!
//! ```text
//! struct unix_diag_req { u8 family, protocol; u16 pad; u32 states, ino, show, cookie[2]; }
//!
//! struct unix_diag_msg { u8 family, type, state, pad; u32 ino, cookie[2]; }   then attributes
//! ```
//!
//! The attributes carry the rest: the name it is bound to, the peer's inode, the two queues, the
//! user. Kernels send those that were asked for, that they know and that the socket has.

use super::wire::{self, DumpReply, MalformedDump, Reader};
use crate::sockets::socket::{Address, Protocol, Queue, Socket, TcpState};

const AF_UNIX: u8 = 1;

const SHOW_NAME: u32 = 1 << 0;
const SHOW_PEER: u32 = 1 << 2;
const SHOW_QUEUES: u32 = 1 << 4;
const SHOW_UID: u32 = 1 << 6;

const ATTRIBUTE_NAME: u16 = 0;
const ATTRIBUTE_PEER: u16 = 2;
const ATTRIBUTE_QUEUES: u16 = 4;
const ATTRIBUTE_UID: u16 = 7;

/// Asks for the Unix sockets in the states of the mask.
pub(super) fn request(states: u32) -> Vec<u8> {
    let mut payload = vec![AF_UNIX, 0, 0, 0];
    payload.extend(states.to_ne_bytes());
    // Which inode: any.
    payload.extend([0; 4]);
    payload.extend((SHOW_NAME | SHOW_PEER | SHOW_QUEUES | SHOW_UID).to_ne_bytes());
    // Which cookie: any.
    payload.extend([0; 8]);
    wire::request(&payload)
}

/// Reads a datagram of a dump of Unix sockets.
///
/// # Errors
///
/// [`MalformedDump`], if a message is cut off or in an unknown state.
pub fn parse_unix_diag(datagram: &[u8]) -> Result<DumpReply, MalformedDump> {
    wire::parse(datagram, socket)
}

fn socket(payload: &[u8]) -> Result<Socket, &'static str> {
    let mut reader = Reader(payload);
    let header = (|| {
        let [_family, _type, state, _pad] = reader.array()?;
        let inode = reader.u32()?;
        let _cookie: [u8; 8] = reader.array()?;
        Some((state, inode))
    })();
    let (state, inode) = header.ok_or("half a socket")?;
    let state = TcpState::from_kernel(state).ok_or("a socket in an unknown state")?;
    let mut socket = Socket {
        protocol: Protocol::Unix,
        local: Address::Unnamed,
        remote: None,
        state,
        inode: Some(u64::from(inode)).filter(|inode| *inode != 0),
        queue: Queue::Unknown,
        uid: None,
        timer: None,
        retransmits: 0,
        peer_inode: None,
    };
    for (kind, value) in wire::attributes(reader.rest()) {
        apply(&mut socket, kind, value);
    }
    Ok(socket)
}

/// Enters one attribute into `socket`; one that is too short says nothing.
fn apply(socket: &mut Socket, kind: u16, value: &[u8]) {
    let mut reader = Reader(value);
    match kind {
        ATTRIBUTE_NAME => socket.local = name(value),
        ATTRIBUTE_PEER => {
            socket.peer_inode = reader.u32().map(u64::from).filter(|inode| *inode != 0);
        }
        ATTRIBUTE_QUEUES => {
            if let (Some(recv), Some(send)) = (reader.u32(), reader.u32()) {
                socket.queue = match socket.state {
                    TcpState::Listen => Queue::Accept { waiting: recv, limit: Some(send) },
                    _ => Queue::Data { recv_bytes: recv, send_bytes: send },
                };
            }
        }
        ATTRIBUTE_UID => socket.uid = reader.u32(),
        _ => {}
    }
}

/// Reads `sun_path` (`unix(7)`): an abstract name begins with NUL, a path ends with one.
fn name(sun_path: &[u8]) -> Address {
    match sun_path {
        [] => Address::Unnamed,
        [0, name @ ..] => Address::Abstract(name.to_vec()),
        path => Address::from_path_bytes(path.strip_suffix(&[0]).unwrap_or(path)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sockets::sock_diag::wire::tests::socket_message;

    fn one(payload: &[u8]) -> Socket {
        let reply = parse_unix_diag(&socket_message(payload)).unwrap();
        assert_eq!(reply.sockets.len(), 1);
        reply.sockets.into_iter().next().unwrap()
    }

    /// Writes a message as the kernel does.
    fn print(state: TcpState, inode: u32, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![AF_UNIX, 1, state as u8, 0];
        bytes.extend(inode.to_ne_bytes());
        bytes.extend([7; 8]);
        for (kind, value) in attributes {
            bytes.extend((4 + value.len() as u16).to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(*value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    fn pair(first: u32, second: u32) -> Vec<u8> {
        [first.to_ne_bytes(), second.to_ne_bytes()].concat()
    }

    #[test]
    fn a_listener_with_an_abstract_name() {
        let queues = pair(1, 128);
        let attributes =
            [(0, &b"\0bus"[..]), (4, &queues), (7, &1000_u32.to_ne_bytes()), (6, &[0])];
        let socket = one(&print(TcpState::Listen, 8189, &attributes));
        assert_eq!(socket.local, Address::Abstract(b"bus".to_vec()));
        assert_eq!(socket.queue, Queue::Accept { waiting: 1, limit: Some(128) });
        assert_eq!((socket.inode, socket.uid), (Some(8189), Some(1000)));
    }

    #[test]
    fn a_connection_knows_its_peer() {
        let queues = pair(3, 4);
        let attributes = [(0, &b"/run/x\0"[..]), (2, &9_u32.to_ne_bytes()), (4, &queues)];
        let socket = one(&print(TcpState::Established, 0, &attributes));
        assert_eq!(socket.local, Address::Path("/run/x".into()));
        assert_eq!(socket.queue, Queue::Data { recv_bytes: 3, send_bytes: 4 });
        assert_eq!((socket.inode, socket.peer_inode), (None, Some(9)));
    }

    #[test]
    fn without_attributes_little_is_known() {
        let socket = one(&print(TcpState::Close, 5, &[(2, &[1]), (4, &[0; 7])]));
        assert_eq!(socket.local, Address::Unnamed);
        assert_eq!(socket.queue, Queue::Unknown);
        assert_eq!((socket.uid, socket.peer_inode), (None, None));
    }

    #[test]
    fn malformed_sockets() {
        let check = |payload: &[u8], expected| {
            let error = parse_unix_diag(&socket_message(payload)).unwrap_err();
            assert_eq!(error.what, expected);
        };
        check(&[1; 15], "half a socket");
        check(&[0; 16], "a socket in an unknown state");
    }

    proptest! {
        #[test]
        fn parsing_never_panics(bytes: Vec<u8>, payload in prop::collection::vec(0_u8..14, 0..90)) {
            let _ = parse_unix_diag(&bytes);
            let _ = parse_unix_diag(&socket_message(&payload));
        }

        #[test]
        fn names_round_trip(name in "[^\0]{1,107}") {
            let path = [name.as_bytes(), &[0]].concat();
            let socket = one(&print(TcpState::Close, 5, &[(0, &path)]));
            prop_assert_eq!(socket.local, Address::Path(name.clone().into()));
            let abstract_name = [&[0], name.as_bytes()].concat();
            let socket = one(&print(TcpState::Close, 5, &[(0, &abstract_name)]));
            prop_assert_eq!(socket.local, Address::Abstract(name.into_bytes()));
        }
    }
}
