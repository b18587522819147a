//! Answers that take their time.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue},
};
use staunch_http::{Event, RequestBody, StreamBody, StreamLimits, Streams, last_event_id, peer};
use staunch_scope::sleep;

use super::{query, text};

/// Streams of a route. One client may have all of them: how many connections it has, the listener's
/// `connections_per_ip` limits.
const MOST: usize = 10_000;

/// The streams of one listener, by route.
#[derive(Clone)]
pub(super) struct Routes {
    ticks: Streams,
    echoes: Streams,
    downloads: Streams,
}

impl Default for Routes {
    fn default() -> Routes {
        let streams = |name, lifetime| {
            let (streams, per_client) = (MOST, MOST);
            let limits = StreamLimits { streams, per_client, lifetime, ..StreamLimits::default() };
            Streams::named(name, limits)
        };
        let (half_a_minute, hour) = (Duration::from_secs(30), Duration::from_hours(1));
        Routes {
            ticks: streams("/sse", half_a_minute),
            echoes: streams("/ws", hour),
            downloads: streams("/download", hour),
        }
    }
}

/// The most that is sent: 1 TiB.
const LONGEST: u64 = 1 << 40;

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

impl Routes {
    /// A tick a second. A client that comes again goes on where it was.
    pub(super) fn ticks(&self, headers: &HeaderMap) -> Response<StreamBody> {
        let last = last_event_id(headers).and_then(|id| id.parse().ok()).unwrap_or(0_u64);
        match self.ticks.admit(Some(client())) {
            Err(refused) => refused.answer(),
            Ok(admitted) => admitted.events(move |mut events| async move {
                for tick in last.saturating_add(1).. {
                    let event = Event::data(format!("tick {tick}")).with_id(tick.to_string())?;
                    events.send(&event).await?;
                    sleep(Duration::from_secs(1)).await?;
                }
                Ok(())
            }),
        }
    }

    /// Says every message again.
    pub(super) fn echo(&self, mut request: Request<RequestBody>) -> Response<StreamBody> {
        let admitted = match self.echoes.admit(Some(client())) {
            Err(refused) => return refused.answer(),
            Ok(admitted) => admitted,
        };
        let answer = admitted.websocket(&mut request, |mut socket| async move {
            while let Some(message) = socket.next().await? {
                socket.send(message).await?;
            }
            Ok(())
        });
        answer.unwrap_or_else(|error| error.answer())
    }

    /// Zeros, made as they are taken.
    pub(super) fn download(&self, query: Option<&str>) -> Response<StreamBody> {
        let bytes = match query::number(query, "bytes", LONGEST) {
            Err(error) => return text(StatusCode::BAD_REQUEST, format!("{error}\n")),
            Ok(bytes) => bytes,
        };
        let admitted = match self.downloads.admit(Some(client())) {
            Err(refused) => return refused.answer(),
            Ok(admitted) => admitted,
        };
        let mut answer = admitted.stream(move |mut pieces| async move {
            let mut left = bytes;
            while left > 0 {
                let piece = usize::try_from(left).unwrap_or(ZEROS.len()).min(ZEROS.len());
                pieces.send(Bytes::from_static(&ZEROS[..piece])).await?;
                left -= piece as u64;
            }
            Ok(())
        });
        let headers = answer.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        answer
    }
}

/// Who asks: its address; over a Unix socket all are one.
fn client() -> IpAddr {
    peer().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip())
}
