//! What those need who speak HTTP/1 by themselves, beside hyper: this server and the gateway.

use std::{
    cell::RefCell,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context as Poller, Poll, ready},
    time::{Duration, UNIX_EPOCH},
};

use memchr::memchr_iter;
use rustix::time::{ClockId, clock_gettime};
use tokio::{
    io::{AsyncWriteExt, ReadBuf},
    time::Instant,
};

use super::socket::Transport;
pub use super::{alarm::Alarm, head::is_plain_host};

/// Bytes that a client may say before it has its answer: then it is not listened to until it has.
pub const AHEAD_MAX: usize = 8 << 10;

/// Bytes of a body that nobody reads, which are taken if they have come, so that its connection can go on.
pub const BODY_FORGOTTEN: usize = 64 << 10;

/// How far a head was looked at that is not whole yet, so that one that comes byte by byte is not read
/// anew for each of them.
#[derive(Debug, Default)]
pub struct Looked {
    /// Bytes that were there.
    seen: usize,
    /// Bytes that were there when it was read last.
    read: usize,
}

impl Looked {
    /// Whether `said` is to be read: the first time, when its end may have come, when there is twice as
    /// much as when it was read last, and when there is `most` of it.
    pub fn is_due(&mut self, said: &[u8], most: usize) -> bool {
        let new = said.get(self.seen.saturating_sub(2)..).unwrap_or_default();
        let has_end = || memchr_iter(b'\n', new).any(|at| ends_head(&new[at + 1..]));
        let is_due = said.len() >= most || said.len() >= 2 * self.read || has_end();
        let is_new = said.len() != self.seen;
        self.seen = said.len();
        if is_due && is_new {
            self.read = said.len();
        }
        is_due && is_new
    }
}

/// Whether what follows an end of line is an empty line.
fn ends_head(rest: &[u8]) -> bool {
    rest.starts_with(b"\n") || rest.starts_with(b"\r\n")
}

/// Until when a head must be whole of which the first part is there now. A limit that no clock
/// reaches is a day.
pub fn head_due(head_time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(head_time).unwrap_or(now + Duration::from_hours(24))
}

/// Whether all lines of a head end in CRLF: httparse takes LF alone, too.
pub fn end_in_crlf(head: &[u8]) -> bool {
    let is_after_cr = |at: usize| at.checked_sub(1).and_then(|at| head.get(at)) == Some(&b'\r');
    memchr_iter(b'\n', head).all(is_after_cr)
}

/// Whether a `Connection` says that this is its last message; `None` if it names something else than what
/// becomes of the connection, but for `TE`, of which its own field says what there is to say.
pub fn says_close(value: &[u8]) -> Option<bool> {
    let mut closes = false;
    for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        if token.eq_ignore_ascii_case(b"close") {
            closes = true;
        } else if ![&b"keep-alive"[..], b"te"].iter().any(|it| token.eq_ignore_ascii_case(it)) {
            return None;
        }
    }
    Some(closes)
}

