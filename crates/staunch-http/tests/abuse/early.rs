//! Answers that come before the end of their requests.

use std::time::Duration;

use staunch_http::{HttpLimits, handler};
use staunch_net::Limits;
use tokio::time::Instant;

use crate::{
    frames::{Client, DATA, END_HEADERS, END_STREAM, GET, HEADERS, POST, RST_STREAM, frame},
    support::{text, with_server},
};

/// RFC 9113, 8.1: all of the answer comes first, then a reset that says `NO_ERROR`; and between the two
/// the client has time to read. The connection goes on.
#[staunch::test]
async fn a_request_that_is_not_read_is_reset_after_its_answer() {
    let service = handler(|_| async { text("nobody wants it") });
    with_server(HttpLimits::default(), Limits::default(), service, async |address, _| {
        let Client { mut reads, mut writes } = Client::connect(address, &[]).await;
        writes.say(&frame(HEADERS, END_HEADERS, 1, POST)).await;
        let mut answer = Vec::new();
        let mut answered_at = None;
        let reset = loop {
            let frame = reads.next().await.unwrap();
            match frame.kind {
                RST_STREAM => break frame,
                HEADERS | DATA => {
                    answered_at = Some(Instant::now());
                    answer.push((frame.kind, frame.flags & END_STREAM));
                }
                _ => {}
            }
        };
        assert_eq!(answer, [(HEADERS, 0), (DATA, END_STREAM)]);
        assert_eq!((reset.stream, &*reset.payload), (1, &[0, 0, 0, 0][..]));
        let lingered = answered_at.unwrap().elapsed();
        assert!(lingered >= Duration::from_secs(1), "{lingered:?}");
        writes.say(&frame(HEADERS, END_HEADERS | END_STREAM, 3, GET)).await;
        while reads.next().await.unwrap().stream != 3 {}
    })
    .await;
}
