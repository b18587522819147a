//! What becomes of requests, by what a configuration says.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

use std::{net::IpAddr, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use staunch_config::Config;
use staunch_policy::{
    Asked, Count, Forwarded, NewKey, Now, Pass, Policy, Question, Reason, Refusal, Told, Verdict,
};

const COMMON: &str = "[[listener]]\nname = 'web'\nprotocol = 'http'\nlisten = '127.0.0.1:1'\n\
                      [[service]]\nname = 's'\nendpoints = ['a:1']\n\
                      [[route]]\nname = 'r'\nservice = 's'\npolicies = ['p']\n";

/// The policy of a route with these tables; `None` if nothing is asked.
fn policy_after(tables: &str, before: Option<&Policy>) -> Option<Policy> {
    let text = format!("{COMMON}{tables}");
    let config = Config::parse("t", &text).unwrap_or_else(|errors| panic!("{errors:#}"));
    let route = &config.routes[0];
    Policy::new(&route.name, &config.policy(route), route.version.as_ref(), &[], before).unwrap()
}

fn policy(tables: &str) -> Policy {
    policy_after(&format!("[[policy]]\nname = 'p'\n{tables}"), None).unwrap()
}

type Fields<'f> = &'f [(&'f str, &'f str)];

fn map(fields: Fields<'_>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
    }
    map
}

/// What comes of looking at a request of this client.
fn asking<R>(ip: &str, fields: Fields<'_>, look: impl FnOnce(&Asked<'_>) -> R) -> R {
    let client: IpAddr = ip.parse().unwrap();
    let fields = map(fields);
    look(&Asked {
        client: Some(client),
        is_secure: true,
        names: None,
        method: "GET",
        fields: &fields,
    })
}

const ME: &str = "10.0.0.1";

fn at(seconds: u64) -> Now {
    let time = Duration::from_secs(seconds);
    Now { date: time, steady: time }
}

