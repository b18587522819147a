//! Datagrams that are too long, and peers that are too many.

use std::net::UdpSocket;

use crate::{
    PATIENCE,
    abuse::{Healthy, beside},
    server::Server,
};

const LISTENERS: &str = r#"
[[listener]]
name = "udp"
protocol = "udp-echo"
listen = "127.0.0.1:0"
[listener.limits]
datagram = "1KiB"
peers = 10
peer_idle = "1s"
[[listener]]
name = "echo"
protocol = "echo"
listen = "127.0.0.1:0"
"#;

fn client(server: &Server) -> UdpSocket {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(server.tcp("udp")).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

#[track_caller]
fn echo(client: &UdpSocket) {
    client.send(b"hi there").unwrap();
    let mut answer = [0; 64];
    let length = client.recv(&mut answer).unwrap();
    assert_eq!(&answer[..length], b"Echo: hi there\n");
}

#[test]
fn long_datagrams_and_many_peers_leave_nothing() {
    let server = Server::start(LISTENERS);
    let baseline = server.baseline();
    beside(Healthy::Returns, server.tcp("echo"), || {
        let rude = client(&server);
        for _ in 0..1_000 {
            rude.send(&[b'x'; 2 << 10]).unwrap();
            rude.send(&[]).unwrap();
        }
        assert!(server.observed("udp-oversize") > 0);
        for _ in 0..100 {
            echo(&client(&server));
        }
        assert!(server.observed("udp-peers-full") > 0);
    });
    server.settles_to(&baseline);
    server.terminate().assert_clean();
}
