//! Sockets as text: `ss -tan`, `ss -tanp`, and `netstat -tan` of net-tools.
//!
//! A socket has no inode there, so it is known again by its two addresses. A connection that takes
//! the place of another one with the same addresses, between two looks, is taken for it: the kernel
//! gives a port out again only after many others.

use std::{
    io::BufRead,
    net::{IpAddr, SocketAddr},
};

use staunch_diagnosis::{Socket, SocketState};

use super::text::{Lines, TextError};

/// There are no more ports than that for one address, and no more descriptors for a process.
const SOCKETS_MAX: usize = 2_000_000;

/// How `ss` and `netstat` call the states (`ss(8)`, `netstat(8)`).
const STATES: [(&str, SocketState); 21] = [
    ("ESTAB", SocketState::Established),
    ("ESTABLISHED", SocketState::Established),
    ("SYN-SENT", SocketState::SynSent),
    ("SYN_SENT", SocketState::SynSent),
    ("SYN-RECV", SocketState::SynReceived),
    ("SYN_RECV", SocketState::SynReceived),
    ("FIN-WAIT-1", SocketState::FinWait1),
    ("FIN_WAIT1", SocketState::FinWait1),
    ("FIN-WAIT-2", SocketState::FinWait2),
    ("FIN_WAIT2", SocketState::FinWait2),
    ("TIME-WAIT", SocketState::TimeWait),
    ("TIME_WAIT", SocketState::TimeWait),
    ("UNCONN", SocketState::Close),
    ("CLOSE", SocketState::Close),
    ("CLOSED", SocketState::Close),
    ("CLOSE-WAIT", SocketState::CloseWait),
    ("CLOSE_WAIT", SocketState::CloseWait),
    ("LAST-ACK", SocketState::LastAck),
    ("LAST_ACK", SocketState::LastAck),
    ("LISTEN", SocketState::Listen),
    ("CLOSING", SocketState::Closing),
];

/// Whether a text that begins so is a list of sockets.
pub(crate) fn is_socket_list(beginning: &[u8]) -> bool {
    let beginning = String::from_utf8_lossy(beginning);
    beginning.lines().take(3).any(|line| is_title(line) || socket(line).is_some())
}

fn is_title(line: &str) -> bool {
    line.contains("Recv-Q") && line.contains("Send-Q")
}

/// Reads a list of TCP sockets. Lines of other sockets (`udp`, `u_str`) are passed over. Blocks as
/// long as `reader` does.
///
/// ```
/// use staunch_doctor::source::sockets::read_sockets;
///
/// let text = "CLOSE-WAIT 1      0      127.0.0.1:8080 127.0.0.1:40123\n";
/// let sockets = read_sockets(text.as_bytes())?;
/// assert_eq!(sockets[0].local, Some("127.0.0.1:8080".parse().unwrap()));
/// # Ok::<(), staunch_doctor::source::TextError>(())
/// ```
///
/// # Errors
/// [`TextError`]
pub fn read_sockets(reader: impl BufRead) -> Result<Vec<Socket>, TextError> {
    let mut lines = Lines::of(reader, "a list of sockets");
    let (mut sockets, mut is_list) = (Vec::new(), false);
    while let Some(line) = lines.next()? {
        let text = &*line.text;
        if is_passed_over(text) {
            is_list |= is_title(text);
            continue;
        }
        if sockets.len() == SOCKETS_MAX {
            return Err(line.place.too_large("sockets", SOCKETS_MAX as u64));
        }
        let socket = socket(text);
        sockets.push(socket.ok_or_else(|| {
            line.place.malformed("expected a state, two queues and two addresses", text)
        })?);
    }
    if sockets.is_empty() && !is_list { Err(lines.nothing()) } else { Ok(sockets) }
}

/// Titles, what `ss -i` says of the socket above, and sockets that are not TCP.
fn is_passed_over(line: &str) -> bool {
    let other = ["udp", "raw", "u_", "unix", "icmp", "nl", "p_", "sctp", "vsock", "mptcp"];
    line.is_empty()
        || is_title(line)
        || line.starts_with("Active Internet connections")
        || line.starts_with('\t')
        || other.iter().any(|it| line.starts_with(it))
}

fn socket(line: &str) -> Option<Socket> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        // netstat
        [protocol, receive, send, local, remote, state, ..] if protocol.starts_with("tcp") => {
            shown(state, [receive, send], [local, remote])
                // `ss` of several kinds, which names each
                .or_else(|| shown(receive, [send, local], [remote, state]))
        }
        [state, receive, send, local, remote, ..] => shown(state, [receive, send], [local, remote]),
        _ => None,
    }
}