#[track_caller]
fn passed(verdict: Verdict<'_>) -> Pass<'_> {
    match verdict {
        Verdict::Pass(pass) => pass,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(verdict: Verdict<'_>) -> Refusal {
    match verdict {
        Verdict::Refuse(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_asks_nothing_has_no_policy() {
    assert!(policy_after("[[policy]]\nname = 'p'\n", None).is_none());
}

/// A client that keeps to what it is told is never refused.
#[test]
fn a_window_is_as_long_as_it_takes_until_as_much_may_come_again() {
    for (rate, window) in [
        ("requests = 10\nper = '1s'\nburst = 20", "\"p\";q=20;w=2"),
        ("requests = 3\nper = '1s'\nburst = 10", "\"p\";q=10;w=4"),
        ("requests = 100\nper = '1s'\nburst = 5", "\"p\";q=5;w=1"),
        ("requests = 1\nper = '1h'\nburst = 1", "\"p\";q=1;w=3600"),
    ] {
        let policy = policy(&format!("[policy.rate]\n{rate}"));
        let ask = |at| asking(ME, &[], |asked| policy.decide(asked, at));
        let refusal = (0..100).find_map(|_| match ask(at(0)) {
            Verdict::Refuse(refusal) => Some(refusal),
            _ => None,
        });
        assert_eq!(refusal.unwrap().headers["ratelimit-policy"], window, "{rate}");
    }
}

#[test]
fn each_client_has_its_rate_and_is_told_when_it_may_again() {
    let tables = "[policy.rate]\nrequests = 2\nper = '10s'\n[policy.headers]\nsecurity = true";
    let policy = policy(tables);
    let ask = |client: &str, at| asking(client, &[], |asked| policy.decide(asked, at));
    let _two = (passed(ask(ME, at(0))), passed(ask(ME, at(0))));
    let refusal = refused(ask(ME, at(0)));
    assert_eq!((refusal.status, refusal.reason), (StatusCode::TOO_MANY_REQUESTS, Reason::Rate));
    assert_eq!(refusal.headers["retry-after"], "5");
    assert_eq!(refusal.headers["ratelimit"], "\"p\";r=0;t=10");
    assert_eq!(refusal.headers["ratelimit-policy"], "\"p\";q=2;w=10");
    assert_eq!(refusal.headers["x-content-type-options"], "nosniff", "it is an answer like others");
    passed(ask("10.0.0.2", at(0)));
    assert_eq!(refused(ask(ME, at(4))).headers["retry-after"], "1");
    passed(ask(ME, at(5)));
    let _two = ["2001:db8::1", "2001:db8::2:1"].map(|client| passed(ask(client, at(0))));
    assert_eq!(refused(ask("2001:db8::3", at(0))).reason, Reason::Rate, "one network");
}

#[test]
fn a_configuration_that_stays_keeps_its_counts() {
    let tables = |requests: u32| {
        format!(
            "[[policy]]\nname = 'p'\nconcurrency = 1\n\
             [policy.rate]\nrequests = {requests}\nper = '1h'"
        )
    };
    let first = policy_after(&tables(2), None).unwrap();
    let permit = asking(ME, &[], |asked| passed(first.decide(asked, at(0))).take_permit());
    let second = policy_after(&tables(2), Some(&first)).unwrap();
    let busy = asking(ME, &[], |asked| refused(second.decide(asked, at(0))));
    assert_eq!(busy.reason, Reason::Concurrency);
    drop(permit);
    let late = asking(ME, &[], |asked| refused(second.decide(asked, at(0))));
    assert_eq!(late.reason, Reason::Rate, "two have come, before and after");
    let other = policy_after(&tables(3), Some(&second)).unwrap();
    asking(ME, &[], |asked| drop(passed(other.decide(asked, at(0)))));
}

#[test]
fn nobody_says_who_they_are() {
    let key = NewKey::random().unwrap();
    let policy = policy(&format!(
        "[policy.keys]\nkeys = ['shop: {}']\n[policy.rate]\nrequests = 1\nper = '1h'\nby = 'key'",
        key.hash()
    ));
    let fields: Fields<'_> =
        &[("x-api-key", key.text()), ("x_consumer", "root"), ("x-consumer", "root")];
    asking(ME, fields, |asked| {
        let pass = passed(policy.decide(asked, at(0)));
        let mut headers = map(fields);
        pass.request(&mut |edit| edit.apply(&mut headers));
        assert_eq!(headers, map(&[("x-consumer", "shop")]));
        assert_eq!(refused(policy.decide(asked, at(0))).reason, Reason::Rate);
    });
    let guess = asking(ME, &[("x-api-key", "guess")], |asked| refused(policy.decide(asked, at(0))));
    assert_eq!((guess.status, guess.reason), (StatusCode::UNAUTHORIZED, Reason::Key));
    let shown = format!("{policy:?} {guess:?}");
    assert!(!shown.contains(key.text()) && !shown.contains(&key.hash().to_string()), "{shown}");
}

#[test]
fn who_is_asked_elsewhere_goes_on_with_the_answer() {
    let policy = policy(
        "concurrency = 1\n[policy.forward]\nurl = 'http://a/'\ncopy = ['x-user']\n\
         [policy.rate]\nrequests = 9\nredis = 'redis://a'\nredis_down = 'refuse'",
    );
    asking(ME, &[("x-user", "root")], |asked| {
        let wait = |verdict| match verdict {
            Verdict::Wait(wait) => wait,
            other => panic!("{other:?}"),
        };
        let count = |retry| Told::Count(Some(Count { remaining: 0, reset: Duration::ZERO, retry }));
        let begin = || wait(policy.decide(asked, at(0)));
        let Question::Count { entry, .. } = begin().question().clone() else { panic!() };
        assert!(entry.starts_with("staunch:rate:r:") && !entry.contains(ME), "{entry}");
        let over = begin().told(count(Some(Duration::from_secs(7))), asked, at(0));
        assert_eq!(refused(over).headers["retry-after"], "7");
        let down = refused(begin().told(Told::Count(None), asked, at(0)));
        assert_eq!((down.status, down.reason), (StatusCode::SERVICE_UNAVAILABLE, Reason::RateDown));
        let held = wait(begin().told(count(None), asked, at(0)));
        let is_forward =
            matches!(held.question(), Question::Forward(it) if it.url() == "http://a/");
        assert!(is_forward, "{held:?}");
        let busy = refused(begin().told(count(None), asked, at(0)));
        assert_eq!(busy.reason, Reason::Concurrency, "who waits is in flight");
        let headers = map(&[("x-user", "ann"), ("x-own", "1")]);
        let answer = Forwarded { status: StatusCode::OK, headers, body: Vec::new() };
        let pass = passed(held.told(Told::Forward(Some(answer)), asked, at(0)));
        let mut headers = map(&[("x-user", "root")]);
        pass.request(&mut |edit| edit.apply(&mut headers));
        assert_eq!(headers, map(&[("x-user", "ann")]));
        drop(pass);
        let held = wait(begin().told(count(None), asked, at(0)));
        let down = refused(held.told(Told::Forward(None), asked, at(0)));
        assert_eq!(down.status, StatusCode::SERVICE_UNAVAILABLE);
    });
}

#[test]
fn an_old_version_counts_who_calls_it_until_it_is_gone() {
    let key = NewKey::random().unwrap();
    let tables = format!(
        "[route.version]\nname = 'v1'\ndeprecated = 1970-01-02\nsunset = 1970-01-03\n\
         refuse_after_sunset = true\n[[policy]]\nname = 'p'\n[policy.keys]\nkeys = ['shop: {}']",
        key.hash()
    );
    let policy = policy_after(&tables, None).unwrap();
    let ask = |policy: &Policy, at| {
        asking(ME, &[("x-api-key", key.text())], |asked| match policy.decide(asked, at) {
            Verdict::Pass(pass) => {
                let mut headers = HeaderMap::new();
                pass.answer(&mut |edit| edit.apply(&mut headers));
                assert_eq!(headers["deprecation"], "@86400");
                200
            }
            Verdict::Refuse(refusal) => refusal.status.as_u16(),
            Verdict::Wait(_) => 0,
        })
    };
    let calls = |policy: &Policy| {
        let (version, calls) = policy.deprecated_calls().unwrap();
        assert_eq!(version, "v1");
        calls.map(|(who, count)| (who.to_owned(), count)).collect::<Vec<_>>()
    };
    assert_eq!(ask(&policy, at(86_399)), 200);
    assert_eq!(calls(&policy), [("shop".to_owned(), 0), (String::new(), 0)]);
    assert_eq!(ask(&policy, at(86_400)), 200);
    assert_eq!(ask(&policy, at(172_800)), 410);
    let policy = policy_after(&tables, Some(&policy)).unwrap();
    assert_eq!(calls(&policy), [("shop".to_owned(), 1), (String::new(), 0)]);
}
