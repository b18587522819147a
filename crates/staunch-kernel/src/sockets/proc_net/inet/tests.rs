use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::{MalformedLine, parse_proc_net_tcp, parse_proc_net_udp};

const HEADER: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when \
                      retrnsmt   uid  timeout inode\n";

/// A table with the one line, as a table of the kernel has it.
fn one(line: &str) -> Socket {
    let sockets = parse_proc_net_tcp(format!("{HEADER}{line}\n").as_bytes()).unwrap();
    assert_eq!(sockets.len(), 1);
    sockets.into_iter().next().unwrap()
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

// The captures below come from a little-endian kernel.
#[cfg(target_endian = "little")]
mod captured {
    use super::*;

    #[test]
    fn a_listener() {
        let socket =
            one("   0: 0100007F:D43B 00000000:0000 0A 00000000:00000002 00:00000000 00000000  \
             1000        0 8446 1 00000000f86c7e67 100 0 0 10 0                      ");
        assert_eq!(socket.local, Address::Inet(addr("127.0.0.1:54331")));
        assert_eq!(socket.remote, None);
        assert_eq!(socket.state, TcpState::Listen);
        assert_eq!(socket.inode, Some(8446));
        assert_eq!(socket.uid, Some(1000));
        assert_eq!(socket.queue, Queue::Accept { waiting: 2, limit: None });
        assert_eq!(socket.recv_queue_bytes(), 0);
    }

    #[test]
    fn a_connection_in_close_wait() {
        let socket = one(
            "   3: 0100007F:D43B 0100007F:A0EC 08 00000000:00000004 00:00000000 00000000     0 \
                    0 8448 2 000000007dfff28a 20 4 31 10 -1",
        );
        assert_eq!(socket.remote, Some(addr("127.0.0.1:41196")));
        assert_eq!(socket.state, TcpState::CloseWait);
        assert_eq!(socket.queue, Queue::Data { recv_bytes: 4, send_bytes: 0 });
        assert_eq!(socket.timer, None);
    }

    #[test]
    fn an_orphan_with_a_timer_has_no_inode() {
        let socket = one(
            "   2: 0100007F:A0EC 0100007F:D43B 04 00000001:00000000 01:00000013 00000002     0 \
                    0 0 2 00000000ae9d79a1 20 0 0 11 -1",
        );
        assert_eq!(socket.state, TcpState::FinWait1);
        assert_eq!(socket.inode, None);
        assert_eq!(socket.retransmits, 2);
        let expires = ticks_to_duration(0x13);
        assert_eq!(socket.timer, Some(Timer { kind: TimerKind::Retransmit, expires }));
    }

    #[test]
    fn ipv6_addresses_are_four_words() {
        let socket = one(
            "   4: 00000000000000000000000001000000:A122 B80D01200000000067452301EFCDAB89:D39D \
             01 00000000:00000000 00:00000000 00000000     0        0 8451 2 \
             000000002ee370c7 20 0 0 10 -1",
        );
        assert_eq!(socket.local, Address::Inet(addr("[::1]:41250")));
        assert_eq!(socket.remote, Some(addr("[2001:db8::123:4567:89ab:cdef]:54173")));
        let mapped = one(
            "   3: 0000000000000000FFFF00000100007F:C49B 0000000000000000FFFF00000100007F:D8F2 \
             01 00000000:00000000 00:00000000 00000000     0        0 0 1 000000004d8658d2",
        );
        assert_eq!(mapped.local, Address::Inet(addr("[::ffff:127.0.0.1]:50331")));
    }

    #[test]
    fn a_udp_table() {
        let text = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when \
                    retrnsmt   uid  timeout inode ref pointer drops            \n 6545: \
                    0100007F:E82C 00000000:0000 07 00000000:00000300 00:00000000 00000000     0 \
                           0 8450 2 0000000078d52c0e 0          \n";
        let sockets = parse_proc_net_udp(text.as_bytes()).unwrap();
        assert_eq!(sockets.len(), 1);
        assert_eq!(sockets[0].protocol, Protocol::Udp);
        assert_eq!(sockets[0].state, TcpState::Close);
        assert_eq!(sockets[0].inode, Some(8450));
        assert_eq!(sockets[0].recv_queue_bytes(), 0x300);
    }
}

#[test]
fn empty_tables() {
    assert_eq!(parse_proc_net_tcp(b""), Ok(vec![]));
    assert_eq!(parse_proc_net_tcp(HEADER.as_bytes()), Ok(vec![]));
}

#[test]
fn a_malformed_line_is_named() {
    let good = "0: 0100007F:D43B 00000000:0000 0A 0:0 00:0 0 0 0 1";
    assert!(parse_proc_net_tcp(format!("{HEADER}{good}").as_bytes()).is_ok());
    let check = |bad: &str| {
        let text = format!("{HEADER}{good}\n{bad}\n");
        let expected = MalformedLine { line: 3, text: bad.to_owned() };
        assert_eq!(parse_proc_net_tcp(text.as_bytes()), Err(expected), "{bad}");
    };
    check("");
    check("0: 0100007F:D43B 00000000:0000 0A 0:0 00:0 0 0 0");
    check("0: 0100007F:D43B 00000000:0000 0E 0:0 00:0 0 0 0 1");
    check("0: 0100007F:1D43B 00000000:0000 0A 0:0 00:0 0 0 0 1");
    check("0: 0100007:D43B 00000000:0000 0A 0:0 00:0 0 0 0 1");
    check("0: 0100007F:D43B 00000000:0000 0A 0:100000000 00:0 0 0 0 1");
    check("0: ÄÄÄÄ:D43B 00000000:0000 0A 0:0 00:0 0 0 0 1");
}

/// Writes a line as the kernel does.
fn print(socket: &Socket, ticks: u64) -> String {
    let print_address = |address: SocketAddr| {
        let mut text = String::new();
        let octets = match address.ip() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        for word in octets.chunks_exact(4) {
            let word = u32::from_ne_bytes(word.try_into().unwrap());
            write!(text, "{word:08X}").unwrap();
        }
        write!(text, ":{:04X}", address.port()).unwrap();
        text
    };
    let (send, recv) = match socket.queue {
        Queue::Data { recv_bytes, send_bytes } => (send_bytes, recv_bytes),
        Queue::Accept { waiting, .. } => (0, waiting),
        Queue::Unknown => unreachable!("not generated"),
    };
    let local = socket.local.inet().unwrap();
    let nobody = SocketAddr::new(
        if local.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() },
        0,
    );
    let timer = socket.timer.map_or(0, |timer| match timer.kind {
        TimerKind::Retransmit => 1,
        TimerKind::KeepAlive => 2,
        TimerKind::TimeWait => 3,
        TimerKind::ZeroWindowProbe => 4,
    });
    format!(
        "{:4}: {} {} {:02X} {send:08X}:{recv:08X} {timer:02X}:{ticks:08X} {:08X} {:5} {:8} {} 1 \
         00000000f86c7e67 100 0 0 10 0\n",
        7,
        print_address(local),
        print_address(socket.remote.unwrap_or(nobody)),
        socket.state as u8,
        socket.retransmits,
        socket.uid.unwrap(),
        0,
        socket.inode.unwrap_or(0),
    )
}