fn shown(state: &str, queues: [&str; 2], ends: [&str; 2]) -> Option<Socket> {
    let state = STATES.iter().find(|(name, _)| *name == state)?.1;
    let [receive_queue, send_queue] = queues.map(|queue| queue.parse().ok());
    let [local, remote] = ends.map(address);
    Some(Socket {
        id: local.zip(remote).and_then(|(local, remote)| Some(id(local?, remote?))),
        state,
        local: local?,
        remote: remote?,
        receive_queue: receive_queue?,
        send_queue: send_queue?,
        age: None,
    })
}

/// The inner `None` is any address: `*:*`, or `0.0.0.0:*` of `netstat`.
#[expect(clippy::option_option, reason = "no address, and an address that is not one")]
fn address(text: &str) -> Option<Option<SocketAddr>> {
    let (host, port) = text.rsplit_once(':')?;
    if port == "*" {
        return Some(None);
    }
    let port = port.parse().ok()?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = host.split('%').next().unwrap_or(host); // an interface
    let ip: IpAddr = match host {
        "*" => IpAddr::from([0_u16; 8]),
        host => host.parse().ok()?,
    };
    Some(Some(SocketAddr::new(ip.to_canonical(), port)))
}

/// The same for the same two ends, in every file: FNV-1a over their text.
fn id(local: SocketAddr, remote: SocketAddr) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let ends = format!("{local} {remote}");
    ends.bytes().fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, state: SocketState, local: &str, remote: Option<&str>) {
        let sockets = read_sockets(line.as_bytes()).unwrap();
        let [socket] = &sockets[..] else { panic!("{sockets:?}") };
        assert_eq!(socket.state, state);
        assert_eq!(socket.local, Some(local.parse().unwrap()));
        assert_eq!(socket.remote, remote.map(|it| it.parse().unwrap()));
        assert_eq!(socket.id.is_some(), remote.is_some());
    }

    #[test]
    fn both_tools_and_both_families() {
        let listens = SocketState::Listen;
        check("LISTEN 0 50 [::ffff:127.0.0.1]:45657 *:*", listens, "127.0.0.1:45657", None);
        check("LISTEN 0 50 *:8080 *:* users:((\"java\",pid=1,fd=4))", listens, "[::]:8080", None);
        check("LISTEN 0 4096 127.0.0.53%lo:53 0.0.0.0:*", listens, "127.0.0.53:53", None);
        let closes = SocketState::CloseWait;
        let peer = Some("[2001:db8::7]:443");
        check(
            "CLOSE-WAIT 1 0 [2001:db8::1]:4000 [2001:db8::7]:443",
            closes,
            "[2001:db8::1]:4000",
            peer,
        );
        let peer = Some("10.0.0.7:443");
        check(
            "tcp 1 0 10.0.0.1:4000 10.0.0.7:443 CLOSE_WAIT 12/java",
            closes,
            "10.0.0.1:4000",
            peer,
        );
        check("tcp6 0 0 :::8080 :::* LISTEN", listens, "[::]:8080", None);
        check("tcp CLOSE-WAIT 1 0 10.0.0.1:4000 10.0.0.7:443", closes, "10.0.0.1:4000", peer);
    }

    #[test]
    fn a_socket_is_known_again_by_its_ends() {
        let ids = |text: &str| -> Vec<_> {
            read_sockets(text.as_bytes()).unwrap().iter().map(|it| it.id).collect()
        };
        let one = ids("CLOSE-WAIT 1 0 10.0.0.1:4000 10.0.0.7:443");
        assert_eq!(one, ids("ESTAB 0 0 [::ffff:10.0.0.1]:4000 [::ffff:10.0.0.7]:443"));
        assert_ne!(one, ids("CLOSE-WAIT 1 0 10.0.0.1:4001 10.0.0.7:443"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let title = "State Recv-Q Send-Q Local Address:Port Peer Address:Port\n";
        let text = format!("{title}CLOSE-WAIT 1 0 10.0.0.1 10.0.0.7:443\n");
        let error = read_sockets(text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("line 2 is no part of a list of sockets"), "{error}");
        assert!(read_sockets(&b"\n"[..]).is_err());
        assert!(read_sockets(title.as_bytes()).unwrap().is_empty(), "a list with nothing in it");
    }
}
