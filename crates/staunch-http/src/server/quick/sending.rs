//! An answer on its way to its client: the head, and the body in its framing (RFC 9112, 6).

use std::{
    io::{self, IoSlice, Write},
    pin::Pin,
    task::{Context as Poller, Poll, ready},
};

use bytes::Bytes;
use hyper::{
    HeaderMap, Response, StatusCode,
    body::Body,
    ext::ReasonPhrase,
    header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderName, HeaderValue, TRANSFER_ENCODING},
    http::response::Parts,
};
use staunch_scope::BoxError;
use tokio::io::AsyncWrite;

use crate::server::wire::{clear_room, field, give_room, number, with_date};

/// Pieces of a body up to so many bytes are copied together with what frames them: one `send` costs the
/// kernel less than a `writev` of two parts.
const COPIED: usize = 4 << 10;

/// So many are put together before they are sent, if the body has them at once.
const TOGETHER: usize = 16 << 10;

/// Of so many pieces: each may hold more memory than what is sent of it.
const TOGETHER_PIECES: usize = 16;

/// What of an answer its client does not have yet.
#[derive(Debug, Default)]
pub(super) struct Sending {
    /// The head, pieces of the body that are small, and what frames them.
    small: Vec<u8>,
    /// The pieces that were copied: somebody may count them until they are sent.
    copied: Bytes,
    others: Vec<Bytes>,
    /// A large piece, and what frames it.
    large: Bytes,
    tail: &'static [u8],
    /// Of all these.
    written: usize,
    framing: Framing,
    has_ended: bool,
    /// Why there is no more of the body. The client is to have what there is, and then to see the end.
    failed: Option<BoxError>,
    must_flush: bool,
}

/// How a client knows where the body ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Framing {
    #[default]
    Nothing,
    /// So many bytes are to come.
    Length(u64),
    Chunked,
}

/// The body is shorter than its answer says that it is.
#[derive(Debug, thiserror::Error)]
#[error("the answer's body ends {missing} bytes before its `Content-Length`")]
struct ShortBodyError {
    missing: u64,
}

impl Sending {
    /// Begins with the head; what is left to send is the body. The client says, or is told, no more
    /// after it if `is_last` says so in the end.
    pub(super) fn begin<B: Body>(
        answer: Response<B>,
        is_head: bool,
        is_last: &mut bool,
    ) -> (Sending, B) {
        let (mut parts, body) = answer.into_parts();
        let is_none = parts.status.is_informational();
        if is_none {
            tracing::warn!(status = %parts.status, "is no answer: the client is told 500 instead");
            (parts.status, parts.headers) = (StatusCode::INTERNAL_SERVER_ERROR, HeaderMap::new());
        }
        *is_last |= is_none || says_close(&parts.headers);
        let framing =
            if is_none { Framing::Length(0) } else { Framing::of(&parts, &body, is_head) };
        let mut small = Vec::new();
        clear_room(&mut small);
        head(&mut small, &parts, (is_head, *is_last), framing, &body);
        let has_ended = is_head || framing == Framing::Nothing || framing == Framing::Length(0);
        (Sending { small, framing, has_ended, must_flush: true, ..Sending::default() }, body)
    }

    /// Whether the next piece of the body is to be made, to be sent along.
    pub(super) fn has_room(&self) -> bool {
        let is_full = self.small.len() >= TOGETHER || self.others.len() >= TOGETHER_PIECES;
        !self.has_ended() && self.large.is_empty() && !is_full
    }

    /// Whatever of the body is missing will not be made.
    pub(super) fn fail(&mut self, error: impl Into<BoxError>) {
        self.failed = Some(error.into());
    }

