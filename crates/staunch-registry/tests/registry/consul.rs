//! Instances in Consul, by a stand-in that follows what Consul documents of blocking queries.

use staunch_harness::ConsulStandIn;

use crate::support::{discovering, discovery};

fn at(port: u16) -> std::net::SocketAddr {
    ([10, 0, 0, 1], port).into()
}

#[staunch::test]
async fn changes_are_taken_up_as_they_come() {
    let consul = ConsulStandIn::start().unwrap();
    consul.add("shop", "a", at(1), 1);
    consul.add("other", "b", at(9), 1);
    let keys = format!("consul = '{}'\nservice = 'shop'", consul.url());
    discovering(discovery("/".as_ref(), &keys), async |shop| {
        shop.tells(&["10.0.0.1:1 1"]).await;
        consul.add("shop", "c", at(2), 5);
        shop.tells(&["10.0.0.1:1 1", "10.0.0.1:2 5"]).await;
        consul.remove("a");
        shop.tells(&["10.0.0.1:2 5"]).await;
        // An agent that has lost its data begins with a smaller index.
        consul.reset(1);
        consul.add("shop", "d", at(3), 1);
        shop.tells(&["10.0.0.1:2 5", "10.0.0.1:3 1"]).await;
        assert_eq!(shop.status.known().failures, 0);
        for bad in ["", "{}", "[{}]", "[{\"Node\": 1}]", "null", "[", &"[".repeat(9 << 20)] {
            let failures = shop.status.known().failures;
            consul.answer(Some(bad));
            shop.until("it is noticed", |known| known.failures > failures).await;
            assert_eq!(shop.now().len(), 2, "{bad:.20}");
        }
        consul.answer(None);
        shop.until("it is back", |known| known.lost.is_none()).await;
        consul.remove("c");
        consul.remove("d");
        shop.until("nobody is left", |known| known.lost.is_some()).await;
        assert_eq!(shop.now().len(), 2);
        let asked = consul.asked();
        let first = "GET /v1/health/service/shop?passing=1&index=0&wait=60s HTTP/1.1";
        assert_eq!(asked[0], first, "{asked:?}");
        let is_afresh = |line: &&String| line.contains("index=0");
        assert!(asked.iter().filter(is_afresh).count() >= 2, "begun anew: {asked:?}");
    })
    .await;
}

#[staunch::test]
async fn consul_is_told_who_asks() {
    let consul = ConsulStandIn::start().unwrap();
    consul.add("shop", "a", at(1), 1);
    consul.demand("t0ken");
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "wrong").unwrap();
    let keys = format!("consul = '{}'\nservice = 'shop'\ntoken_file = 'token'", consul.url());
    discovering(discovery(folder.path(), &keys), async |shop| {
        shop.until("it is refused", |known| known.failures > 0).await;
        std::fs::write(&token, "t0ken\n").unwrap();
        shop.tells(&["10.0.0.1:1 1"]).await;
    })
    .await;
}

/// It accepts, and that is all.
#[staunch::test]
async fn a_consul_that_never_answers_is_lost_from_the_start() {
    let hangs = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let keys = format!("consul = 'http://{}'\nservice = 'shop'", hangs.local_addr().unwrap());
    discovering(discovery("/".as_ref(), &keys), async |shop| {
        let known = shop.status.known();
        assert_eq!((known.failures, known.succeeded), (0, None));
        let since = known.lost.expect("there is no answer yet");
        // The first answer is due at once, though others may take a minute.
        shop.until("it is noticed", |known| known.failures > 0).await;
        assert_eq!(shop.status.known().lost, Some(since));
    })
    .await;
}
