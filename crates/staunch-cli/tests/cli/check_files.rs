//! `staunch check --files`: what a configuration names beside itself.

use std::{
    fs,
    os::unix::fs::symlink,
    process::{Command, Stdio},
};

use crate::{
    eventually,
    policy::key_set,
    process::{Process, folder},
    tls_upstream::localhost,
};

const NAMES_FILES: &str = "\
[admin]
token_file = 'token'
[access_log]
to = 'access.log'
[traces]
to = 'http://127.0.0.1:1'
headers_file = 'headers'
[[listener]]
name = 'web'
protocol = 'http'
listen = '127.0.0.1:0'
[listener.tls]
certificate = 'cert.pem'
key = 'key.pem'
client_ca = 'ca.pem'
[[route]]
name = 'one'
path = '/one'
service = 'behind'
policies = ['tokens']
[[route]]
name = 'two'
path = '/two'
service = 'found'
policies = ['tokens']
[[service]]
name = 'behind'
endpoints = ['127.0.0.1:1']
[service.tls]
ca = 'ca.pem'
[[service]]
name = 'found'
[service.discovery]
file = 'servers'
[[policy]]
name = 'tokens'
[policy.jwt]
keys_file = 'keys.json'
algorithms = ['HS256']
issuer = 'https://id.test'
audience = ['a']
";

const CHECK_FILES: [&str; 4] = ["check", "--config", "staunch.toml", "--files"];

/// How `check --files` ended, before its folder goes.
fn checked(process: &mut Process) -> Option<i32> {
    eventually("it has ended", || process.exited().ok_or_else(String::new)).code()
}

/// Of each of them, where `run` ends at the first.
#[test]
fn check_says_what_is_wrong_with_the_files_that_are_named() {
    let missing = NAMES_FILES.replace("'access.log'", "'none/access.log'");
    let files = [("staunch.toml", &*missing)];
    let ended = Process::start(folder(&files), &CHECK_FILES[..3]).ended();
    assert_eq!(ended.code, Some(0), "that file alone is right: {ended:#?}");
    let ended = Process::start(folder(&files), &CHECK_FILES).ended();
    assert_eq!((ended.code, &*ended.stdout), (Some(2), ""), "{ended:#?}");
    let said: Vec<_> = ended.stderr.lines().collect();
    let expected = [
        "web: cert.pem",
        "admin: cannot read the token from token",
        "[service.tls] of \"behind\": ca.pem",
        "[service.discovery] of \"found\": servers",
        "policy \"tokens\": keys.json: cannot be read: ",
        "none/access.log",
        "headers",
    ];
    assert_eq!(said.len(), expected.len(), "each once: {said:#?}");
    for (line, expected) in said.iter().zip(expected) {
        assert!(line.starts_with("staunch.toml: ") && line.contains(expected), "{line}");
    }
}

/// As `run` warns of them.
#[test]
fn check_says_that_a_list_of_servers_is_empty_or_that_a_link_leads_nowhere() {
    let [cert, key] = localhost();
    let applied = NAMES_FILES.replace("file = 'servers'", "file = 'servers'\non_empty = 'apply'");
    let files = |config| {
        let text = [("staunch.toml", config), ("servers", "# none yet\n")];
        let rest = [("cert.pem", &*cert), ("key.pem", &key), ("ca.pem", &cert)];
        let made = folder(&[&text[..], &rest].concat());
        fs::write(made.path().join("token"), "0123456789abcdef0123456789abcdef\n").unwrap();
        fs::write(made.path().join("headers"), "authorization: Bearer abc\n").unwrap();
        fs::write(made.path().join("keys.json"), key_set()).unwrap();
        made
    };
    let ended = Process::start(files(NAMES_FILES), &CHECK_FILES).ended();
    assert_eq!(ended.code, Some(2), "{ended:#?}");
    assert!(ended.stderr.contains("servers: names no server ("), "{}", ended.stderr);
    let ended = Process::start(files(&applied), &CHECK_FILES).ended();
    assert_eq!(ended.code, Some(0), "{ended:#?}");

    let made = files(&applied);
    symlink("none/access.log", made.path().join("access.log")).unwrap();
    let ended = Process::start(made, &CHECK_FILES).ended();
    assert_eq!(ended.code, Some(2), "{ended:#?}");
    assert!(ended.stderr.contains("access.log"), "{}", ended.stderr);
}

