//! Ports that nobody listens on.

use std::{
    collections::BTreeSet,
    io,
    net::TcpListener,
    ops::Range,
    process,
    sync::{Mutex, PoisonError},
};

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
    let is_free =
        |port: &u16| !given.contains(port) && TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let port = (begin..PORTS.end).chain(PORTS.start..begin).find(is_free);
    let port = port.ok_or(io::ErrorKind::AddrInUse)?;
    given.insert(port);
    Ok(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_another() {
        let ports: BTreeSet<u16> = (0..200).map(|_| free_port().unwrap()).collect();
        assert_eq!(ports.len(), 200);
        assert!(ports.iter().all(|port| PORTS.contains(port)));
    }
}
