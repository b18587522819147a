//! Policies and versions of APIs: what they mean, and what is a mistake.

use std::time::Duration;

use staunch_config::{Config, JwtKeys, Origins, Policy, RateBy, WhenDown};

use crate::{check_parts as check, parse};

const WEB: &str = "[[listener]]\nname = 'web'\nprotocol = 'http'\nlisten = '127.0.0.1:1'\n\
                   [[service]]\nname = 's'\nendpoints = ['a:1']\n";
const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// A route with a policy of these keys.
fn policy(keys: &str) -> String {
    format!(
        "{WEB}[[route]]\nname = 'r'\nservice = 's'\npolicies = ['p']\n[[policy]]\nname = 'p'\n{keys}\n"
    )
}

fn version(keys: &str) -> String {
    format!("{WEB}[[route]]\nname = 'r'\nservice = 's'\n[route.version]\nname = 'v1'\n{keys}\n")
}

#[track_caller]
fn of_route(keys: &str) -> Policy {
    let config = parse(&policy(keys));
    config.policy(&config.routes[0])
}

#[test]
fn a_policy_asks_what_it_says_and_no_more() {
    let concurrency = of_route("concurrency = 7");
    assert_eq!(concurrency.concurrency.unwrap().get(), 7);
    assert_eq!(Policy { concurrency: None, ..concurrency }, of_route(""));
    let rate = of_route("[policy.rate]\nrequests = 5").rate.unwrap();
    assert_eq!(
        (rate.burst, rate.per, rate.by),
        (rate.requests, Duration::from_secs(1), RateBy::Ip)
    );
    assert_eq!((rate.entries.get(), rate.shared), (10_000, None));
    let rate =
        of_route("[policy.rate]\nrequests = 5\nby = 'header: X-Team'\nredis = 'redis://:pw@a'");
    let rate = rate.rate.unwrap();
    assert_eq!(rate.by, RateBy::Header("x-team".to_owned()));
    let shared = rate.shared.unwrap();
    assert_eq!((shared.timeout, shared.when_down), (Duration::from_millis(100), WhenDown::Pass));
    assert!(!format!("{shared:?}").contains("pw"), "{shared:?}");
    let keys = of_route(&format!("[policy.keys]\nkeys = ['shop: {HASH}']")).keys.unwrap();
    assert_eq!(
        (keys.header.as_str(), keys.identity.as_str(), keys.pass),
        ("x-api-key", "x-consumer", false)
    );
    assert_eq!(
        (keys.keys[0].name.as_str(), keys.keys[0].hash.to_string().as_str()),
        ("shop", HASH)
    );
    let jwt = of_route(
        "[policy.jwt]\nkeys_file = 'keys'\nalgorithms = ['RS256']\nissuer = 'i'\naudience = ['a']\n\
         require = ['scope: a']\nheaders = ['X-User: sub']",
    );
    let jwt = jwt.jwt.unwrap();
    assert_eq!((jwt.keys, jwt.pass), (JwtKeys::File("/etc/keys".into()), true));
    assert_eq!((jwt.require[0].claim.as_str(), jwt.require[0].value.as_str()), ("scope", "a"));
    assert_eq!((jwt.headers[0].header.as_str(), jwt.headers[0].claim.as_str()), ("x-user", "sub"));
    let cors = of_route("[policy.cors]\norigins = ['*']").cors.unwrap();
    assert_eq!(
        (cors.origins, cors.methods.len(), cors.max_age),
        (Origins::Any, 3, Duration::from_mins(10))
    );
}

