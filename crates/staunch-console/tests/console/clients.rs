//! What HTTP clients do, of which the console's own listener is the server.

use staunch::{BoxError, Context, scope};
use staunch_http::{Client, ClientOptions, Outcome};

use crate::support::{get, with_console};

#[staunch::test]
async fn clients_show_what_became_of_their_requests() {
    let ended = scope(&Context::current(), |s| async move {
        let made_at = line!() + 1;
        let client = Client::new(&s, ClientOptions::default())?;
        with_console(async |console| {
            let health = client.get(format!("http://{console}/healthz")).send().await.unwrap();
            assert_eq!(client.status().in_flight, 1, "its body was not read");
            health.bytes(100).await.unwrap();
            let nowhere = client.get(format!("http://{console}/nowhere")).send().await.unwrap();
            drop(nowhere);
            assert!(client.get("http://127.0.0.1:1/").send().await.is_err());
            drop(client.get("http://127.0.0.1:1/").send()); // not begun, so not counted

            let clients = get(console, "/debug/http-clients").await.json();
            let [it] = &clients.as_array().unwrap()[..] else { panic!("{clients}") };
            let born_at = it["born_at"].as_str().unwrap();
            assert!(born_at.contains(&format!("clients.rs:{made_at}:")), "{born_at}");
            assert_eq!((&it["name"], &it["in_flight"]), (&"http-client".into(), &0.into()));
            assert_eq!(it["requests"], 3);
            assert_eq!(it["retries"], 2);
            for outcome in Outcome::ALL {
                let expected = match outcome {
                    Outcome::Success | Outcome::ClientError | Outcome::Unreached => 1,
                    _ => 0,
                };
                assert_eq!(it["outcomes"][outcome.name()], expected, "{outcome:?}");
            }
            assert_eq!(it["bodies"]["read"], 1);
            assert_eq!(it["bodies"]["dropped_by"].as_object().unwrap().len(), 1);

            let metrics = get(console, "/metrics").await;
            for line in [
                "staunch_http_client_in_flight{client=\"http-client\"} 0\n",
                "staunch_http_client_requests_total{client=\"http-client\",outcome=\"2xx\"} 1\n",
                "staunch_http_client_requests_total{client=\"http-client\",outcome=\"unreached\"} 1\n",
                "staunch_http_client_bodies_total{client=\"http-client\",fate=\"read\"} 1\n",
                "staunch_http_client_retries_total{client=\"http-client\"} 2\n",
            ] {
                assert!(metrics.text().contains(line), "{line}{}", metrics.text());
            }
            drop(client);
            let gone = get(console, "/debug/http-clients").await.json();
            assert_eq!(gone.as_array().unwrap().len(), 0, "a report holds none alive");
        })
        .await;
        s.stop();
        Ok::<_, BoxError>(())
    });
    ended.await.unwrap();
}