    /// Whether all of the body is made that will be.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended || self.failed.is_some()
    }

    /// The next piece of the body. What is more than the head has said is left out.
    pub(super) fn add(&mut self, mut data: Bytes) {
        let mut tail: &'static [u8] = b"";
        match &mut self.framing {
            Framing::Nothing => return,
            Framing::Length(left) => {
                data.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= data.len() as u64;
                self.has_ended = *left == 0;
            }
            Framing::Chunked if data.is_empty() => return, // it would look like the end
            Framing::Chunked => {
                let _ = write!(self.small, "{:x}\r\n", data.len()); // a Vec takes all
                tail = b"\r\n";
            }
        }
        if data.len() <= COPIED {
            self.small.extend_from_slice(&data);
            self.small.extend_from_slice(tail);
            let before = std::mem::replace(&mut self.copied, data);
            if !before.is_empty() {
                self.others.push(before);
            }
        } else {
            (self.large, self.tail) = (data, tail);
        }
    }

    /// The body has no more.
    pub(super) fn end(&mut self) {
        match self.framing {
            _ if self.failed.is_some() => return,
            _ if self.has_ended => {}
            Framing::Length(missing) if missing > 0 => {
                return self.fail(ShortBodyError { missing });
            }
            Framing::Chunked if self.large.is_empty() => self.small.extend_from_slice(b"0\r\n\r\n"),
            Framing::Chunked => self.tail = b"\r\n0\r\n\r\n",
            Framing::Nothing | Framing::Length(_) => {}
        }
        self.has_ended = true;
    }

    /// Ready when the client has all of what there is.
    ///
    /// # Errors
    /// When it cannot be sent, or that was not all, and there is no more.
    pub(super) fn poll_sent<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        cx: &mut Poller<'_>,
    ) -> Poll<Result<(), BoxError>> {
        let length = self.small.len() + self.large.len() + self.tail.len();
        while self.written < length {
            match ready!(self.poll_write(io, cx))? {
                0 => return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero).into())),
                written => self.written += written,
            }
            self.must_flush = true;
        }
        if length > 0 {
            give_room(std::mem::take(&mut self.small));
            self.others.clear();
            (self.copied, self.large) = (Bytes::new(), Bytes::new());
            (self.tail, self.written) = (b"", 0);
        }
        if self.must_flush {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.must_flush = false;
        }
        Poll::Ready(self.failed.take().map_or(Ok(()), Err))
    }

    fn poll_write<W: AsyncWrite + Unpin>(
        &self,
        io: &mut W,
        cx: &mut Poller<'_>,
    ) -> Poll<io::Result<usize>> {
        let io = Pin::new(io);
        let mut skip = self.written;
        let left = [&self.small[..], &self.large, self.tail].map(|part| {
            let (_, left) = part.split_at(skip.min(part.len()));
            skip -= part.len() - left.len();
            left
        });
        let [small, large, tail] = left;
        if large.is_empty() {
            return io.poll_write(cx, if small.is_empty() { tail } else { small });
        }
        io.poll_write_vectored(cx, &[small, large, tail].map(IoSlice::new))
    }
}

impl Framing {
    fn of<B: Body>(parts: &Parts, body: &B, is_head: bool) -> Framing {
        if matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Framing::Nothing;
        }
        if parts.status == StatusCode::RESET_CONTENT {
            // RFC 9110, 15.3.6, whatever was made for it.
            return if is_head { Framing::Nothing } else { Framing::Length(0) };
        }
        if parts.headers.contains_key(TRANSFER_ENCODING) {
            return Framing::Chunked;
        }
        let said = said_length(&parts.headers);
        let length = if body.is_end_stream() { Some(0) } else { body.size_hint().exact() };
        match if is_head { said.or(length) } else { length.or(said) } {
            Some(length) => Framing::Length(length),
            None => Framing::Chunked,
        }
    }
}

/// The length that the answer's own head says; `None` if it says none that can be.
fn said_length(headers: &HeaderMap) -> Option<u64> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next()?.to_str().ok()?.parse().ok()?;
    lengths.next().is_none().then_some(length)
}