#[test]
fn policies_of_a_route_are_one() {
    let two = |a: &str, b: &str| {
        format!(
            "{WEB}[[route]]\nname = 'r'\nservice = 's'\npolicies = ['a', 'b']\n\
             [[policy]]\nname = 'a'\n{a}\n[[policy]]\nname = 'b'\n{b}\n"
        )
    };
    let config = parse(&two("concurrency = 1", "[policy.rate]\nrequests = 2"));
    let joined = config.policy(&config.routes[0]);
    assert!(joined.concurrency.is_some() && joined.rate.is_some(), "{joined:?}");
    check(
        &two("concurrency = 1", "concurrency = 2"),
        &["route \"r\" has `concurrency` of policy \"a\" and of policy \"b\": it can have one"],
    );
    check(
        &two("[policy.rate]\nrequests = 2\nby = 'key'", ""),
        &["route \"r\" counts by = \"key\" and has no [policy.keys]"],
    );
    let forward = "[policy.forward]\nurl = 'http://a/'\ncopy = ['X-Consumer']";
    check(
        &two(&format!("[policy.keys]\nkeys = ['shop: {HASH}']"), forward),
        &["route \"r\" tells the server two things in `x-consumer`"],
    );
    check(
        &policy("").replace("['p']", "['q']"),
        &["has policy \"q\", which there is not", "policy \"p\" is not used"],
    );
}

#[test]
fn every_value_is_looked_at() {
    let in_table = |table: &str, keys: &str| policy(&format!("[policy.{table}]\n{keys}"));
    check(&in_table("clients", ""), &["`allow` is missing"]);
    check(&in_table("clients", "allow = ['10.0.0.1/8']"), &["the range begins at `10.0.0.0/8`"]);
    check(&in_table("clients", "deny = ['a']"), &["`a` must be an address such as"]);
    check(&in_table("rate", ""), &["`requests` is missing"]);
    check(&in_table("rate", "requests = 1\nredis_down = 'pass'"), &["there is no `redis`"]);
    check(&in_table("rate", "requests = 1\nby = 'header: a b'"), &["must be \"ip\", \"key\" or"]);
    check(&in_table("cors", "origins = ['https://a/b']"), &["must be an origin such as"]);
    check(&in_table("cors", "origins = ['*']\ncredentials = true"), &["every page could read"]);
    check(&in_table("cors", "origins = ['*', 'a']"), &["must be [\"*\"] alone"]);
    check(
        &in_table("headers", "request_set = ['Host: a']"),
        &["this one says where a message ends"],
    );
    check(
        &in_table("headers", "answer_remove = ['Transfer-Encoding']"),
        &["must be another header"],
    );
    check(&in_table("headers", "answer_set = ['a']"), &["must be a header such as `x-team: shop`"]);
    check(&in_table("forward", "url = 'http://me:pw@a/'"), &["without a name or password"]);
    check(&in_table("forward", "url = 'a'"), &["must be a URL such as"]);
    let jwt = "issuer = 'i'\naudience = ['a']\n";
    let keys = "keys_file = 'k'\n";
    check(
        &in_table("jwt", &format!("{jwt}{keys}algorithms = ['none']")),
        &[
            "`algorithms` in [policy.jwt] of \"p\" is an array: `none` must be one of `HS256`, `HS384`",
        ],
    );
    check(
        &in_table("jwt", &format!("{jwt}{keys}algorithms = 'RS256'")),
        &["must be a list of some of `HS256`"],
    );
    check(&in_table("jwt", &format!("{jwt}algorithms = ['RS256']")), &["`keys_file` is missing"]);
    check(
        &in_table("jwt", &format!("{keys}algorithms = ['RS256']")),
        &["`issuer` is", "`audience` is"],
    );
}

