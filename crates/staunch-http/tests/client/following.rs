//! Redirects, and requests that are sent again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hyper::{Request, StatusCode, header::LOCATION};
use staunch::Context;
use staunch_http::{ClientError, ClientOptions, RetryOptions, SentBody};
use staunch_pool::{HttpOptions, HttpProtocol};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Answer, text, with_client, with_server};

fn redirect(status: StatusCode, to: &str) -> Answer {
    let mut answer = text("elsewhere");
    *answer.status_mut() = status;
    answer.headers_mut().insert(LOCATION, to.parse().unwrap());
    answer
}

#[staunch::test]
async fn a_redirect_is_followed_and_its_connection_used_again() {
    let answer = |request: &Request<_>| match request.uri().path() {
        "/loop" => redirect(StatusCode::FOUND, "/loop"),
        "/see" => redirect(StatusCode::SEE_OTHER, "/end"),
        "/same" => redirect(StatusCode::TEMPORARY_REDIRECT, "/end"),
        _ => text(request.method().to_string()),
    };
    with_server(ClientOptions::default(), answer, async |client, address| {
        let post = |path: &str| client.post(format!("http://{address}{path}")).body("body");
        let see = post("/see").send().await.unwrap();
        assert_eq!(see.url(), format!("http://{address}/end"));
        assert_eq!(see.text(10).await.unwrap(), "GET");
        assert_eq!(post("/same").send().await.unwrap().text(10).await.unwrap(), "POST");
        let stream = SentBody::stream(http_body_util::Full::new("once".into()));
        let once = post("/same").body(stream).send().await.unwrap();
        assert_eq!(once.status(), StatusCode::TEMPORARY_REDIRECT);
        assert_eq!(once.text(10).await.unwrap(), "elsewhere");
        let error = post("/loop").send().await.unwrap_err();
        assert!(matches!(error, ClientError::TooManyRedirects { limit: 10, .. }), "{error}");
        let status = client.status();
        assert_eq!(status.redirects, 12);
        assert_eq!(status.bodies.dropped_by, [], "the client's own bodies are nobody's fault");
    })
    .await;
}