fn says_close(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(CONNECTION).iter().map(HeaderValue::as_bytes);
    let mut tokens = lines.flat_map(|line| line.split(|byte| *byte == b','));
    tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// Writes the head, as hyper would.
fn head<B: Body>(
    out: &mut Vec<u8>,
    parts: &Parts,
    (is_head, is_last): (bool, bool),
    framing: Framing,
    body: &B,
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(parts.status.as_str().as_bytes());
    out.push(b' ');
    let own = parts.extensions.get::<ReasonPhrase>().map(ReasonPhrase::as_bytes);
    let usual = || parts.status.canonical_reason().unwrap_or_default().as_bytes();
    out.extend_from_slice(own.unwrap_or_else(usual));
    out.extend_from_slice(b"\r\n");
    for (name, value) in &parts.headers {
        if !is_ours(name, is_last) {
            field(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    if is_last {
        field(out, CONNECTION.as_str().as_bytes(), b"close");
    }
    write_framing(out, parts, is_head, framing, body);
    if !parts.headers.contains_key(DATE) {
        with_date(|now| field(out, DATE.as_str().as_bytes(), now));
    }
    out.extend_from_slice(b"\r\n");
}

/// Whether a field is written otherwise than the handler has it.
fn is_ours(name: &HeaderName, is_last: bool) -> bool {
    *name == CONTENT_LENGTH || *name == TRANSFER_ENCODING || (is_last && *name == CONNECTION)
}

fn write_framing<B: Body>(
    out: &mut Vec<u8>,
    parts: &Parts,
    is_head: bool,
    framing: Framing,
    body: &B,
) {
    let coding = parts.headers.get(TRANSFER_ENCODING).map(HeaderValue::as_bytes);
    match framing {
        // What a GET would have been told may be said; that it has no body is not said of it.
        Framing::Nothing if parts.status == StatusCode::NOT_MODIFIED => {
            if let Some(length) = said_length(&parts.headers) {
                write_length(out, length);
            }
        }
        Framing::Nothing => {}
        Framing::Length(0) if is_head && body.is_end_stream() && !says_length(parts) => {}
        Framing::Length(length) => write_length(out, length),
        Framing::Chunked if is_head => {}
        Framing::Chunked => {
            let is_chunked = |coding: &[u8]| {
                let last = coding.rsplit(|byte| *byte == b',').next().unwrap_or_default();
                last.trim_ascii().eq_ignore_ascii_case(b"chunked")
            };
            let others = coding.filter(|coding| !is_chunked(coding));
            let all = others.map(|others| [others, b", chunked"].concat());
            let all = all.as_deref().or(coding).unwrap_or(b"chunked");
            field(out, TRANSFER_ENCODING.as_str().as_bytes(), all);
        }
    }
}

fn says_length(parts: &Parts) -> bool {
    parts.headers.contains_key(CONTENT_LENGTH)
}

fn write_length(out: &mut Vec<u8>, length: u64) {
    number(out, CONTENT_LENGTH.as_str().as_bytes(), length);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::server::body::keep_until_sent;

    /// Takes so many bytes of the first part at every other write, and flushes at the second try.
    struct Drip {
        bytes: usize,
        taken: Vec<u8>,
        is_ready: bool,
    }

    impl Drip {
        fn of(bytes: usize) -> Drip {
            Drip { bytes, taken: Vec::new(), is_ready: false }
        }

        fn poll_ready(&mut self, cx: &Poller<'_>) -> Poll<()> {
            self.is_ready = !self.is_ready;
            if self.is_ready {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }

    impl AsyncWrite for Drip {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Poller<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            ready!(self.poll_ready(cx));
            let count = bytes.len().min(self.bytes);
            self.taken.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
            self.poll_ready(cx).map(Ok)
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Poller<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn chunked() -> Sending {
        let head = b"head\r\n\r\n".to_vec();
        Sending { small: head, framing: Framing::Chunked, must_flush: true, ..Sending::default() }
    }

    fn send(sending: &mut Sending, to: &mut Drip) -> Result<(), BoxError> {
        let mut cx = Poller::from_waker(std::task::Waker::noop());
        loop {
            if let Poll::Ready(sent) = sending.poll_sent(to, &mut cx) {
                return sent;
            }
        }
    }

    #[test]
    fn however_little_is_taken_all_of_it_goes_in_its_order() {
        let large = vec![b'x'; COPIED + 1];
        let framed = [&b"head\r\n\r\n1\r\na\r\n1001\r\n"[..], &large, b"\r\n1\r\nb\r\n0\r\n\r\n"];
        for bytes in [1, 2, 3, 7, 1000, 4096, usize::MAX] {
            let (mut sending, mut to) = (chunked(), Drip::of(bytes));
            sending.add(Bytes::from_static(b"a"));
            sending.add(Bytes::new());
            sending.add(Bytes::from(large.clone()));
            assert!(!sending.has_room(), "one large piece at a time");
            send(&mut sending, &mut to).unwrap();
            assert!(sending.has_room());
            sending.add(Bytes::from_static(b"b"));
            sending.end();
            send(&mut sending, &mut to).unwrap();
            assert_eq!(to.taken, framed.concat(), "{bytes}");
            assert!(sending.has_ended() && !sending.must_flush);
        }
    }

    #[test]
    fn what_there_is_goes_before_the_failure() {
        let (mut sending, mut to) = (chunked(), Drip::of(3));
        sending.add(Bytes::from_static(b"a"));
        sending.fail("there is no more");
        sending.end();
        let failed = send(&mut sending, &mut to).unwrap_err();
        assert_eq!(failed.to_string(), "there is no more");
        assert_eq!(to.taken, b"head\r\n\r\n1\r\na\r\n");
    }

    #[test]
    fn a_client_that_takes_nothing_holds_few_pieces() {
        let (mut sending, mut pieces) = (chunked(), 0);
        while sending.has_room() {
            sending.add(Bytes::from_static(b"a"));
            pieces += 1;
        }
        assert!(pieces <= TOGETHER_PIECES + 1, "{pieces}");
    }

    #[test]
    fn pieces_are_kept_until_they_are_sent() {
        let (mut sending, mut to, guard) = (chunked(), Drip::of(usize::MAX), Arc::new(()));
        for bytes in [1, 2, COPIED, COPIED + 1] {
            sending.add(keep_until_sent(vec![b'x'; bytes], Arc::clone(&guard)));
        }
        assert_eq!(Arc::strong_count(&guard), 5);
        send(&mut sending, &mut to).unwrap();
        assert_eq!(Arc::strong_count(&guard), 1);
    }

    #[test]
    fn a_body_is_as_long_as_its_head_says() {
        let answer = Response::builder().header("content-length", "3").body(()).unwrap();
        let answer = answer.map(|()| Unknown);
        let (mut sending, _) = Sending::begin(answer, false, &mut false);
        sending.small.clear();
        sending.add(Bytes::from_static(b"ab"));
        assert!(!sending.has_ended());
        sending.add(Bytes::from_static(b"cd"));
        assert!(sending.has_ended());
        assert_eq!(sending.small, b"abc", "no more than that");
    }

    /// A body that does not know how long it is.
    struct Unknown;

    impl Body for Unknown {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Poller<'_>,
        ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, BoxError>>> {
            Poll::Pending
        }
    }
}
