//! Servers below a prefix of a real etcd.

use staunch_harness::{EtcdServer, free_port};

use crate::support::{discovering, discovery, until};

fn keys(servers: &[String]) -> String {
    format!("etcd = {servers:?}\nprefix = '/services/shop/'")
}

fn of(etcd: &EtcdServer) -> staunch_config::Discovery {
    discovery("/".as_ref(), &keys(&[etcd.url()]))
}

#[staunch::test]
async fn changes_are_taken_up_as_they_come() {
    let etcd = EtcdServer::start().unwrap();
    etcd.put("/services/shop/a", "10.0.0.1:80").unwrap();
    etcd.put("/services/shop-admin/a", "10.0.0.9:80").unwrap();
    discovering(of(&etcd), async |shop| {
        shop.tells(&["10.0.0.1:80 1"]).await;
        etcd.put("/services/shop/b", r#"{"address": "b.test:81", "weight": 3, "zone": "x"}"#)
            .unwrap();
        shop.tells(&["10.0.0.1:80 1", "b.test:81 3"]).await;
        etcd.put("/services/shop/a", "[::1]:80").unwrap();
        shop.tells(&["[::1]:80 1", "b.test:81 3"]).await;
        etcd.delete("/services/shop/a").unwrap();
        shop.tells(&["b.test:81 3"]).await;
        // A thousand changes are no more than the last of them.
        for round in 1..=200 {
            etcd.put("/services/shop/c", &format!("10.0.0.3:{round}")).unwrap();
        }
        shop.tells(&["10.0.0.3:200 1", "b.test:81 3"]).await;
        let known = shop.status.known();
        assert_eq!((known.servers, known.failures, known.lost), (2, 0, None));
    })
    .await;
}

#[staunch::test]
async fn an_entry_that_is_no_server_is_left_out() {
    let etcd = EtcdServer::start().unwrap();
    etcd.put("/services/shop/good", "10.0.0.1:80").unwrap();
    discovering(of(&etcd), async |shop| {
        shop.tells(&["10.0.0.1:80 1"]).await;
        for (at, bad) in [
            "",
            "nonsense",
            "{\"weight\": 2}",
            "{",
            "a:0",
            "unix:/run/docker.sock",
            "a:1 weight=2",
            "a:1\nb:1",
        ]
        .into_iter()
        .enumerate()
        {
            etcd.put(&format!("/services/shop/bad-{at}"), bad).unwrap();
        }
        etcd.put("/services/shop/more", "10.0.0.2:80").unwrap();
        shop.tells(&["10.0.0.1:80 1", "10.0.0.2:80 1"]).await;
        assert!(shop.status.known().failures > 0);
        // A weight beyond the greatest is the greatest, and one of 0 is the least.
        etcd.put("/services/shop/more", r#"{"address": "10.0.0.2:80", "weight": 4000000000}"#)
            .unwrap();
        shop.tells(&["10.0.0.1:80 1", "10.0.0.2:80 1000"]).await;
    })
    .await;
}

#[staunch::test]
async fn what_was_known_stays_while_etcd_is_gone() {
    let mut etcd = EtcdServer::start().unwrap();
    etcd.put("/services/shop/a", "10.0.0.1:80").unwrap();
    discovering(of(&etcd), async |shop| {
        shop.tells(&["10.0.0.1:80 1"]).await;
        etcd.kill().unwrap();
        shop.until("it is noticed", |known| known.lost.is_some() && known.failures > 1).await;
        assert_eq!(shop.now(), ["10.0.0.1:80 1"]);
        etcd.restart().unwrap();
        // What has changed meanwhile is no longer kept: all is read again.
        etcd.put("/services/shop/b", "10.0.0.2:80").unwrap();
        etcd.delete("/services/shop/a").unwrap();
        etcd.compact().unwrap();
        shop.tells(&["10.0.0.2:80 1"]).await;
        shop.until("it is back", |known| known.lost.is_none()).await;
        etcd.put("/services/shop/c", "10.0.0.3:80").unwrap();
        shop.tells(&["10.0.0.2:80 1", "10.0.0.3:80 1"]).await;
    })
    .await;
}

#[staunch::test]
async fn that_all_are_gone_is_believed_if_that_is_what_was_asked_for() {
    let etcd = EtcdServer::start().unwrap();
    etcd.put("/services/shop/a", "10.0.0.1:80").unwrap();
    discovering(of(&etcd), async |shop| {
        shop.tells(&["10.0.0.1:80 1"]).await;
        etcd.delete("/services/shop/a").unwrap();
        shop.until("it is noticed", |known| known.lost.is_some()).await;
        assert_eq!(
            (shop.now(), shop.status.known().servers),
            (vec!["10.0.0.1:80 1".to_owned()], 1)
        );
        etcd.put("/services/shop/b", "10.0.0.2:80").unwrap();
        shop.tells(&["10.0.0.2:80 1"]).await;
        assert!(shop.status.known().lost.is_none());
    })
    .await;
    let apply = format!("{}\non_empty = 'apply'", keys(&[etcd.url()]));
    discovering(discovery("/".as_ref(), &apply), async |shop| {
        shop.tells(&["10.0.0.2:80 1"]).await;
        etcd.delete("/services/shop/b").unwrap();
        shop.tells(&[]).await;
        assert!(shop.status.known().lost.is_none());
    })
    .await;
}

#[staunch::test]
async fn another_member_is_asked_when_one_is_down() {
    let etcd = EtcdServer::start().unwrap();
    etcd.put("/services/shop/a", "10.0.0.1:80").unwrap();
    let nobody = format!("http://127.0.0.1:{}", free_port().unwrap());
    let both = discovery("/".as_ref(), &keys(&[nobody.clone(), etcd.url()]));
    discovering(both, async |shop| {
        shop.tells(&["10.0.0.1:80 1"]).await;
        assert_eq!(shop.status.known().failures, 0);
    })
    .await;
    let none = discovery("/".as_ref(), &keys(&[nobody.clone(), nobody]));
    discovering(none, async |shop| {
        shop.until("it is noticed", |known| known.failures > 2).await;
        assert_eq!((shop.now().len(), shop.status.known().succeeded), (0, None));
    })
    .await;
}

#[staunch::test]
async fn more_than_there_may_be_change_nothing() {
    let etcd = EtcdServer::start().unwrap();
    etcd.put("/services/shop/0", "10.0.0.1:80").unwrap();
    discovering(of(&etcd), async |shop| {
        shop.tells(&["10.0.0.1:80 1"]).await;
        for number in 1..=1000 {
            etcd.put(&format!("/services/shop/{number}"), &format!("10.0.0.2:{number}")).unwrap();
        }
        shop.until("it is too many", |known| known.lost.is_some()).await;
        assert!(shop.status.known().servers <= 1000);
        etcd.delete("/services/shop/0").unwrap();
        shop.until("it is back", |known| known.lost.is_none()).await;
        until("all are known", || shop.now().len() == 1000).await;
    })
    .await;
}

#[staunch::test]
async fn etcd_is_told_who_asks() {
    let etcd = EtcdServer::start().unwrap();
    etcd.put("/services/shop/a", "10.0.0.1:80").unwrap();
    for (path, json) in [
        ("/v3/auth/user/add", r#"{"name": "root", "password": "s3cret"}"#),
        ("/v3/auth/user/grant", r#"{"user": "root", "role": "root"}"#),
        ("/v3/auth/role/add", r#"{"name": "root"}"#),
        ("/v3/auth/user/grant", r#"{"user": "root", "role": "root"}"#),
        ("/v3/auth/enable", "{}"),
    ] {
        let _known_already = etcd.call(path, json);
    }
    let folder = tempfile::tempdir().unwrap();
    discovering(of(&etcd), async |shop| {
        shop.until("nobody is refused", |known| known.failures > 0).await;
    })
    .await;
    let keys = format!("{}\nuser = 'root'\npassword_file = 'password'", keys(&[etcd.url()]));
    discovering(discovery(folder.path(), &keys), async |shop| {
        shop.until("there is no file", |known| known.failures > 0).await;
        std::fs::write(folder.path().join("password"), "wrong\n").unwrap();
        let failures = shop.status.known().failures;
        shop.until("it is the wrong one", |known| known.failures > failures + 1).await;
        std::fs::write(folder.path().join("password"), "s3cret\nand a note\n").unwrap();
        shop.tells(&["10.0.0.1:80 1"]).await;
        let auth = r#"{"name": "root", "password": "s3cret"}"#;
        let token = etcd.call("/v3/auth/authenticate", auth).unwrap();
        assert!(token.contains("token"), "{token}");
    })
    .await;
}

/// One instance that registers itself wrongly does not keep the others from being found.
#[staunch::test]
async fn a_key_that_is_too_long_is_left_out() {
    let etcd = EtcdServer::start().unwrap();
    let long = format!("/services/shop/{}", "x".repeat(2_000));
    etcd.put(&long, "10.0.0.9:80").unwrap();
    etcd.put("/services/shop/a", "10.0.0.1:80").unwrap();
    discovering(of(&etcd), async |shop| {
        shop.tells(&["10.0.0.1:80 1"]).await;
        let known = shop.status.known();
        assert_eq!((known.failures, known.lost), (1, None), "it is said");
        etcd.delete(&long).unwrap();
        etcd.put(&long, "10.0.0.9:80").unwrap();
        etcd.put("/services/shop/b", "10.0.0.2:80").unwrap();
        shop.tells(&["10.0.0.1:80 1", "10.0.0.2:80 1"]).await;
        assert!(shop.status.known().lost.is_none());
    })
    .await;
}