/// Sends a request of `method` to a server that has trouble `times`; how often it was asked.
async fn check(method: &str, times: u64, options: RetryOptions, expected: (u16, u64), denied: u64) {
    let asked = Arc::<AtomicU64>::default();
    let count = Arc::clone(&asked);
    let answer = move |_: &Request<_>| {
        let mut answer = text("answer");
        if count.fetch_add(1, Ordering::SeqCst) < times {
            *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        answer
    };
    with_server(
        ClientOptions { retry: options, ..ClientOptions::default() },
        answer,
        async |client, address| {
            let method = method.parse().unwrap();
            let answer = client.request(method, format!("http://{address}/")).send().await.unwrap();
            let found = (answer.status().as_u16(), asked.load(Ordering::SeqCst));
            assert_eq!(found, expected);
            assert_eq!(answer.text(10).await.unwrap(), "answer");
            let status = client.status();
            assert_eq!(status.retries_denied, denied);
            assert_eq!(status.bodies.dropped_by, [], "the client's own bodies are nobody's fault");
        },
    )
    .await;
}

#[staunch::test]
async fn what_is_safe_is_sent_again_within_the_budget() {
    let some = RetryOptions::default();
    check("GET", 1, some, (200, 2), 0).await;
    check("PUT", 2, some, (200, 3), 0).await;
    check("GET", 9, some, (503, 3), 0).await;
    check("POST", 1, some, (503, 1), 0).await;
    check("GET", 9, RetryOptions { reserve: 1, ..some }, (503, 2), 1).await;
    check("GET", 9, RetryOptions { max_retries: 0, ..some }, (503, 1), 0).await;
    check("GET", 9, RetryOptions { reserve: 0, ..some }, (503, 1), 1).await;
}

#[staunch::test]
async fn requests_earn_retries() {
    let asked = Arc::<AtomicU64>::default();
    let answer = move |_: &Request<_>| {
        let mut answer = text("answer");
        if asked.fetch_add(1, Ordering::SeqCst) % 2 == 0 {
            *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        answer
    };
    let retry = RetryOptions { reserve: 1, budget_percent: 100, ..RetryOptions::default() };
    let options = ClientOptions { retry, ..ClientOptions::default() };
    with_server(options, answer, async |client, address| {
        for _ in 0..3 {
            let answer = client.get(format!("http://{address}/")).send().await.unwrap();
            assert_eq!(answer.success().unwrap().text(10).await.unwrap(), "answer");
        }
        let status = client.status();
        assert_eq!((status.requests, status.retries, status.retries_denied), (3, 3, 0));
    })
    .await;
}

#[staunch::test]
async fn a_body_that_is_gone_is_not_sent_again() {
    let answer = |_: &Request<_>| {
        let mut answer = text("answer");
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        answer
    };
    with_server(ClientOptions::default(), answer, async |client, address| {
        let stream = SentBody::stream(http_body_util::Full::new("once".into()));
        let put = client.request(hyper::Method::PUT, format!("http://{address}/")).body(stream);
        assert_eq!(put.send().await.unwrap().text(10).await.unwrap(), "answer");
        assert_eq!(client.status().retries, 0);
    })
    .await;
}

#[staunch::test]
async fn redirects_can_be_answers() {
    let answer = |_: &Request<_>| redirect(StatusCode::FOUND, "/elsewhere");
    let options = ClientOptions { max_redirects: 0, ..ClientOptions::default() };
    with_server(options, answer, async |client, address| {
        let answer = client.get(format!("http://{address}/")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FOUND);
        assert_eq!(answer.text(10).await.unwrap(), "elsewhere");
    })
    .await;
}

/// Sends a request to a server that answers `status` at first, and asks for it again after so many
/// seconds; how it ended, how often it was asked, and whether that took as long.
async fn check_after(
    (method, status, seconds): (&str, u16, Option<&str>),
    options: ClientOptions,
    expected: (u16, u64),
) {
    let asked = Arc::<AtomicU64>::default();
    let (count, seconds) = (Arc::clone(&asked), seconds.map(str::to_owned));
    let says = seconds.clone();
    let answer = move |_: &Request<_>| {
        let mut answer = text("answer");
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            if let Some(says) = &says {
                answer.headers_mut().insert("retry-after", says.parse().unwrap());
            }
        }
        answer
    };
    with_server(options, answer, async |client, address| {
        let begun = Instant::now();
        let request = client.request(method.parse().unwrap(), format!("http://{address}/"));
        let answer = request.send().await.unwrap();
        let found = (answer.status().as_u16(), asked.load(Ordering::SeqCst));
        assert_eq!(found, expected, "{method} {status} {seconds:?}");
        let has_waited = begun.elapsed() >= Duration::from_secs(1);
        assert_eq!(has_waited, seconds.as_deref() == Some("1") && expected.1 > 1);
        assert_eq!(answer.text(10).await.unwrap(), "answer");
        assert_eq!(client.status().retries_denied, 0);
    })
    .await;
}

#[staunch::test]
async fn a_server_can_say_when_it_is_to_be_asked_again() {
    let usual = ClientOptions::default;
    let short = |total_timeout| ClientOptions { total_timeout, ..usual() };
    let retry = |retry| ClientOptions { retry, ..usual() };
    check_after(("GET", 503, Some("1")), usual(), (200, 2)).await;
    check_after(("GET", 429, Some("1")), usual(), (200, 2)).await;
    check_after(("GET", 429, Some("0")), usual(), (200, 2)).await;
    check_after(("GET", 503, Some("Sun, 06 Nov 1994 08:49:37 GMT")), usual(), (200, 2)).await;
    check_after(("GET", 503, Some("nonsense")), usual(), (200, 2)).await;
    check_after(("GET", 429, Some("nonsense")), usual(), (429, 1)).await;
    check_after(("GET", 429, None), usual(), (429, 1)).await;
    for status in [502, 503, 504] {
        check_after(("GET", status, None), usual(), (200, 2)).await;
    }
    for status in [400, 500, 501] {
        check_after(("GET", status, Some("0")), usual(), (status, 1)).await;
    }
    check_after(("POST", 429, Some("1")), usual(), (429, 1)).await;
    check_after(("GET", 503, Some("11")), usual(), (503, 1)).await;
    check_after(("GET", 503, Some("1")), short(Duration::from_millis(900)), (503, 1)).await;
    let none = RetryOptions { max_retries: 0, ..RetryOptions::default() };
    check_after(("GET", 503, Some("0")), retry(none), (503, 1)).await;
    let less = RetryOptions { retry_after_max: Duration::ZERO, ..RetryOptions::default() };
    check_after(("GET", 503, Some("1")), retry(less), (503, 1)).await;
}

#[staunch::test]
async fn what_was_never_sent_is_sent_again() {
    with_client(ClientOptions::default(), async |client, _| {
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let error = client.post(format!("http://{address}/")).body("x").send().await.unwrap_err();
        assert!(matches!(error, ClientError::Http { .. }), "{error}");
        assert_eq!(client.status().retries, 2);
    })
    .await;
}

#[staunch::test]
async fn what_may_have_been_worked_on_is_sent_again_if_it_is_idempotent() {
    with_client(ClientOptions::default(), async |client, s| {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        s.spawn(async move {
            while let Ok(accepted) = Context::current().run(listener.accept()).await {
                let mut head = [0; 1024];
                let mut socket = accepted?.0;
                let _ = Context::current().run(socket.read(&mut head)).await?;
            } // closed, whatever was asked
            Ok(())
        });
        for (method, retries) in [("POST", 0), ("GET", 2), ("DELETE", 4)] {
            let method = method.parse().unwrap();
            let request = client.request(method, format!("http://{address}/")).send();
            let error = request.await.unwrap_err();
            assert!(matches!(error, ClientError::Http { .. }), "{error}");
            assert_eq!(client.status().retries, retries);
        }
    })
    .await;
}

/// An HTTP/2 connection whose first `refused` streams are (REFUSED_STREAM); others get a 200.
async fn refuses(mut socket: TcpStream, mut refused: u32) -> std::io::Result<()> {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const ACKNOWLEDGED: [u8; 9] = [0, 0, 0, 4, 1, 0, 0, 0, 0];
    socket.read_exact(&mut [0; 24]).await?; // the preface
    socket.write_all(&SETTINGS).await?;
    let mut head = [0; 9];
    loop {
        socket.read_exact(&mut head).await?;
        let [_, high, low, kind, flags, id @ ..] = head;
        let mut payload = vec![0; usize::from(high) << 8 | usize::from(low)];
        socket.read_exact(&mut payload).await?;
        let answer = match kind {
            4 if flags == 0 => ACKNOWLEDGED.to_vec(),
            1 if refused > 0 => {
                refused -= 1;
                [&[0, 0, 4, 3, 0], &id[..], &[0, 0, 0, 7]].concat()
            }
            1 => [&[0, 0, 1, 1, 5], &id[..], &[0x88]].concat(),
            _ => continue,
        };
        socket.write_all(&answer).await?;
    }
}

/// By the pool once, then within the budget.
#[staunch::test]
async fn what_the_server_has_refused_is_sent_again_whatever_it_is() {
    let http = HttpOptions { protocol: HttpProtocol::Http2, ..HttpOptions::default() };
    with_client(ClientOptions { http, ..ClientOptions::default() }, async |client, s| {
        for (refused, retries, stream) in [(1, 0, false), (3, 1, false), (1, 1, true)] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let served = s.fork(async move {
                let (socket, _) = listener.accept().await?;
                let _ = Context::current().run(refuses(socket, refused)).await; // the client leaves
                Ok(())
            });
            drop(served);
            let body = if stream {
                SentBody::stream(http_body_util::Full::new("once".into()))
            } else {
                "body".into()
            };
            let answer = client.post(format!("http://{address}/")).body(body).send().await;
            match answer {
                Ok(answer) => assert_eq!((answer.status().as_u16(), stream), (200, false)),
                Err(error) => {
                    let says = error.to_string();
                    assert!(
                        stream && says.contains("refused the request before it worked"),
                        "{says}"
                    );
                }
            }
            assert_eq!(client.status().retries, retries, "{refused} {stream}");
        }
    })
    .await;
}
