//! Ports that nobody listens on.

use std::{
    collections::BTreeSet,
    io,
    net::TcpListener,
    sync::{Mutex, PoisonError},
};

/// Those that this process was given: the kernel may give one twice as long as nobody listens on it.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port of 127.0.0.1 that was free a moment ago; another one each time.
///
/// # Errors
/// Those of `bind(2)`.
pub fn free_port() -> io::Result<u16> {
    loop {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        if GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port) {
            return Ok(port);
        }
    }
}
