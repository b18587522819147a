//! Bodies that came compressed (RFC 9110, section 8.4.1; RFC 8878 for zstd). One may be several
//! members of gzip or frames of zstd: what they are the code of is one after the other (RFC 1952,
//! section 2.2; RFC 8878, section 3).
//!
//! No more is decoded than somebody reads: what a few bytes swell to is never in memory at once,
//! and counts against the limit of whoever reads it.

use std::{
    io,
    pin::Pin,
    task::{Context as Poller, Poll, ready},
};

use async_compression::{
    tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder},
    zstd::DParameter,
};
use bytes::{Buf, Bytes};
use hyper::{
    HeaderMap,
    body::{Body, Frame, SizeHint},
    header::{CONTENT_ENCODING, CONTENT_LENGTH},
};
use staunch_pool::{BodyError, PooledBody};
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};

/// What is asked for.
pub(super) const ACCEPTED: &str = "gzip, br, zstd";

/// Bytes that are decoded at a time.
const PIECE: usize = 16 << 10;

/// The most that zstd may look back, 8 MiB: what RFC 8878 asks decoders for, and RFC 9659 allows.
const WINDOW_LOG: u32 = 23;

/// How brotli begins whose window may be of 1 GiB, in the low bits of its first byte: no header of
/// RFC 7932 (section 9.1), but decoders take it.
const LARGE_WINDOW: u8 = 0b001_0001;

/// A body as it came, or what it is the code of.
pub(super) enum Coded {
    Plain(PooledBody),
    Gzip(Box<GzipDecoder<Source>>),
    Brotli(Box<BrotliDecoder<Source>>),
    Zstd(Box<ZstdDecoder<Source>>),
}

/// Why there is no more of it.
pub(super) enum Failure {
    Body(BodyError),
    Coding { coding: &'static str, source: io::Error },
}

impl Coded {
    /// Decodes a body as the headers say, which then do not say so any more. What was coded twice,
    /// or by what was not asked for, is left alone.
    pub(super) fn decoding(body: PooledBody, headers: &mut HeaderMap) -> Coded {
        let mut codings = headers.get_all(CONTENT_ENCODING).iter();
        let coding = match (codings.next(), codings.next()) {
            (Some(coding), None) => coding.as_bytes().to_ascii_lowercase(),
            _ => return Coded::Plain(body),
        };
        let source =
            |body| Source { body, ready: Bytes::new(), check: None, came: false, is_over: false };
        let coded = match coding.trim_ascii() {
            b"gzip" | b"x-gzip" => {
                let mut decoder = GzipDecoder::new(source(body));
                decoder.multiple_members(true);
                Coded::Gzip(Box::new(decoder))
            }
            b"br" => {
                let source = Source { check: Some(check_window), ..source(body) };
                Coded::Brotli(Box::new(BrotliDecoder::new(source)))
            }
            b"zstd" => {
                let window = [DParameter::window_log_max(WINDOW_LOG)];
                let mut decoder = ZstdDecoder::with_params(source(body), &window);
                decoder.multiple_members(true);
                Coded::Zstd(Box::new(decoder))
            }
            _ => return Coded::Plain(body),
        };
        headers.remove(CONTENT_ENCODING);
        headers.remove(CONTENT_LENGTH);
        coded
    }

    /// What is left of it, as it comes.
    pub(super) fn into_rest(self) -> PooledBody {
        match self {
            Coded::Plain(body) => body,
            Coded::Gzip(decoder) => decoder.into_inner().body,
            Coded::Brotli(decoder) => decoder.into_inner().body,
            Coded::Zstd(decoder) => decoder.into_inner().body,
        }
    }

    /// Whether nothing more will come.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Coded::Plain(body) if body.is_end_stream())
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Coded::Plain(body) => body.size_hint(),
            _ => SizeHint::default(),
        }
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Poller<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let (coding, decoded) = match self {
            Coded::Plain(body) => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                return Poll::Ready(frame.map(|frame| frame.map_err(Failure::Body)));
            }
            Coded::Gzip(decoder) => ("gzip", decode(&mut **decoder, GzipDecoder::get_mut, cx)),
            Coded::Brotli(decoder) => ("br", decode(&mut **decoder, BrotliDecoder::get_mut, cx)),
            Coded::Zstd(decoder) => ("zstd", decode(&mut **decoder, ZstdDecoder::get_mut, cx)),
        };
        let failed = |error: io::Error| match error.downcast::<BodyError>() {
            Ok(error) => Failure::Body(error),
            Err(source) => Failure::Coding { coding, source },
        };
        let decoded = ready!(decoded).map_err(failed).transpose();
        Poll::Ready(decoded.map(|decoded| decoded.map(Frame::data)))
    }
}

/// The next piece of what it decodes; `None` when both it and the body are at their end.
fn decode<D: AsyncRead + Unpin>(
    decoder: &mut D,
    source: impl Fn(&mut D) -> &mut Source,
    cx: &mut Poller<'_>,
) -> Poll<io::Result<Option<Bytes>>> {
    let mut piece = [0; PIECE];
    let mut buffer = ReadBuf::new(&mut piece);
    match ready!(Pin::new(&mut *decoder).poll_read(cx, &mut buffer)) {
        // A body of nothing is the code of nothing, whoever forgot to say so.
        Err(_) if source(decoder).is_empty() => return Poll::Ready(Ok(None)),
        decoded => decoded?,
    }
    if !buffer.filled().is_empty() {
        return Poll::Ready(Ok(Some(Bytes::copy_from_slice(buffer.filled()))));
    }
    match ready!(Pin::new(source(decoder)).poll_fill_buf(cx))? {
        [] => Poll::Ready(Ok(None)),
        _ => Poll::Ready(Err(io::Error::other("something comes after its end"))),
    }
}

/// Refuses brotli, by its first byte, that would look further back than RFC 7932 allows (16 MiB).
fn check_window(first: u8) -> io::Result<()> {
    if first & 0x7f == LARGE_WINDOW {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its window is too large"));
    }
    Ok(())
}

/// A body, for a decoder to read.
pub(super) struct Source {
    body: PooledBody,
    ready: Bytes,
    /// What its first byte must pass; `None` once it has.
    check: Option<fn(u8) -> io::Result<()>>,
    came: bool,
    is_over: bool,
}

impl Source {
    fn is_empty(&self) -> bool {
        self.is_over && !self.came
    }
}

impl AsyncBufRead for Source {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        while this.ready.is_empty() && !this.is_over {
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                None => this.is_over = true,
                Some(frame) => {
                    let frame = frame.map_err(io::Error::other)?;
                    this.ready = frame.into_data().unwrap_or_default(); // trailers are no data
                    this.came |= !this.ready.is_empty();
                }
            }
        }
        if let (Some(check), Some(first)) = (this.check, this.ready.first()) {
            check(*first)?;
            this.check = None;
        }
        Poll::Ready(Ok(&this.ready))
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        self.ready.advance(amount);
    }
}

impl AsyncRead for Source {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let ready = ready!(self.as_mut().poll_fill_buf(cx))?;
        let length = ready.len().min(buffer.remaining());
        buffer.put_slice(&ready[..length]);
        self.consume(length);
        Poll::Ready(Ok(()))
    }
}