/// With it every request would be refused.
#[test]
fn check_says_that_keys_of_tokens_cannot_be_used() {
    let key = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n";
    let other = NAMES_FILES.replace("['HS256']", "['RS256', 'ES256']");
    let no_key =
        "policy \"tokens\": keys.json: has no key for `RS256`, `ES256`, which `algorithms`";
    for (config, keys, expected) in [
        (NAMES_FILES, key, "policy \"tokens\": keys.json: PEM is not taken: make it a JWK set"),
        (&other, &*key_set(), no_key),
    ] {
        let files = [("staunch.toml", config), ("keys.json", keys)];
        let ended = Process::start(folder(&files), &CHECK_FILES).ended();
        assert_eq!(ended.code, Some(2), "{ended:#?}");
        assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    }
}

#[test]
fn check_says_that_a_certificate_is_out_of_date() {
    let mut old = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    (old.not_before, old.not_after) =
        (rcgen::date_time_ymd(2000, 1, 1), rcgen::date_time_ymd(2001, 1, 1));
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = old.self_signed(&key).unwrap().pem();
    let config = "[[listener]]\nname = 'web'\nprotocol = 'demo'\nlisten = '127.0.0.1:0'\n\
                  [listener.tls]\ncertificate = 'cert.pem'\nkey = 'key.pem'\n";
    let files = [("staunch.toml", config), ("cert.pem", &cert), ("key.pem", &key.serialize_pem())];
    let ended = Process::start(folder(&files), &CHECK_FILES).ended();
    assert_eq!(ended.code, Some(2), "{ended:#?}");
    assert!(ended.stderr.contains("web: cert.pem: the certificate "), "{}", ended.stderr);
    assert!(ended.stderr.contains("clients refuse it"), "{}", ended.stderr);
}

/// What is right is read, and no log is made, nor written, nor opened.
#[test]
fn check_leaves_the_files_that_are_named_as_they_are() {
    let [cert, key] = localhost();
    let files = [
        ("staunch.toml", NAMES_FILES),
        ("token", "0123456789abcdef0123456789abcdef\n"),
        ("headers", "authorization: Bearer abc\n"),
        ("cert.pem", &cert),
        ("key.pem", &key),
        ("ca.pem", &cert),
        ("servers", "127.0.0.1:1\n"),
        ("keys.json", &key_set()),
    ];
    let mut process = Process::start(folder(&files), &CHECK_FILES);
    assert_eq!(checked(&mut process), Some(0), "{}", process.stderr());
    assert!(!process.path("access.log").exists(), "a check makes no file");

    let linked = folder(&files);
    for (link, leads_to) in [("access.log", "logs/to"), ("logs/to", "access.1.log")] {
        fs::create_dir_all(linked.path().join("logs")).unwrap();
        symlink(leads_to, linked.path().join(link)).unwrap();
    }
    let mut process = Process::start(linked, &CHECK_FILES);
    assert_eq!(checked(&mut process), Some(0), "`run` makes it there: {}", process.stderr());
    assert!(!process.path("logs/access.1.log").exists(), "a check makes no file");

    let folder = folder(&files);
    let pipe = folder.path().join("access.log");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reads = Command::new("cat").arg(&pipe).stdout(Stdio::piped()).spawn().unwrap();
    let mut process = Process::start(folder, &CHECK_FILES);
    assert_eq!(checked(&mut process), Some(0), "{}", process.stderr());
    let mut says = Command::new("timeout");
    says.args(["10", "sh", "-c", "echo still > \"$0\""]).arg(&pipe);
    assert!(says.status().unwrap().success(), "its reader has gone");
    assert_eq!(reads.wait_with_output().unwrap().stdout, b"still\n");
}