thread_local! {
    /// Written anew once a second.
    static NOW: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

/// Lends the time as the value of a `Date` (RFC 9110, 5.6.7).
pub fn with_date<R>(work: impl FnOnce(&[u8]) -> R) -> R {
    // It is some milliseconds late, and read in a fifth of the time.
    let second = clock_gettime(ClockId::RealtimeCoarse).tv_sec.cast_unsigned();
    NOW.with_borrow_mut(|(written, text)| {
        if *written != second {
            let now = UNIX_EPOCH + Duration::from_secs(second);
            (*written, *text) = (second, httpdate::fmt_http_date(now));
        }
        work(text.as_bytes())
    })
}

thread_local! {
    static ROOMS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// So many are kept of a thread, with so much memory at most.
const ROOMS_MAX: usize = 16;
const ROOM_MAX: usize = 4 << 10;

/// Enough for most heads. Memory that comes and goes is of another size than what an idle connection
/// holds: in between it would leave holes.
const ROOM: usize = 512;

/// Forgets what is in `room`. If that has no memory it gets some of the thread's, which takes less time
/// than to allocate it.
pub fn clear_room(room: &mut Vec<u8>) {
    room.clear();
    if room.capacity() == 0 {
        let kept = ROOMS.with_borrow_mut(Vec::pop);
        *room = kept.unwrap_or_else(|| Vec::with_capacity(ROOM));
    }
}

/// Gives the memory of `room` back to the thread.
pub fn give_room(mut room: Vec<u8>) {
    if (ROOM..=ROOM_MAX).contains(&room.capacity()) {
        room.clear();
        ROOMS.with_borrow_mut(|rooms| {
            if rooms.len() < ROOMS_MAX {
                rooms.push(room);
            }
        });
    }
}

/// Writes a header field.
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes a header field whose value is a number.
pub fn number(out: &mut Vec<u8>, name: &[u8], value: u64) {
    let (mut digits, mut left, mut from) = ([0; 20], value, 20);
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        (left, from) = (left / 10, from - 1);
        if left == 0 {
            break;
        }
    }
    field(out, name, digits.get(from..).unwrap_or_default());
}

/// Ready when a client has left that can only wait for its answer. What it says meanwhile is kept in `said`,
/// [`AHEAD_MAX`] bytes at most.
///
/// # Errors
/// Those of the connection, when the client cannot be heard any more.
pub fn poll_leaving<T: Transport>(
    io: &mut T,
    said: &mut Vec<u8>,
    cx: &mut Poller<'_>,
) -> Poll<io::Result<()>> {
    let mut room = [const { MaybeUninit::uninit() }; AHEAD_MAX];
    while let Some(room) = room.get_mut(said.len()..).filter(|room| !room.is_empty()) {
        let mut buffer = ReadBuf::uninit(room);
        ready!(Pin::new(&mut *io).poll_read(cx, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Ok(()));
        }
        said.extend_from_slice(buffer.filled());
    }
    Poll::Pending
}

/// Ends a connection in good order. What the client still sends is read for a while, so that it can
/// read what it was told.
///
/// # Errors
/// When the client cannot be told.
///
/// # Cancel safety
/// Dropped, what the client was told last may be lost.
pub async fn linger<T: Transport>(io: &mut T) -> io::Result<()> {
    io.shutdown().await?;
    staunch_net::linger(io).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    /// Byte by byte a head is read a few times, and at the byte with which it is whole.
    #[test]
    fn a_head_that_comes_byte_by_byte_is_read_seldom() {
        for (head, name) in [
            (format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "a".repeat(1000)), "CRLF"),
            (format!("GET / HTTP/1.1\nHost: {}\n\n", "a".repeat(1000)), "LF"),
        ] {
            let mut looked = Looked::default();
            let due = |count: &usize| looked.is_due(&head.as_bytes()[..*count], 10_000);
            let read: Vec<usize> = (1..=head.len()).filter(due).collect();
            assert!(read.len() < 15 && read[0] == 1, "{name}: {read:?}");
            assert_eq!(read.last(), Some(&head.len()), "{name}");
            assert!(!looked.is_due(head.as_bytes(), 10_000), "{name}: it is known");
        }
        let mut looked = Looked::default();
        assert!(looked.is_due(&[b'a'; 60], 100) && !looked.is_due(&[b'a'; 99], 100));
        assert!(looked.is_due(&[b'a'; 100], 100), "as much as there may be");
    }

    #[test]
    fn rooms_go_from_hand_to_hand() {
        let mut room = Vec::new();
        clear_room(&mut room);
        room.extend_from_slice(b"said");
        let memory = room.as_ptr();
        give_room(room);
        give_room(Vec::new());
        give_room(vec![0; ROOM_MAX + 1]);
        let mut rooms = [Vec::new(), Vec::new()];
        rooms.iter_mut().for_each(clear_room);
        assert_eq!((rooms[0].as_ptr(), rooms[0].len()), (memory, 0));
        assert_eq!(rooms[1].capacity(), ROOM, "what was too large is gone");
        let many: Vec<_> = (0..2 * ROOMS_MAX).map(|_| Vec::with_capacity(ROOM)).collect();
        many.into_iter().for_each(give_room);
        assert_eq!(ROOMS.with_borrow(Vec::len), ROOMS_MAX);
    }

    #[test]
    fn numbers_are_written_as_they_are() {
        for value in [0, 1, 9, 10, 99, 100, 12_345, u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, b"n", value);
            assert_eq!(out, format!("n: {value}\r\n").as_bytes());
        }
    }

    #[test]
    fn the_date_is_that_of_now() {
        let said = with_date(|now| std::str::from_utf8(now).map(str::to_owned)).unwrap();
        let said = httpdate::parse_http_date(&said).unwrap();
        let since = SystemTime::now().duration_since(said).unwrap();
        assert!(since < Duration::from_secs(2), "{since:?}");
    }
}
