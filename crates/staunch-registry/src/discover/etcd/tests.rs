use std::convert::Infallible;

use staunch_harness::EtcdServer;
use staunch_scope::{Context, scope};

use super::*;

fn source(scope: &Scope<Infallible>, etcd: &EtcdServer) -> EtcdSource {
    let prefix = "/s/".to_owned();
    let of = EtcdDiscovery { servers: vec![etcd.url()], prefix, login: None, ca: None };
    EtcdSource::new(scope, &of)
}

fn names(found: Found) -> Vec<String> {
    let (endpoints, _) = found.judged().unwrap();
    endpoints.iter().map(|it| it.address.to_string()).collect()
}

/// A watch from a revision that is no longer kept is ended by etcd: all is read again.
#[staunch::test]
async fn all_is_read_again_after_a_compaction() {
    let etcd = EtcdServer::start().unwrap();
    etcd.put("/s/a", "10.0.0.1:80").unwrap();
    let old = etcd.revision().unwrap();
    etcd.put("/s/a", "10.0.0.2:80").unwrap();
    etcd.put("/s/a", "10.0.0.3:80").unwrap();
    etcd.compact().unwrap();
    let ended = scope(&Context::current(), |s| async move {
        let mut source = source(&s, &etcd);
        source.watch = Some(source.etcd.watch("/s/", old).await.unwrap());
        assert_eq!(names(source.next().await.unwrap()), ["10.0.0.3:80"]);
        etcd.put("/s/b", "10.0.0.4:80").unwrap();
        assert_eq!(names(source.next().await.unwrap()), ["10.0.0.3:80", "10.0.0.4:80"]);
        // What was changed between reading and watching is not lost.
        let revision = etcd.revision().unwrap();
        etcd.delete("/s/a").unwrap();
        source.watch = Some(source.etcd.watch("/s/", revision + 1).await.unwrap());
        assert_eq!(names(source.next().await.unwrap()), ["10.0.0.4:80"]);
        drop(source);
        s.stop();
        Ok::<_, Infallible>(())
    });
    ended.await.unwrap();
}

#[test]
fn an_entry_is_an_address_or_says_more() {
    let check = |value: &str, expected: Result<&str, &str>| {
        let read = read(value.as_bytes());
        let shown = read.map(|it| format!("{} {}", it.address, it.weight));
        assert_eq!(shown.as_deref().map_err(String::as_str), expected);
    };
    check("10.0.0.1:80", Ok("10.0.0.1:80 1"));
    check(" a.test:80\n", Ok("a.test:80 1"));
    check(r#"{"address":"[::1]:80","weight":7,"more":[1]}"#, Ok("[::1]:80 7"));
    check(r#"{"address":"a:80"}"#, Ok("a:80 1"));
    check(r#"{"address":"a:80","weight":-1}"#, Err(r#"{\"address\":\"a:80\",\"weight\":-1}"#));
    check("", Err(""));
    check("a\u{1b}[2J", Err("a\\u{1b}[2J"));
    let long = "x".repeat(1000);
    check(&long, Err(&format!("{}…", &long[..200])));
}
