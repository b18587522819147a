//! What the kernel still keeps for a server to read.

use std::net::SocketAddr;

use staunch_kernel::{Protocol, SocketQuery, TcpState};

/// Whether a server of this host has read all that a client's connection to it has sent.
///
/// # Panics
/// When the kernel does not tell of its sockets.
pub fn has_heard(server: SocketAddr, client: SocketAddr) -> bool {
    let query = SocketQuery::new().protocols([Protocol::Tcp]).local_ports([server.port()]);
    let table = query.run().expect("the kernel tells of its sockets");
    table.sockets.iter().any(|socket| {
        let is_its = socket.state == TcpState::Established && socket.remote == Some(client);
        is_its && socket.recv_queue_bytes() == 0
    })
}
