//! Ports that nobody listens on.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, SocketAddrV4},
    ops::Range,
    os::fd::OwnedFd,
    process,
    sync::{Mutex, PoisonError},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

/// Below those that the kernel gives to whoever connects (`ip_local_port_range`): a server that is started again
/// finds its port free.
const PORTS: Range<u16> = 15_000..32_000;

/// Those that this process was given: they may be free as long as nobody listens.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port of 127.0.0.1 that was free a moment ago; another one each time.
///
/// # Errors
/// `AddrInUse` when all are taken.
pub fn free_port() -> io::Result<u16> {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    // Other processes look elsewhere first.
    let begin = PORTS.start + (process::id() % 170) as u16 * 100;
    let is_free = |port: &u16| !given.contains(port) && bound(*port).is_ok();
    let port = (begin..PORTS.end).chain(PORTS.start..begin).find(is_free);
    let port = port.ok_or(io::ErrorKind::AddrInUse)?;
    given.insert(port);
    Ok(port)
}

/// A socket that has the port, if nobody listens there. It does not listen itself: a child that is being started
/// holds it until it executes its program, and whoever connects meanwhile would take that for a server.
fn bound(port: u16) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?; // as servers do: what is left of closed connections is no matter
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn one_that_is_looked_at_is_nobodys_server() {
        let port = free_port().unwrap();
        let looked_at = bound(port).unwrap();
        TcpStream::connect(("127.0.0.1", port)).unwrap_err();
        // A child that still holds it keeps no server from its port.
        let server = TcpListener::bind(("127.0.0.1", port)).unwrap();
        drop(looked_at);
        bound(port).unwrap_err();
        drop(server);
    }

    #[test]
    fn each_is_another() {
        let ports: BTreeSet<u16> = (0..200).map(|_| free_port().unwrap()).collect();
        assert_eq!(ports.len(), 200);
        assert!(ports.iter().all(|port| PORTS.contains(port)));
    }
}
