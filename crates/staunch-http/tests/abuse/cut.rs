//! Bodies of HTTP/2 requests that end otherwise than by their end, and lengths that say two things.

use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;
use hyper::Request;
use staunch_http::{CutShortError, HttpLimits, RequestBody, handler};
use staunch_net::Limits;

use crate::{
    frames::{Client, DATA, END_HEADERS, END_STREAM, HEADERS, POST, RST_STREAM, frame, literal},
    support::{text, with_server},
};

const NO_ERROR: [u8; 4] = [0; 4];
const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// A proxy that gives up an upload may say that there was no error. What has come is still no whole body.
#[staunch::test]
async fn a_body_that_is_reset_is_not_whole_whatever_the_reason() {
    for reason in [NO_ERROR, CANCEL] {
        let body = Arc::new(Mutex::new(None));
        let keeps = Arc::clone(&body);
        let service = handler(move |request: Request<RequestBody>| {
            *keeps.lock().unwrap() = Some(request.into_body()); // it outlives its handler, as an upload does
            async { text("taken") }
        });
        with_server(HttpLimits::default(), Limits::default(), service, async |address, _| {
            let Client { mut reads, mut writes } = Client::connect(address, &[]).await;
            writes.say(&frame(HEADERS, END_HEADERS, 1, POST)).await;
            writes.say(&frame(DATA, 0, 1, b"half")).await;
            while reads.next().await.unwrap().kind != HEADERS {}
            writes.say(&frame(RST_STREAM, 0, 1, &reason)).await;
            let taken = body.lock().unwrap().take();
            let error = taken.unwrap().collect().await.unwrap_err();
            assert_eq!(error.is::<CutShortError>(), reason == NO_ERROR, "{error}");
        })
        .await;
    }
}

/// RFC 9110, 8.6: it goes on to servers that are asked over HTTP/1, where it is what ends the body.
#[staunch::test]
async fn a_length_is_one_number() {
    let service = handler(|_| async { text("fine") });
    with_server(HttpLimits::default(), Limits::default(), service, async |address, _| {
        let Client { mut reads, mut writes } = Client::connect(address, &[]).await;
        let cases: [(&[&str], bool); 6] = [
            (&["4"], true),
            (&["04"], true),
            (&["4", "4"], false),
            (&["4", "04"], false),
            (&[""], false),
            (&["+4"], false),
        ];
        for (stream, (lengths, is_fine)) in (1..).step_by(2).zip(cases) {
            let fields = lengths.iter().map(|length| literal("content-length", length));
            let head = [POST.to_vec(), fields.collect::<Vec<_>>().concat()].concat();
            writes.say(&frame(HEADERS, END_HEADERS, stream, &head)).await;
            writes.say(&frame(DATA, END_STREAM, stream, b"four")).await;
            let status = loop {
                let frame = reads.next().await.unwrap();
                match frame.kind {
                    // `:status: 200`, by its number in the table.
                    HEADERS if frame.stream == stream => break Some(frame.payload[0] == 0x88),
                    RST_STREAM if frame.stream == stream => break None,
                    _ => {}
                }
            };
            assert_eq!(status == Some(true), is_fine, "{lengths:?}");
        }
    })
    .await;
}
