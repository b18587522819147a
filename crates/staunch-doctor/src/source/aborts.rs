//! How many connections were closed although data had come that nobody read: what the kernel counts.
//!
//! `TCPAbortOnClose` and `TCPAbortOnData` of `/proc/PID/net/netstat`: a socket is closed with unread data,
//! or data comes for one that is closed; the peer gets a reset. The counters are those of the whole
//! network namespace.
//!
//! Source: `tcp_close` and `tcp_rcv_state_process` in Linux, and its
//! `Documentation/networking/snmp_counter.rst`.

use std::{
    fs::File,
    io::{self, Read},
};

/// The file has some hundred numbers on a line.
const BYTES_MAX: u64 = 64 << 10;

const COUNTERS: [&str; 2] = ["TCPAbortOnClose", "TCPAbortOnData"];

/// The count in the network namespace of a process, since it began; `None` if the kernel does not say.
pub(super) fn aborts(pid: u32) -> Option<u64> {
    read(pid).ok().and_then(|text| count(&text))
}

fn read(pid: u32) -> io::Result<String> {
    let mut text = String::new();
    File::open(format!("/proc/{pid}/net/netstat"))?.take(BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Of two lines that begin alike the first has the names, and the second the numbers.
fn count(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let counters = std::iter::zip(names.split_whitespace(), numbers.split_whitespace());
    let ours = counters.filter(|(name, _)| COUNTERS.contains(name));
    let counts: Option<Vec<u64>> = ours.map(|(_, number)| number.parse().ok()).collect();
    counts.filter(|counts| counts.len() == COUNTERS.len())?.into_iter().reduce(u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn the_two_counters_are_added_and_others_are_not() {
        let text =
            "TcpExt: A TCPAbortOnData B TCPAbortOnClose\nTcpExt: 1 20 3 4\nIpExt: C\nIpExt: 5\n";
        assert_eq!(count(text), Some(24));
        for text in [
            "",
            "TcpExt: TCPAbortOnData TCPAbortOnClose\n",
            "TcpExt: TCPAbortOnData TCPAbortOnClose\nTcpExt: 1\n",
            "TcpExt: TCPAbortOnData TCPAbortOnClose\nTcpExt: 1 x\n",
            "TcpExt: TCPAbortOnData\nTcpExt: 1\n",
        ] {
            assert_eq!(count(text), None, "{text}");
        }
    }

    #[test]
    fn who_closes_with_data_unread_is_counted() {
        let pid = std::process::id();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let before = aborts(pid).unwrap();
        let mut sends = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        sends.write_all(b"unread").unwrap();
        let (receives, _) = listener.accept().unwrap();
        let mut one = [0];
        receives.peek(&mut one).unwrap(); // it has come
        drop(receives);
        assert!(aborts(pid).unwrap() > before);
    }
}
