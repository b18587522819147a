//! What this process or this machine lacks.

use std::io;

use rustix::io::Errno;

/// Whether there is no descriptor or no memory left for a socket: that says nothing of any peer.
pub(crate) fn out_of_resources(error: &io::Error) -> bool {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| exhausted.contains(&errno))
}
