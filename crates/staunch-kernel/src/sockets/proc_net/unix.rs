//! The lines of `/proc/net/unix`.
//!
//! ```text
//! Num       RefCount Protocol Flags    Type St Inode Path
//! 000000007e50b649: 00000002 00000000 00010000 0001 01  8455 @abstract
//! ```
//!
//! `Flags` says whether the socket accepts, `St` whether it is connected; the path is missing if
//! it was never bound, and an abstract name begins with `@`. (`unix_seq_show` in
//! `net/unix/af_unix.c`.)

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::str;

use super::{LineParser, NotALine};
use crate::sockets::socket::{Address, Protocol, Queue, Socket, TcpState};

/// `__SO_ACCEPTCON` of `linux/net.h`: the socket listens.
const FLAG_ACCEPTS: u32 = 1 << 16;

/// `SS_CONNECTING` and `SS_CONNECTED` of `linux/net.h`. The first is a connection that waits to
/// be accepted; to its peer it is connected.
const CONNECTED: [u8; 2] = [2, 3];

/// Reads the Unix table. A socket is held back until the next line has shown that its name is
/// complete.
#[derive(Default)]
pub(super) struct UnixTable {
    header_seen: bool,
    pending: Option<Socket>,
}

impl LineParser for UnixTable {
    fn line(&mut self, line: &[u8]) -> Result<Option<Socket>, NotALine> {
        if !self.header_seen {
            self.header_seen = true;
            return Ok(None);
        }
        match socket(line) {
            Some(socket) => Ok(self.pending.replace(socket)),
            None => self.continue_name(line).map(|()| None),
        }
    }

    fn finish(self) -> Option<Socket> {
        self.pending
    }
}

impl UnixTable {
    /// Adds a line to the name that the line before it broke off.
    fn continue_name(&mut self, line: &[u8]) -> Result<(), NotALine> {
        let pending = self.pending.as_mut().ok_or(NotALine)?;
        match &mut pending.local {
            Address::Path(path) => {
                let path = path.as_mut_os_string();
                path.push("\n");
                path.push(OsStr::from_bytes(line));
            }
            Address::Abstract(name) => {
                name.push(b'\n');
                name.extend_from_slice(line);
            }
            Address::Unnamed | Address::Inet(_) => return Err(NotALine),
        }
        Ok(())
    }
}

fn socket(line: &[u8]) -> Option<Socket> {
    let mut rest = line;
    let _pointer = column(&mut rest)?.strip_suffix(':')?;
    let _references = column(&mut rest)?;
    let _protocol = column(&mut rest)?;
    let flags = u32::from_str_radix(column(&mut rest)?, 16).ok()?;
    let _type = column(&mut rest)?;
    let state = u8::from_str_radix(column(&mut rest)?, 16).ok()?;
    let inode: u64 = column(&mut rest)?.parse().ok()?;
    let state = match state {
        _ if flags & FLAG_ACCEPTS != 0 => TcpState::Listen,
        connected if CONNECTED.contains(&connected) => TcpState::Established,
        _ => TcpState::Close,
    };
    Some(Socket {
        protocol: Protocol::Unix,
        local: name(rest),
        remote: None,
        state,
        inode: Some(inode).filter(|inode| *inode != 0),
        queue: Queue::Unknown,
        uid: None,
        timer: None,
        retransmits: 0,
        peer_inode: None,
    })
}

/// Cuts the next column off, with the spaces before it. The single space after it stays: names
/// may begin with more.
fn column<'l>(rest: &mut &'l [u8]) -> Option<&'l str> {
    let line = rest.trim_ascii_start();
    let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let (column, after) = line.split_at(end);
    *rest = after;
    str::from_utf8(column).ok().filter(|column| !column.is_empty())
}

/// The name after the inode's column: nothing, or one space and the name.
fn name(rest: &[u8]) -> Address {
    match rest.strip_prefix(b" ") {
        None | Some([]) => Address::Unnamed,
        Some([b'@', name @ ..]) => Address::Abstract(name.to_vec()),
        Some(name) => Address::from_path_bytes(name),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::parse_proc_net_unix;

    const HEADER: &str = "Num       RefCount Protocol Flags    Type St Inode Path\n";

    fn parse(lines: &str) -> Vec<Socket> {
        parse_proc_net_unix(format!("{HEADER}{lines}").as_bytes()).unwrap()
    }

    #[test]
    fn captured_lines() {
        let sockets = parse(
            "0000000062d7d112: 00000003 00000000 00000000 0001 03   120\n\
             0000000070079cde: 00000002 00000000 00010000 0001 01  8189 @abs tract\n\
             0000000070079cdf: 00000002 00000000 00000000 0002 01  8190 /run/log  x\n\
             0000000070079ce0: 00000002 00000000 00000000 0001 02     0 /run/app.sock\n",
        );
        let seen: Vec<_> = sockets.iter().map(|s| (&s.local, s.state, s.inode)).collect();
        assert_eq!(
            seen,
            [
                (&Address::Unnamed, TcpState::Established, Some(120)),
                (&Address::Abstract(b"abs tract".to_vec()), TcpState::Listen, Some(8189)),
                (&Address::Path("/run/log  x".into()), TcpState::Close, Some(8190)),
                (&Address::Path("/run/app.sock".into()), TcpState::Established, None),
            ]
        );
    }

    #[test]
    fn a_line_feed_in_a_name_does_not_end_it() {
        let sockets = parse(
            "0: 2 0 00010000 1 01 7 /tmp/a\nb\n\n\
             1: 2 0 00010000 1 01 8 @c\n d\n",
        );
        assert_eq!(sockets.len(), 2);
        assert_eq!(sockets[0].local, Address::Path("/tmp/a\nb\n".into()));
        assert_eq!(sockets[1].local, Address::Abstract(b"c\n d".to_vec()));
    }

    #[test]
    fn a_malformed_line_is_named() {
        let line = |text: &str| parse_proc_net_unix(text.as_bytes()).map_err(|error| error.line);
        assert_eq!(line("header\nnot a line\n"), Err(2));
        assert_eq!(line("header\n0: 2 0 0 1 01 7\nnot a line\n"), Err(3));
    }

    proptest! {
        #[test]
        fn names_round_trip(name in "[^\n\0@][^\n\0]{0,100}", inode in 1_u64..) {
            let line = format!("00: 00000002 00000000 00000000 0001 01 {inode:5} {name}\n");
            let sockets = parse(&line);
            prop_assert_eq!(sockets.len(), 1);
            prop_assert_eq!(&sockets[0].local, &Address::from_path_bytes(name.as_bytes()));
            prop_assert_eq!(sockets[0].inode, Some(inode));
        }

        #[test]
        fn parsing_never_panics(bytes: Vec<u8>, text: String) {
            let _ = parse_proc_net_unix(&bytes);
            let _ = parse_proc_net_unix(format!("{HEADER}0: 2 0 0 1 {text}").as_bytes());
        }
    }
}
