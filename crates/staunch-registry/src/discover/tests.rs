use std::{collections::VecDeque, path::Path, time::Duration};

use staunch_config::{Config, OnEmpty};
use staunch_scope::scope;
use tokio::time::Instant;

use super::*;

/// Answers that there are these servers, or not at all (`None`), one after the other, and remembers when it
/// was asked; after the last answer it waits for ever.
struct Scripted {
    answers: VecDeque<Option<Vec<String>>>,
    asked: Arc<std::sync::Mutex<Vec<Instant>>>,
}

impl Source for Scripted {
    async fn next(&mut self) -> Result<Found, DiscoveryError> {
        self.asked.lock().unwrap().push(Instant::now());
        let Some(answer) = self.answers.pop_front() else {
            Context::current().cancelled().await;
            return Err(DiscoveryError::Empty);
        };
        let failure = || DiscoveryError::Dns { name: "a".to_owned(), reason: "down".to_owned() };
        let mut found = Found::default();
        for address in answer.ok_or_else(failure)? {
            found.add_address("test", &address, 1);
        }
        Ok(found)
    }
}

/// An answer with these servers.
fn found(servers: &[&str]) -> Option<Vec<String>> {
    let servers: Vec<_> = servers.iter().map(|server| (*server).to_owned()).collect();
    servers.into()
}

fn discovery() -> Discovery {
    let text = "[[listener]]\nname='t'\nprotocol='tcp'\nlisten='127.0.0.1:1'\nservice='s'\n\
                [[service]]\nname='s'\n[service.discovery]\nfile='f'\n";
    Config::parse("t", text).unwrap().services[0].discovery.clone().unwrap()
}

/// What is told of these answers, what is known at the end, and the pauses between the questions.
async fn run(
    on_empty: OnEmpty,
    answers: Vec<Option<Vec<String>>>,
) -> (Vec<String>, Known, Vec<Duration>) {
    let status = Arc::new(Status::new(&discovery()));
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (questions, into) = (answers.len() + 1, Arc::clone(&told));
    let source = Scripted { answers: answers.into(), asked: Arc::clone(&asked) };
    let (known, times) = (Arc::clone(&status), Arc::clone(&asked));
    let ended = scope(&Context::current(), |s| async move {
        s.spawn(async move {
            let tell = |servers: Option<Arc<[Endpoint]>>| {
                let servers = servers.map_or("none".to_owned(), |servers| {
                    let names: Vec<_> = servers.iter().map(|it| it.address.to_string()).collect();
                    names.join(" ")
                });
                into.lock().unwrap().push(servers);
            };
            Keeper::new("s", on_empty, &known, tell).keep(source).await;
            Ok(())
        });
        while times.lock().unwrap().len() < questions {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        s.stop();
        Ok::<_, staunch_scope::BoxError>(())
    });
    ended.await.unwrap();
    let asked = asked.lock().unwrap();
    let pauses = asked.windows(2).map(|two| two[1] - two[0]).collect();
    let told = told.lock().unwrap().clone();
    (told, status.known(), pauses)
}

#[staunch::test(start_paused = true)]
async fn who_is_known_stays_until_there_is_another_answer() {
    let answers = vec![found(&["b:1", "a:1", "b:1"]), found(&["a:1", "b:1"]), None, None];
    let (told, known, _) = run(OnEmpty::Keep, answers).await;
    assert_eq!(told, ["a:1 b:1"], "in a certain order, each once, and only what is new");
    assert_eq!((known.servers, known.failures, known.lost.is_some()), (2, 2, true));

    let (told, known, _) = run(OnEmpty::Keep, vec![found(&["a:1"]), None, found(&["a:1"])]).await;
    assert_eq!((told.len(), known.failures, known.lost), (1, 1, None));
}

#[staunch::test(start_paused = true)]
async fn an_empty_answer_is_what_was_asked_for_or_not() {
    let answers = || vec![found(&["a:1"]), found(&[]), found(&[])];
    let (told, known, pauses) = run(OnEmpty::Keep, answers()).await;
    assert_eq!((told.len(), known.servers, known.failures), (1, 1, 2));
    assert!(known.lost.is_some());
    assert!(pauses.iter().all(Duration::is_zero), "the source is well: {pauses:?}");
    let (told, known, _) = run(OnEmpty::Apply, answers()).await;
    assert_eq!((told, known.servers, known.lost), (vec!["a:1".to_owned(), String::new()], 0, None));
    let (told, known, _) = run(OnEmpty::Keep, vec![found(&[])]).await;
    assert_eq!((told, known.changed), (vec!["none".to_owned()], None), "nobody was known");
    let (told, ..) = run(OnEmpty::Keep, vec![None, None, found(&[]), found(&["a:1"]), None]).await;
    assert_eq!(told, ["none", "a:1"], "once");
    let (told, ..) = run(OnEmpty::Keep, vec![None, found(&["a:1"]), None]).await;
    assert_eq!(told, ["a:1"], "it was a bad moment");
}

#[staunch::test(start_paused = true)]
async fn what_cannot_be_used_is_refused() {
    let many: Vec<String> = (1..=1001).map(|port| format!("a:{port}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (told, known, _) = run(OnEmpty::Keep, vec![found(&["a:1"]), found(&many)]).await;
    assert_eq!((told.len(), known.failures), (1, 1));
    let entries = found(&["a:1", "nonsense", "unix:/run/docker.sock", "b:1"]);
    let (told, known, _) = run(OnEmpty::Keep, vec![entries]).await;
    assert_eq!((told, known.failures, known.lost), (vec!["a:1 b:1".to_owned()], 1, None));
}

#[staunch::test(start_paused = true)]
async fn pauses_after_failures_grow_and_end() {
    let (_, _, pauses) = run(OnEmpty::Keep, vec![None; 20]).await;
    assert!(pauses[0] <= Duration::from_millis(101), "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= Duration::from_millis(30_001)), "{pauses:?}");
    assert!(pauses[10..].iter().all(|pause| *pause >= Duration::from_secs(15)), "{pauses:?}");
    let mut answers = vec![None; 10];
    answers.extend([found(&["a:1"]), None]);
    let (_, _, pauses) = run(OnEmpty::Keep, answers).await;
    assert!(pauses.last().unwrap() <= &Duration::from_millis(101), "begun anew: {pauses:?}");
}

#[test]
fn a_weight_and_an_address_are_within_bounds() {
    let shown = |address, weight| {
        let endpoint = found::at(address, weight)?;
        Some(format!("{} {}", endpoint.address, endpoint.weight))
    };
    assert_eq!(shown("a:1", 0).as_deref(), Some("a:1 1"));
    assert_eq!(shown("a:1", u32::MAX).as_deref(), Some("a:1 1000"));
    for bad in ["", "a", ":1", "a:0", "a:1 weight=5", "unix:/s", "http://a:1", "a:1\n"] {
        assert_eq!(shown(bad, 1), None, "{bad:?}");
    }
    assert!(Endpoint::parse("unix:s", Path::new("/etc")).is_ok(), "by people it is");
}
