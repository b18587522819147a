//! Bodies to files, and files as answers.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, StatusCode};
use staunch::{Kind, Ledger};
use staunch_http::{
    BodyLimits, HttpLimits, RequestBody, StreamBody, StreamLimits, Streams, handler, peer,
};
use staunch_net::Limits;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    streams::Serves,
    support::{eventually, get, http2, with_server},
};

const LARGE: usize = 4 << 20;

/// PUT saves the file; everything else answers it.
pub(crate) fn files(path: PathBuf, streams: Streams) -> impl Serves {
    let path = Arc::new(path);
    handler(move |request: Request<RequestBody>| {
        let (path, streams) = (Arc::clone(&path), streams.clone());
        async move {
            let answered = if request.method() == Method::PUT {
                let mut pieces = 0;
                let saved = request.into_body().save_to(&*path, |_| pieces += 1).await;
                saved
                    .map(|bytes| {
                        assert!(pieces > 1 && bytes > 0);
                        Response::new(StreamBody::whole(format!("{bytes}")))
                    })
                    .map_err(|error| error.to_string())
            } else {
                let admitted = streams.admit(Some(peer())).unwrap();
                admitted.file(&request, &*path).await.map_err(|error| error.to_string())
            };
            answered.unwrap_or_else(|error| {
                let mut answer = Response::new(StreamBody::whole(error));
                *answer.status_mut() = StatusCode::BAD_REQUEST;
                answer
            })
        }
    })
}

fn large() -> HttpLimits {
    let upload = BodyLimits { bytes: LARGE, ..BodyLimits::of("/file") };
    HttpLimits { bodies: vec![upload], ..HttpLimits::default() }
}

fn put(path: &str, body: Bytes) -> Request<Full<Bytes>> {
    Request::put(format!("http://localhost{path}")).body(Full::new(body)).unwrap()
}

#[staunch::test]
async fn what_is_saved_is_answered_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let body: Bytes = (0..LARGE).map(|at| (at % 251) as u8).collect();
    with_server(
        large(),
        Limits::default(),
        files(path.clone(), Streams::new(StreamLimits::default())),
        async |to, s| {
            let mut client = http2(to, s).await;
            let none = client.send_request(get("/file")).await.unwrap();
            assert_eq!(none.status(), 400, "there is none");
            let saved = client.send_request(put("/file", body.clone())).await.unwrap();
            assert_eq!(saved.into_body().collect().await.unwrap().to_bytes(), LARGE.to_string());
            let answer = client.send_request(get("/file")).await.unwrap();
            assert_eq!(answer.headers()["content-length"], LARGE.to_string());
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), body);
            // The same path, beyond what it may have; and another, which has less.
            let longer = Bytes::from([&body[..], b"x"].concat());
            let refused = client.send_request(put("/file", longer)).await.unwrap();
            assert_eq!(refused.status(), 413);
            let refused = client.send_request(put("/other", body.clone())).await.unwrap();
            assert_eq!(refused.status(), 413);
        },
    )
    .await;
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(std::fs::read(path).unwrap(), body);
}

#[staunch::test]
async fn of_what_breaks_off_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, "before").unwrap();
    with_server(
        large(),
        Limits::default(),
        files(path.clone(), Streams::new(StreamLimits::default())),
        async |to, _| {
            let mut client = TcpStream::connect(to).await.unwrap();
            let head = "PUT /file HTTP/1.1\r\nHost: l\r\nContent-Length: 2000000\r\n\r\n";
            client.write_all(&[head.as_bytes(), &vec![7; 1_000_000][..]].concat()).await.unwrap();
            let parts = || {
                let files = std::fs::read_dir(folder.path()).unwrap().filter_map(Result::ok);
                files.filter(|file| file.path().extension().is_some_and(|it| it == "part"))
            };
            eventually("some of it is written", || {
                parts().any(|part| part.metadata().is_ok_and(|part| part.len() > 500_000))
            })
            .await;
            let entries = Ledger::current().snapshot();
            assert!(entries.entries().iter().any(|it| it.kind() == Kind::FILE));
            drop(client);
            eventually("it is removed", || parts().next().is_none()).await;
            // And a chunked one that turns out to be too large.
            let mut client = TcpStream::connect(to).await.unwrap();
            let head = "PUT /other HTTP/1.1\r\nHost: l\r\nTransfer-Encoding: chunked\r\n\r\n";
            let chunk = [&b"40000\r\n"[..], &vec![7; 0x40000][..], b"\r\n"].concat();
            client.write_all(head.as_bytes()).await.unwrap();
            for _ in 0..5 {
                if client.write_all(&chunk).await.is_err() {
                    break; // it has been refused
                }
            }
            let mut answer = [0; 12];
            client.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"HTTP/1.1 413");
        },
    )
    .await;
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(std::fs::read(path).unwrap(), b"before");
}
