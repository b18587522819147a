//! Servers that a real name server tells of.

use std::time::{Duration, Instant};

use staunch_harness::{DnsmasqServer, free_port};

use crate::support::{discovering, discovery};

fn keys(name: &str, port: u16) -> String {
    format!("dns = '{name}'\nresolver = '127.0.0.1:{port}'\nttl_min = '100ms'")
}

#[staunch::test]
async fn addresses_are_looked_up_again_when_they_are_no_longer_good() {
    let server = DnsmasqServer::start("10.0.0.1 shop.test\nfd00::1 shop.test\n", 1, &[]).unwrap();
    let shop_test = discovery("/".as_ref(), &keys("shop.test:80", server.port()));
    discovering(shop_test, async |shop| {
        shop.tells(&["10.0.0.1:80 1", "[fd00::1]:80 1"]).await;
        server.change("10.0.0.2 shop.test\n10.0.0.1 shop.test\n").unwrap();
        shop.tells(&["10.0.0.1:80 1", "10.0.0.2:80 1"]).await;
        // That there is no such name is an answer without servers.
        server.change("10.0.0.2 other.test\n").unwrap();
        shop.until("nobody is left", |known| known.lost.is_some()).await;
        assert_eq!(shop.now().len(), 2);
        drop(server);
        let failures = shop.status.known().failures;
        shop.until("it is gone", |known| known.failures > failures).await;
        assert_eq!(shop.now().len(), 2);
    })
    .await;
}

/// Within the bounds: an answer of an hour is asked for again after a second, and one of nothing not before.
#[staunch::test]
async fn an_answer_is_good_for_as_long_as_the_bounds_say() {
    let server = DnsmasqServer::start("10.0.0.1 long.test\n", 3600, &[]).unwrap();
    let keys = format!("{}\nttl_max = '1s'", keys("long.test:80", server.port()));
    discovering(discovery("/".as_ref(), &keys), async |shop| {
        shop.tells(&["10.0.0.1:80 1"]).await;
        let begun = Instant::now();
        server.change("10.0.0.2 long.test\n").unwrap();
        shop.tells(&["10.0.0.2:80 1"]).await;
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        assert!(server.asked("long.test").unwrap() <= 6, "two questions for each answer");
    })
    .await;
}

#[staunch::test]
async fn services_have_ports_weights_and_priorities() {
    let hosts = "10.0.0.1 a.test\n10.0.0.2 b.test\nfd00::2 b.test\n10.0.0.3 c.test\n";
    let record = |rest: &str| format!("--srv-host=_http._tcp.shop.test,{rest}");
    let records = ["a.test,8081,1,0", "b.test,8082,1,20000", "c.test,8083,2,1"].map(record);
    let options: Vec<&str> = records.iter().map(String::as_str).collect();
    let server = DnsmasqServer::start(hosts, 1, &options).unwrap();
    let services = discovery("/".as_ref(), &keys("_http._tcp.shop.test", server.port()));
    discovering(services, async |shop| {
        shop.tells(&["10.0.0.1:8081 1", "10.0.0.2:8082 1000", "[fd00::2]:8082 1000"]).await;
    })
    .await;
}

#[staunch::test]
async fn what_does_not_fit_into_a_datagram_comes_by_tcp() {
    let hosts: Vec<String> = (1..=250).map(|it| format!("10.0.0.{it} shop.test\n")).collect();
    let server = DnsmasqServer::start(&hosts.concat(), 60, &[]).unwrap();
    let shop_test = discovery("/".as_ref(), &keys("shop.test:80", server.port()));
    discovering(shop_test, async |shop| {
        shop.until("all are known", |known| known.servers == 250).await;
        assert_eq!(shop.now().len(), 250);
    })
    .await;
}

#[staunch::test]
async fn who_does_not_answer_or_talks_nonsense_is_asked_again() {
    let nobody = free_port().unwrap();
    discovering(discovery("/".as_ref(), &keys("shop.test:80", nobody)), async |shop| {
        shop.until("it is noticed", |known| known.failures > 1).await;
    })
    .await;
    let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = server.local_addr().unwrap().port();
    discovering(discovery("/".as_ref(), &keys("shop.test:80", port)), async |shop| {
        let mut question = [0; 512];
        let (length, asker) = server.recv_from(&mut question).await.unwrap();
        let reply = |id: u8, code: u8| {
            let mut reply = question[..length].to_vec();
            (reply[1], reply[2], reply[3]) = (reply[1] ^ id, 0x80, code);
            reply
        };
        // Of another question, half an answer, none at all; and then that it cannot.
        for said in [&reply(1, 0)[..], &reply(0, 0)[..7], b"", &[0xff; 300], &reply(0, 2)] {
            server.send_to(said, asker).await.unwrap();
        }
        let (_, again) = server.recv_from(&mut [0; 512]).await.unwrap();
        assert_ne!(asker, again, "each question has a port of its own");
        assert!(shop.now().is_empty());
    })
    .await;
}
