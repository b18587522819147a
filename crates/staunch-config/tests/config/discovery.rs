//! `[service.discovery]`: what it means, and what is a mistake.

use std::time::Duration;

use staunch_config::{DiscoverySource, DnsName, OnEmpty, Service};

use crate::check_parts;

fn text(keys: &str) -> String {
    format!(
        "[[listener]]\nname = 'tcp'\nprotocol = 'tcp'\nlisten = '127.0.0.1:1'\nservice = 's'\n\
         [[service]]\nname = 's'\n[service.discovery]\n{keys}\n"
    )
}

#[track_caller]
fn parse(keys: &str) -> Service {
    crate::parse(&text(keys)).services.remove(0)
}

#[track_caller]
fn source(keys: &str) -> DiscoverySource {
    let discovery = parse(keys).discovery;
    discovery.unwrap_or_else(|| panic!("no discovery")).source
}

#[track_caller]
fn check(keys: &str, expected: &[&str]) {
    check_parts(&text(keys), expected);
}

#[test]
fn each_source_has_its_keys() {
    let service = parse("file = 'shop.servers'");
    assert_eq!((service.endpoints.len(), service.discovery.unwrap().on_empty), (0, OnEmpty::Keep));
    let DiscoverySource::File(file) = source("file = 'a'\nevery = '1m'") else { panic!() };
    assert_eq!((file.path, file.every), ("/etc/a".into(), Duration::from_mins(1)));

    let DiscoverySource::Dns(dns) = source("dns = 'shop.test:80'") else { panic!() };
    assert_eq!(dns.name, DnsName::Addresses { host: "shop.test".to_owned(), port: 80 });
    let ttl = [dns.ttl_min, dns.ttl_max];
    assert_eq!((dns.resolver, ttl), (None, [Duration::from_secs(1), Duration::from_mins(5)]));
    let keys = "dns = '_http._tcp.shop.test.'\nresolver = '[::1]:5353'";
    let DiscoverySource::Dns(dns) = source(keys) else { panic!() };
    assert_eq!(dns.name, DnsName::Services("_http._tcp.shop.test.".to_owned()));
    assert_eq!(dns.resolver, Some("[::1]:5353".parse().unwrap()));

    let keys = "etcd = ['http://a:1', 'https://[::1]:2']\nprefix = '/s/'\n\
                user = 'u'\npassword_file = 'p'\nca = 'ca.pem'";
    let DiscoverySource::Etcd(etcd) = source(keys) else { panic!() };
    let login = etcd.login.unwrap();
    assert_eq!((etcd.servers.len(), etcd.prefix.as_str(), login.user.as_str()), (2, "/s/", "u"));
    assert_eq!((login.password_file, etcd.ca), ("/etc/p".into(), Some("/etc/ca.pem".into())));

    let DiscoverySource::Consul(consul) = source("consul = 'http://a:1'") else { panic!() };
    assert_eq!((consul.service.as_str(), consul.token_file), ("s", None), "its own name");
    let keys = "consul = 'http://a:1'\nservice = 'Shop_1'\non_empty = 'apply'";
    let discovery = parse(keys).discovery.unwrap();
    let DiscoverySource::Consul(consul) = discovery.source else { panic!() };
    assert_eq!((consul.service.as_str(), discovery.on_empty), ("Shop_1", OnEmpty::Apply));
}

#[test]
fn a_service_has_one_source_and_only_keys_of_it() {
    check("", &["`file` is missing in [service.discovery] of \"s\": write one of `file`, `dns`"]);
    check(
        "on_empty = 'keep'\nfiel = 'a'",
        &["unknown key `fiel` in [service.discovery] of \"s\": did you mean `file`?"],
    );
    check(
        "file = 'a'\nconsul = 'http://a:1'\nprefix = '/a/'\nca = 'c'",
        &[
            "there is `file`, and a service has one source",
            "belongs to `etcd`",
            "belongs to `etcd` and",
        ],
    );
    check(
        "dns = 'a:1'\nevery = '1s'\nresolvr = 'x'",
        &["belongs to `file`", "did you mean `resolver`?"],
    );
}

#[test]
fn every_value_is_looked_at() {
    check("file = ''", &["must be the path of a file"]);
    check("file = 'a'\nevery = '1ms'", &["must be a duration from 100ms to 1h"]);
    check("file = 'a'\non_empty = 'drop'", &["must be one of `keep`, `apply`"]);
    for bad in ["a", "a:0", "a/b:1", "10.0.0.1:1", "[::1]:1", "_a..b", "_a b"] {
        check(&format!("dns = '{bad}'"), &["must be a name and a port such as"]);
    }
    check("dns = 'a:1'\nresolver = '10.0.0.2'", &["must be the address of a name server"]);
    check("dns = 'a:1'\nttl_min = '10s'\nttl_max = '5s'", &["must not be less than `ttl_min`"]);
    let etcd = "etcd = ['http://a:1']\nprefix = '/a/'\n";
    for bad in ["a:1", "http://a", "http://a:1/v3", "http://u:p@a:1", "ftp://a:1"] {
        let keys = etcd.replace("http://a:1", bad);
        check(&keys, &["must be such as `http://10.0.0.5:2379`, without a path"]);
        check(&format!("consul = '{bad}'"), &["must be an agent such as"]);
    }
    check(&etcd.replace("'http://a:1'", ""), &["must be a list of 1 to 16 members"]);
    check(&etcd.replace("/a/", "/a"), &["which ends in `/`"]);
    check("etcd = ['http://a:1']", &["`prefix` is missing"]);
    check(&format!("{etcd}user = 'u'"), &["`password_file` is missing"]);
    check(&format!("{etcd}ca = 'ca.pem'"), &["nobody is asked over https"]);
    check("consul = 'http://a:1'\nservice = 'a/b'", &["must be the name of a service: 1 to 128"]);
}