/// Addresses of one family for both ends: the sources never mix them.
fn endpoints() -> impl Strategy<Value = (SocketAddr, Option<SocketAddr>)> {
    let v4 = (any::<[u8; 4]>(), any::<u16>()).prop_map(SocketAddr::from).boxed();
    let v6 = (any::<[u8; 16]>(), any::<u16>()).prop_map(SocketAddr::from).boxed();
    prop_oneof![(v4.clone(), prop::option::of(v4)), (v6.clone(), prop::option::of(v6))]
        .prop_map(|(local, remote)| (local, remote.filter(|remote| remote.port() != 0)))
}

fn any_timer() -> impl Strategy<Value = Option<TimerKind>> {
    (0_u8..5).prop_map(TimerKind::from_kernel)
}

proptest! {
    #[test]
    fn lines_round_trip(
        (local, remote) in endpoints(),
        state in prop::sample::select(&TcpState::ALL[..]),
        inode in prop::option::of(1_u64..),
        (recv_bytes, send_bytes, uid, retransmits) in any::<(u32, u32, u32, u32)>(),
        kind in any_timer(),
        ticks in any::<u32>(),
    ) {
        let queue = match state {
            TcpState::Listen => Queue::Accept { waiting: recv_bytes, limit: None },
            _ => Queue::Data { recv_bytes, send_bytes },
        };
        let ticks = if kind.is_some() { u64::from(ticks) } else { 0 };
        let socket = Socket {
            protocol: Protocol::Tcp,
            local: Address::Inet(local),
            remote,
            state,
            inode,
            queue,
            uid: Some(uid),
            timer: kind.map(|kind| Timer { kind, expires: ticks_to_duration(ticks) }),
            retransmits,
            peer_inode: None,
        };
        let text = format!("{HEADER}{}", print(&socket, ticks));
        prop_assert_eq!(parse_proc_net_tcp(text.as_bytes()), Ok(vec![socket]));
    }

    #[test]
    fn parsing_never_panics(bytes: Vec<u8>, text: String, columns: Vec<String>) {
        let _ = parse_proc_net_tcp(&bytes);
        let _ = parse_proc_net_udp(format!("{HEADER}0: 0100007F:{text}").as_bytes());
        let _ = parse_proc_net_tcp(format!("\n{}", columns.join(" ")).as_bytes());
    }
}
