//! A client that leaves ends its handler, and what that started.

use std::time::Duration;

use staunch::{BoxError, Context, scope};
use staunch_http::{HttpLimits, handler};
use staunch_net::Limits;
use tokio::time::timeout;

use crate::support::{AtWork, SOON, eventually, get, get1, http1, http2, text, with_server};

/// A handler that never answers, with a child that never ends.
async fn for_ever(at_work: AtWork) -> crate::support::Answer {
    let _working = at_work.begin();
    let child = at_work.clone();
    let ended = scope(&Context::current(), |s| async move {
        s.spawn(async move {
            let _working = child.begin();
            std::future::pending().await
        });
        std::future::pending::<Result<(), BoxError>>().await
    });
    let _ = ended.await;
    text("never")
}

#[staunch::test]
async fn by_closing_its_connection() {
    let at_work = AtWork::default();
    let handled = at_work.clone();
    let service = handler(move |_| for_ever(handled.clone()));
    let (http, limits) = (HttpLimits::default(), Limits::default());
    with_server(http, limits, service, async |address, scope| {
        for round in 0..20 {
            let mut client = http1(address, scope).await;
            let request = client.send_request(get1("/"));
            if round % 2 == 0 {
                assert!(timeout(SOON / 10, request).await.is_err());
            } else {
                drop(request); // perhaps before it was sent
            }
        }
        let mut client = http1(address, scope).await;
        let request = client.send_request(get1("/"));
        assert!(timeout(SOON, request).await.is_err());
        drop(client);
        eventually("all handlers have ended", || at_work.count() == 0).await;
    })
    .await;
}

#[staunch::test]
async fn by_resetting_its_stream() {
    let at_work = AtWork::default();
    let handled = at_work.clone();
    let service = handler(move |_| for_ever(handled.clone()));
    let (http, limits) = (HttpLimits::default(), Limits::default());
    let served = with_server(http, limits, service, async |address, scope| {
        let mut client = http2(address, scope).await;
        let kept = client.send_request(get("/"));
        let given_up = client.send_request(get("/"));
        let both = async { tokio::join!(kept, timeout(SOON, given_up)) };
        let both = timeout(Duration::from_secs(1), both);
        let (_, ()) = tokio::join!(both, async {
            eventually("four at work", || at_work.count() == 4).await;
            eventually("two: one stream was reset", || at_work.count() == 2).await;
        });
        eventually("none", || at_work.count() == 0).await;
        drop(client);
    })
    .await;
    assert_eq!(served, (1, 0));
}
