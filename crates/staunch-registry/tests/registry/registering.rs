//! Instances that register themselves.

use std::time::{Duration, Instant};

use staunch::{BoxError, Context, scope};
use staunch_harness::{ConsulStandIn, EtcdServer, Swallow};
use staunch_registry::{Instance, Registry, register};

use crate::support::{discovering, discovery, until};

fn instance(id: &str) -> Instance {
    let address = "10.0.0.7:8080";
    Instance { ttl: Duration::from_secs(2), weight: 3, ..Instance::new("shop", id, address) }
}

/// Runs `test` while this instance is registered.
async fn registered(registry: Registry, id: &str, test: impl AsyncFnOnce()) {
    let ended = scope(&Context::current(), |s| async move {
        let mut registration = register(&s, &registry, instance(id)).unwrap();
        registration.registered().await?;
        assert!(registration.is_registered());
        test().await;
        s.stop();
        Ok::<_, BoxError>(())
    });
    ended.await.unwrap();
}

/// What is below `/services/`, as etcd says it.
fn there(etcd: &EtcdServer) -> String {
    // Base64 of `/services/` and of the key after all of its keys.
    let all = r#"{"key": "L3NlcnZpY2VzLw==", "range_end": "L3NlcnZpY2VzMA=="}"#;
    etcd.call("/v3/kv/range", all).unwrap()
}

fn leases(etcd: &EtcdServer) -> Vec<String> {
    let all = etcd.call("/v3/lease/leases", "{}").unwrap();
    let ids = all.split("\"ID\":\"").skip(1);
    ids.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

#[staunch::test]
async fn an_instance_is_in_etcd_as_long_as_its_scope_lives() {
    let etcd = EtcdServer::start().unwrap();
    let keys = format!("etcd = ['{}']\nprefix = '/services/shop/'\non_empty = 'apply'", etcd.url());
    discovering(discovery("/".as_ref(), &keys), async |shop| {
        registered(Registry::etcd([etcd.url()]), "shop-1", async || {
            shop.tells(&["10.0.0.7:8080 3"]).await;
            let [lease] = &leases(&etcd)[..] else { panic!("one lease") };
            let begun = Instant::now();
            until("twice the time is over for which a lease lasts", || {
                assert_eq!(leases(&etcd)[0], *lease, "it was kept alive");
                begun.elapsed() > Duration::from_secs(5)
            })
            .await;
            assert_eq!((&leases(&etcd)[0], shop.now().len()), (lease, 1));
            // It was forgotten: it comes again by itself, with another lease.
            etcd.call("/v3/lease/revoke", &format!("{{\"ID\": \"{lease}\"}}")).unwrap();
            shop.tells(&[]).await;
            shop.tells(&["10.0.0.7:8080 3"]).await;
        })
        .await;
        assert!(!there(&etcd).contains("kvs"), "taken out before the scope has ended");
        assert!(leases(&etcd).is_empty());
        shop.tells(&[]).await;
    })
    .await;
}

#[staunch::test]
async fn an_instance_that_dies_expires() {
    let etcd = EtcdServer::start().unwrap();
    let keys = format!("etcd = ['{}']\nprefix = '/services/shop/'\non_empty = 'apply'", etcd.url());
    // As one that has died: a lease that nobody keeps alive.
    let lease = etcd.call("/v3/lease/grant", r#"{"TTL": 2}"#).unwrap();
    let lease = lease.split("\"ID\":\"").nth(1).unwrap().split('"').next().unwrap();
    let put = format!(
        "{{\"key\":\"L3NlcnZpY2VzL3Nob3AvYQ==\",\"value\":\"YToxCg==\",\"lease\":{lease}}}"
    );
    etcd.call("/v3/kv/put", &put).unwrap();
    discovering(discovery("/".as_ref(), &keys), async |shop| {
        shop.tells(&["a:1 1"]).await;
        shop.tells(&[]).await;
        assert!(!there(&etcd).contains("kvs"));
    })
    .await;
}

#[staunch::test]
async fn an_instance_waits_for_an_etcd_that_is_down() {
    let mut etcd = EtcdServer::start().unwrap();
    etcd.kill().unwrap();
    let ended = scope(&Context::current(), |s| async move {
        let registry = Registry::etcd([etcd.url()]);
        let mut registration = register(&s, &registry, instance("late")).unwrap();
        assert!(!registration.is_registered());
        etcd.restart().unwrap();
        registration.registered().await?;
        assert!(there(&etcd).contains("kvs"));
        // And when the registry is gone at the end, the end does not wait for it.
        etcd.kill().unwrap();
        s.stop();
        Ok::<_, BoxError>(())
    });
    tokio::time::timeout(Duration::from_secs(10), ended).await.unwrap().unwrap();
}

/// A member that hangs is left, be it while the instance enters or while it is kept alive.
#[staunch::test]
async fn an_instance_outlives_a_member_that_hangs() {
    let etcd = EtcdServer::start().unwrap();
    let port = etcd.url().rsplit(':').next().unwrap().parse().unwrap();
    let member = Swallow::start(port).unwrap();
    let members = [format!("http://127.0.0.1:{}", member.port()), etcd.url()];
    registered(Registry::etcd(members.clone()), "kept", async || {
        let [lease] = &leases(&etcd)[..] else { panic!("one lease") };
        member.swallow(true);
        let begun = Instant::now();
        until("twice the time is over for which a lease lasts", || {
            assert_eq!(leases(&etcd), [lease.as_str()], "it was kept alive");
            begun.elapsed() > Duration::from_secs(5)
        })
        .await;
    })
    .await;
    assert!(leases(&etcd).is_empty());
    let entered = registered(Registry::etcd(members), "late", async || {
        assert_eq!(leases(&etcd).len(), 1);
    });
    tokio::time::timeout(Duration::from_secs(10), entered).await.unwrap();
}

#[staunch::test]
async fn an_instance_is_in_consul_as_long_as_its_scope_lives() {
    let consul = ConsulStandIn::start().unwrap();
    let keys = format!("consul = '{}'\nservice = 'shop'\non_empty = 'apply'", consul.url());
    discovering(discovery("/".as_ref(), &keys), async |shop| {
        registered(Registry::consul(consul.url()), "shop-1", async || {
            shop.tells(&["10.0.0.7:8080 3"]).await;
            let passed = || consul.asked().iter().filter(|it| it.contains("check/pass")).count();
            until("it was kept alive for longer than its check lasts", || passed() >= 5).await;
            assert_eq!(shop.now().len(), 1);
            consul.remove("shop-1");
            shop.tells(&[]).await;
            shop.tells(&["10.0.0.7:8080 3"]).await;
        })
        .await;
        assert!(consul.ids().is_empty(), "taken out before the scope has ended");
        shop.tells(&[]).await;
    })
    .await;
}

#[test]
fn what_cannot_be_registered_is_refused_at_once() {
    staunch::testing::run(async {
        let ended = scope(&Context::current(), |s| async move {
            let nowhere = Registry::etcd(["http://127.0.0.1:1"]);
            let refused = register(&s, &nowhere, Instance::new("shop", "a/b", "10.0.0.7:8080"));
            assert_eq!(
                refused.unwrap_err().to_string(),
                "`a/b` must be 1 to 128 of a-z, A-Z, 0-9, `.`, `_` and `-`"
            );
            Ok::<_, BoxError>(())
        });
        ended.await.unwrap();
    });
}
