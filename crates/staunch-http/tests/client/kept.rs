//! What somebody keeps does not keep the scope from ending, and is a leak that is named.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Mutex,
    time::Duration,
};

use staunch::{BoxError, Context, scope};
use staunch_http::{Client, ClientOptions};
use staunch_scope::testing::Runner;

use crate::support::says;

static KEPT: Mutex<Vec<Box<dyn Any + Send>>> = Mutex::new(Vec::new());

fn keep(what: impl Any + Send) {
    KEPT.lock().unwrap().push(Box::new(what));
}

/// The line of `told` that makes the client.
const CLIENT: u32 = 33;

/// What a test says in which somebody keeps something of a client. Its scope has ended then.
fn told(keeps: impl AsyncFnOnce(Client, String)) -> String {
    let run = || {
        Runner::current_thread().settle_within(Duration::from_millis(20)).run(async {
            let around = scope(&Context::current(), |around| async move {
                let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n";
                let server = says(&around, format!("{head}abc")).await;
                scope(&Context::current(), |s| async move {
                    let client = Client::new(&s, ClientOptions::default())?;
                    keeps(client, format!("http://{server}/")).await;
                    Ok::<_, BoxError>(())
                })
                .await?;
                around.stop();
                Ok::<_, BoxError>(())
            });
            around.await.unwrap();
        });
    };
    let payload = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
    *payload.downcast::<String>().unwrap()
}

fn check(told: &str, kind: &str, line: u32) {
    let expected = format!("{kind} born at {}:{line}:", file!());
    assert!(told.contains(&expected), "{expected} is not in {told}");
    assert!(!told.contains("task"), "{told}");
}

#[test]
fn a_client_is() {
    let told = told(async |client, _| keep(client));
    assert!(told.starts_with("1 thing is left:"), "{told}");
    check(&told, "other", CLIENT);
}

#[test]
fn an_answer_is() {
    let told = told(async |client, url| keep(client.get(url).send().await.unwrap()));
    check(&told, "lease", line!() - 1);
}

#[test]
fn the_lines_of_an_answer_are() {
    let told = told(async |client, url| keep(client.get(url).send().await.unwrap().lines(9)));
    check(&told, "lease", line!() - 1);
}

#[test]
fn an_event_source_is() {
    let told = told(async |client, url| keep(client.events(url).open().unwrap()));
    check(&told, "stream", line!() - 1);
}