/// Who has written a list has meant to let some in, and not all.
#[test]
fn a_list_that_names_nobody_is_a_mistake() {
    let at = |table: &str, keys: &str| policy(&format!("[policy.{table}]\n{keys}"));
    let nobody = "t:15:9: `allow` in [policy.clients] of \"p\" is an array: must name one at least; deny = \
                  [\"0.0.0.0/0\", \"::/0\"] lets nobody ask";
    check(&at("clients", "allow = []"), &[nobody]);
    check(&at("clients", "deny = ['10.0.0.1']\nallow = []"), &["`allow` in [policy.clients] of"]);
    let deny = "must name one at least; leave it out to deny nobody";
    check(&at("clients", "deny = []"), &[deny]);
    check(&at("clients", "allow = ['10.0.0.1']\ndeny = []"), &[deny]);
    check(&at("clients", "allow = []\ndeny = []"), &["`allow` in", "`deny` in"]);
    let needed = "route \"r\" needs a certificate, and listener \"web\" asks for none";
    let any = "must name one at least; leave it out if any certificate does";
    check(&at("certificate", "names = []"), &[needed, any]);
}

/// Whoever writes the key instead of its hash must not find it in a log.
#[test]
fn a_key_in_the_wrong_place_is_not_shown() {
    for wrong in ["['shop: s3cret']", "['s3cret']", "'s3cret'", "[]"] {
        let text = policy(&format!("[policy.keys]\nkeys = {wrong}"));
        let errors = Config::parse("t", &text).unwrap_err();
        let shown = format!("{errors:#}");
        assert!(shown.contains("which `staunch key NAME` prints"), "{shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }
    let entries = policy(&format!("[policy.keys]\nkeys = ['a: {HASH}', 's3cret: s3cret', 'c: 1']"));
    let shown = format!("{:#}", Config::parse("t", &entries).unwrap_err());
    assert!(shown.contains("; entry 2 is not") && !shown.contains("s3cret"), "{shown}");
    let text = policy("[policy.rate]\nrequests = 1\nredis = 'rediss://:s3cret@a'");
    let shown = format!("{:#}", Config::parse("t", &text).unwrap_err());
    assert!(shown.contains("must be a URL such as") && !shown.contains("s3cret"), "{shown}");
}

/// Nobody is known by a certificate where nobody is asked for one.
#[test]
fn certificates_need_a_listener_that_asks_for_them() {
    let tls = |more: &str| format!("tls = {{ certificate = 'c', key = 'k', {more} }}\n[[service]]");
    let with = |more: &str| policy("[policy.certificate]").replacen("[[service]]", &tls(more), 1);
    let needs = "route \"r\" needs a certificate, and listener \"web\" asks for none";
    check(&policy("[policy.certificate]"), &[needs]);
    check(&with(""), &[needs]);
    let config = parse(&with("client_ca = 'ca', client_auth = 'optional'"));
    let certificate = config.policy(&config.routes[0]).certificate.unwrap();
    assert_eq!((certificate.names.len(), certificate.identity.as_str()), (0, "x-client-name"));
    check(&with("client_auth = 'optional'"), &["there is no `client_ca`", needs]);
    let echo = "[[listener]]\nname = 'a'\nprotocol = 'echo'\nlisten = '127.0.0.1:1'\n\
                tls = { certificate = 'c', key = 'k', client_ca = 'a', client_auth = 'optional' }\n";
    check(echo, &["only routes can ask who has one"]);
}

#[test]
fn versions_have_dates() {
    let text = version("deprecated = 2026-01-01\nsunset = 2026-07-01T00:00:00Z\nsuccessor = '/v2'");
    let version_of = parse(&text).routes.remove(0).version.unwrap();
    assert_eq!(version_of.deprecated, Some(1_767_225_600));
    assert_eq!(version_of.sunset, Some(1_782_864_000));
    check(&version("deprecated = '2026-01-01'"), &["must be a date such as 2026-12-31"]);
    check(&version("deprecated = 2026-01-01T00:00:00"), &["must be a date such as 2026-12-31"]);
    check(
        &version("deprecated = 2026-01-02\nsunset = 2026-01-01"),
        &["must not be before `deprecated`"],
    );
    check(&version("refuse_after_sunset = true"), &["must not be true without `sunset`"]);
    check(&version("successor = '<a>'"), &["must be a URL such as"]);
}
