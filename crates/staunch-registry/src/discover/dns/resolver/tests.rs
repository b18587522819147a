use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use hickory_proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{RData, Record, rdata},
};
use staunch_scope::{BoxError, scope};
use tokio::net::UdpSocket;

use super::*;

const SERVFAIL: Says = Says::Code(ResponseCode::ServFail);
const NO_NAME: Says = Says::Code(ResponseCode::NXDomain);

/// What a name server says.
#[derive(Clone, Copy)]
enum Says {
    Address(&'static str),
    Code(ResponseCode),
    Nothing,
}

/// A zone: a name, and what is said of it to `A` and to `AAAA`.
type Zone = &'static [(&'static str, [Says; 2])];

/// No such name, if it is not in the zone.
fn said(zone: Zone, name: &str, kind: RecordType) -> Says {
    let known = zone.iter().find(|(known, _)| *known == name);
    known.map_or(NO_NAME, |(_, [v4, v6])| if kind == RecordType::A { *v4 } else { *v6 })
}

/// The answer to `question`, unless there is none, and what was asked.
fn answer(zone: Zone, question: &[u8]) -> (String, Option<Vec<u8>>) {
    let mut message = Message::from_vec(question).unwrap();
    let query = message.queries[0].clone();
    let name = query.name().to_ascii().trim_end_matches('.').to_owned();
    message.metadata.message_type = MessageType::Response;
    match said(zone, &name, query.query_type()) {
        Says::Nothing => return (name, None),
        Says::Code(code) => message.metadata.response_code = code,
        Says::Address(address) => {
            let data = match address.parse().unwrap() {
                IpAddr::V4(address) => RData::A(rdata::A(address)),
                IpAddr::V6(address) => RData::AAAA(rdata::AAAA(address)),
            };
            message.add_answer(Record::from_rdata(query.name().clone(), 60, data));
        }
    }
    (name, Some(message.to_vec().unwrap()))
}

/// What a machine with this resolv.conf finds of `name` in `zone`, and for which names it asks.
async fn look_up(conf: &str, zone: Zone, name: &str) -> (Result<Vec<String>, String>, Vec<String>) {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut system = System::parse(conf);
    system.servers = vec![server.local_addr().unwrap()];
    (system.timeout, system.attempts) = (Duration::from_secs(1), 1);
    let asked = Arc::new(Mutex::new(Vec::<String>::new()));
    let heard = Arc::clone(&asked);
    let found = scope(&Context::current(), |s| async move {
        s.spawn(async move {
            let mut question = [0; 512];
            while let Ok(came) = Context::current().run(server.recv_from(&mut question)).await {
                let (length, asker) = came?;
                let (name, answer) = answer(zone, &question[..length]);
                heard.lock().unwrap().push(name);
                if let Some(answer) = answer {
                    server.send_to(&answer, asker).await?;
                }
            }
            Ok(())
        });
        let found = resolve_by(&system, name, [RecordType::A, RecordType::AAAA]).await;
        s.stop();
        Ok::<_, BoxError>(found)
    });
    let found = found.await.unwrap();
    let mut asked = asked.lock().unwrap().clone();
    asked.dedup();
    let addresses = |told: [Told; 2]| {
        told.iter().flat_map(Told::addresses).map(|address| address.to_string()).collect()
    };
    (found.map(addresses).map_err(|error| error.to_string()), asked)
}

async fn check(
    conf: &str,
    zone: Zone,
    name: &str,
    expected: Result<&[&str], &str>,
    asked: &[&str],
) {
    let (found, names) = look_up(conf, zone, name).await;
    match (found, expected) {
        (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{name}"),
        (Err(why), Err(expected)) => {
            assert!(why.starts_with(expected.split('…').next().unwrap_or_default()), "{why}");
            assert!(why.ends_with(expected.split('…').next_back().unwrap_or_default()), "{why}");
        }
        (found, expected) => panic!("{name}: {found:?}, {expected:?}"),
    }
    assert_eq!(names, asked);
}

const TWO: &str = "search prod.x staging.x\n";

/// A service that has one family in one place, and both in another.
#[staunch::test]
async fn servers_are_of_one_name_only() {
    const ZONE: Zone = &[
        ("db.prod.x", [Says::Address("10.0.0.1"), Says::Code(ResponseCode::NoError)]),
        ("db.staging.x", [Says::Address("10.9.9.9"), Says::Address("fd00::9")]),
    ];
    check(TWO, ZONE, "db", Ok(&["10.0.0.1"]), &["db.prod.x"]).await;
}

#[staunch::test]
async fn a_name_that_no_server_can_tell_of_is_not_the_last() {
    const ZONE: Zone = &[
        ("api.example.com.bad.x", [SERVFAIL; 2]),
        ("api.example.com", [Says::Address("10.0.0.1"), Says::Address("fd00::1")]),
        ("db.bad.x", [SERVFAIL; 2]),
    ];
    const BAD: &str = "search bad.x\noptions ndots:5\n";
    let both = ["api.example.com.bad.x", "api.example.com"];
    check(BAD, ZONE, "api.example.com", Ok(&["10.0.0.1", "fd00::1"]), &both).await;
    // That there is no such name is said of one of two.
    let why = "db.bad.x: 127.0.0.1:…: Server Failure";
    check(BAD, ZONE, "db", Err(why), &["db.bad.x", "db"]).await;
    check(BAD, ZONE, "nobody", Ok(&[]), &["nobody.bad.x", "nobody"]).await;
}

/// Half of the servers are not found, and nor are those of another name.
#[staunch::test]
async fn a_name_of_which_half_is_told_is_not_left_for_another() {
    const ZONE: Zone = &[
        ("a.prod.x", [Says::Address("10.0.0.1"), SERVFAIL]),
        ("b.prod.x", [SERVFAIL, Says::Address("fd00::1")]),
        ("a.staging.x", [Says::Address("10.9.9.9"), NO_NAME]),
        ("b.staging.x", [Says::Address("10.9.9.9"), NO_NAME]),
    ];
    check(TWO, ZONE, "a", Err("a.prod.x: …: Server Failure"), &["a.prod.x"]).await;
    check(TWO, ZONE, "b", Err("b.prod.x: …: Server Failure"), &["b.prod.x"]).await;
}

/// A datagram that is lost does not lead to other servers.
#[staunch::test]
async fn when_nobody_answers_only_the_name_as_written_is_left() {
    const ZONE: Zone = &[
        ("db.prod.x", [Says::Nothing; 2]),
        ("db.staging.x", [Says::Address("10.9.9.9"), NO_NAME]),
        ("api.example.com.prod.x", [Says::Nothing; 2]),
        ("api.example.com", [Says::Address("10.0.0.1"), NO_NAME]),
    ];
    let why = "db.prod.x: …: no answer within 1s";
    check(TWO, ZONE, "db", Err(why), &["db.prod.x", "db"]).await;
    let far = "search prod.x staging.x\noptions ndots:5\n";
    let asked = ["api.example.com.prod.x", "api.example.com"];
    check(far, ZONE, "api.example.com", Ok(&["10.0.0.1"]), &asked).await;
}
