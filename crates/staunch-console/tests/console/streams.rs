//! How many streams there are, by route, and who was refused.

use staunch_http::{StreamLimits, Streams};

use crate::support::{get, with_console};

#[staunch::test]
async fn streams_are_counted_by_their_route() {
    let limits = StreamLimits { per_client: 1, ..StreamLimits::default() };
    let ticks = Streams::named("/ticks", limits.clone());
    let made_at = line!() + 1;
    let nameless = Streams::new(limits.clone());
    with_console(async |console| {
        let same = Streams::named("/ticks", limits);
        let places = [ticks.admit(Some(1)), ticks.admit(Some(2)), same.admit(Some(1))];
        assert!(places.iter().all(Result::is_ok));
        assert!(ticks.admit(Some(1)).is_err() && ticks.admit(None::<u8>).is_err());
        assert!(nameless.admit(None::<u8>).is_err());
        let [one, other, third] = places;
        drop(one.unwrap().stream(|_| async { Ok(()) })); // it has begun, and its client has left
        drop(other);

        let metrics = get(console, "/metrics").await;
        let line = format!("streams.rs:{made_at}:");
        for expected in [
            "staunch_streams_open{route=\"/ticks\"} 1\n",
            "staunch_streams_opened_total{route=\"/ticks\"} 1\n",
            "staunch_streams_refused_total{route=\"/ticks\",reason=\"full\"} 1\n",
            "staunch_streams_refused_total{route=\"/ticks\",reason=\"unknown\"} 1\n",
            "staunch_streams_ended_total{route=\"/ticks\",how=\"left\"} 1\n",
            &line,
        ] {
            assert!(metrics.text().contains(expected), "{expected}{}", metrics.text());
        }
        drop((third, ticks, same, nameless));
        let gone = get(console, "/metrics").await;
        assert!(!gone.text().contains("staunch_streams"), "a report holds none alive");
    })
    .await;
}
