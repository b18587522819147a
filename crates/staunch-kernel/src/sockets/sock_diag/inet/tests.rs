use proptest::prelude::*;

use super::*;
use crate::sockets::sock_diag::wire::tests::socket_message;

/// What the kernel adds behind every TCP message, unasked.
const ATTRIBUTES: &str = "050008000000000008000f00000000000c00150001000000000000000600160052000000";

fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks_exact(2);
    digits.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn one(payload: &[u8]) -> Socket {
    let reply = parse_inet_diag(Protocol::Tcp, &socket_message(payload)).unwrap();
    assert_eq!(reply.sockets.len(), 1);
    reply.sockets.into_iter().next().unwrap()
}

// The captures below come from a little-endian kernel.
#[cfg(target_endian = "little")]
mod captured {
    use super::*;

    fn capture(fixed: &str) -> Socket {
        one(&hex(&format!("{fixed}{ATTRIBUTES}")))
    }

    #[test]
    fn a_listener() {
        let socket = capture(
            "020a0000d43b00007f000001000000000000000000000000000000000000000000000000000000000000\
             000001000000000000000000000000000000\
             0500000000000000fe200000",
        );
        assert_eq!(socket.local, Address::Inet("127.0.0.1:54331".parse().unwrap()));
        assert_eq!(socket.remote, None);
        assert_eq!(socket.state, TcpState::Listen);
        assert_eq!(socket.queue, Queue::Accept { waiting: 0, limit: Some(5) });
        assert_eq!(socket.inode, Some(8446));
    }

    #[test]
    fn a_connection_in_close_wait() {
        let socket = capture(
            "02080000d43ba0ec7f0000010000000000000000000000007f000001000000000000000000000000000000\
             00040000000000000000000000040000000000000000000000\
             00210000",
        );
        assert_eq!(socket.remote, Some("127.0.0.1:41196".parse().unwrap()));
        assert_eq!(socket.state, TcpState::CloseWait);
        assert_eq!(socket.queue, Queue::Data { recv_bytes: 4, send_bytes: 0 });
        assert_eq!(socket.inode, Some(8448));
    }

    #[test]
    fn an_orphan_with_a_timer() {
        let socket = capture(
            "02040100a0ecd43b7f0000010000000000000000000000007f000001000000000000000000000000000000\
             000300000000000000c400000000000000010000000000000000000000",
        );
        assert_eq!(socket.state, TcpState::FinWait1);
        assert_eq!(socket.inode, None);
        let expires = Duration::from_millis(0xc4);
        assert_eq!(socket.timer, Some(Timer { kind: TimerKind::Retransmit, expires }));
        assert_eq!(socket.send_queue_bytes(), 1);
    }

    #[test]
    fn an_ipv6_connection() {
        let socket = capture(
            "0a010000a122d39d00000000000000000000000000000001000000000000000000000000000000010000\
             00000a000000000000000000000000000000000000000000000003210000",
        );
        assert_eq!(socket.local, Address::Inet("[::1]:41250".parse().unwrap()));
        assert_eq!(socket.remote, Some("[::1]:54173".parse().unwrap()));
        assert_eq!(socket.state, TcpState::Established);
        assert_eq!(socket.inode, Some(8451));
    }
}

#[test]
fn a_request_has_the_kernels_layout() {
    let request = request(true, Protocol::Udp, 0x82);
    assert_eq!(request.len(), 72);
    assert_eq!(request[..4], 72_u32.to_ne_bytes());
    assert_eq!(request[16..20], [AF_INET6, IPPROTO_UDP, 0, 0]);
    assert_eq!(request[20..24], 0x82_u32.to_ne_bytes());
}

#[test]
fn malformed_sockets() {
    let check = |payload: &[u8], expected| {
        let error = parse_inet_diag(Protocol::Tcp, &socket_message(payload)).unwrap_err();
        assert_eq!(error.what, expected);
    };
    check(&[0; 71], "half a socket");
    check(&[0; 72], "a socket in an unknown state");
    check(&[[1; 4].as_slice(), &[0; 68]].concat(), "a socket of an unknown family");
}

/// Writes the fixed part of a message as the kernel does.
fn print(socket: &Socket, timer: u8) -> Vec<u8> {
    let local = socket.local.inet().unwrap();
    let remote = socket.remote;
    let words = |address: Option<SocketAddr>| {
        let mut words = [0; 16];
        match address.map(|address| address.ip()) {
            None => {}
            Some(IpAddr::V4(ip)) => words[..4].copy_from_slice(&ip.octets()),
            Some(IpAddr::V6(ip)) => words = ip.octets(),
        }
        words
    };
    let (recv, send) = match socket.queue {
        Queue::Data { recv_bytes, send_bytes } => (recv_bytes, send_bytes),
        Queue::Accept { waiting, limit } => (waiting, limit.unwrap()),
        Queue::Unknown => unreachable!("not generated"),
    };
    let expires_ms = socket.timer.map_or(0, |timer| timer.expires.as_millis() as u32);
    let family = if local.is_ipv4() { AF_INET } else { AF_INET6 };
    let mut bytes = vec![family, socket.state as u8, timer, socket.retransmits as u8];
    bytes.extend(local.port().to_be_bytes());
    bytes.extend(remote.map_or(0, |remote| remote.port()).to_be_bytes());
    bytes.extend(words(Some(local)));
    bytes.extend(words(remote));
    bytes.extend([0; 12]);
    for number in [expires_ms, recv, send, socket.uid.unwrap(), socket.inode.unwrap_or(0) as u32] {
        bytes.extend(number.to_ne_bytes());
    }
    bytes
}

/// Addresses of one family for both ends: the kernel never mixes them.
fn endpoints() -> impl Strategy<Value = (SocketAddr, Option<SocketAddr>)> {
    let v4 = (any::<[u8; 4]>(), 1_u16..).prop_map(SocketAddr::from).boxed();
    let v6 = (any::<[u8; 16]>(), 1_u16..).prop_map(SocketAddr::from).boxed();
    prop_oneof![(v4.clone(), prop::option::of(v4)), (v6.clone(), prop::option::of(v6))]
}

proptest! {
    #[test]
    fn messages_round_trip(
        (local, remote) in endpoints(),
        state in prop::sample::select(&TcpState::ALL[..]),
        inode in prop::option::of(1_u32..),
        (recv, send, uid, retransmits) in any::<(u32, u32, u32, u8)>(),
        (timer, expires_ms) in (0_u8..5, any::<u32>()),
    ) {
        let queue = match state {
            TcpState::Listen => Queue::Accept { waiting: recv, limit: Some(send) },
            _ => Queue::Data { recv_bytes: recv, send_bytes: send },
        };
        let expires = Duration::from_millis(u64::from(expires_ms));
        let socket = Socket {
            protocol: Protocol::Tcp,
            local: Address::Inet(local),
            remote,
            state,
            inode: inode.map(u64::from),
            queue,
            uid: Some(uid),
            timer: TimerKind::from_kernel(timer).map(|kind| Timer { kind, expires }),
            retransmits: u32::from(retransmits),
            peer_inode: None,
        };
        prop_assert_eq!(one(&print(&socket, timer)), socket.clone());
        let attributed = [print(&socket, timer), hex(ATTRIBUTES)].concat();
        prop_assert_eq!(one(&attributed), socket);
    }

    #[test]
    fn parsing_never_panics(bytes: Vec<u8>, payload in prop::collection::vec(0_u8..14, 0..90)) {
        let _ = parse_inet_diag(Protocol::Udp, &bytes);
        let _ = parse_inet_diag(Protocol::Tcp, &socket_message(&payload));
    }
}
