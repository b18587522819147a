//! Parts of files, asked for by curl.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use http_body_util::{BodyExt, Full};
use hyper::Request;
use staunch::{Kind, Ledger};
use staunch_http::{HttpLimits, StreamLimits, Streams};
use staunch_net::Limits;

use crate::{
    files::files,
    support::{eventually, http2, with_server},
};

const LENGTH: usize = 3 << 20;

/// What curl says: the status, the headers (in small letters), and the body.
struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.headers.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

fn curl(to: SocketAddr, arguments: &[&str]) -> Answer {
    let folder = tempfile::tempdir().unwrap();
    let head = folder.path().join("head");
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "20", "-D"]).arg(&head).args(arguments);
    let output = curl.arg(format!("http://{to}/file")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let headers = fs::read_to_string(head).unwrap();
    let status = headers.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, headers, body: output.stdout }
}

/// Runs `test` with a server of a file that was changed an hour ago.
async fn with_file(test: impl AsyncFnOnce(SocketAddr, &Path, &[u8])) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let body: Vec<u8> = (0..LENGTH).map(|at| (at % 251) as u8).collect();
    fs::write(&path, &body).unwrap();
    let hour = Duration::from_hours(1);
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(SystemTime::now() - hour)
        .unwrap();
    let streams = Streams::new(StreamLimits::default());
    let serves = files(path.clone(), streams.clone());
    with_server(HttpLimits::default(), Limits::default(), serves, async |to, _| {
        test(to, &path, &body).await;
        let files = || {
            let entries = Ledger::current().snapshot();
            entries.entries().iter().filter(|it| it.kind() == Kind::FILE).count()
        };
        eventually("all places are free", || (streams.counts().open, files()) == (0, 0)).await;
    })
    .await;
}

#[staunch::test(flavor = "multi_thread")]
async fn a_part_is_what_was_asked_for() {
    with_file(async |to, _, body| {
        let check = |range: &str, first: usize, last: usize| {
            let answer = curl(to, &["-r", range]);
            assert_eq!(answer.status, 206, "{range}");
            let told = format!("bytes {first}-{last}/{LENGTH}");
            assert_eq!(answer.header("content-range"), Some(&*told));
            assert_eq!(answer.header("content-length"), Some(&*(last - first + 1).to_string()));
            assert!(answer.body == body[first..=last], "{range}");
        };
        check("0-0", 0, 0);
        check("2-5", 2, 5);
        check("1000000-", 1_000_000, LENGTH - 1);
        check("-70000", LENGTH - 70_000, LENGTH - 1);
        check(&format!("{}-{}", LENGTH - 1, LENGTH), LENGTH - 1, LENGTH - 1);
        let all = curl(to, &[]);
        assert_eq!((all.status, all.header("accept-ranges")), (200, Some("bytes")));
        assert!(all.body == body && all.header("content-range").is_none());
        assert!(curl(to, &["-r", "0-1,3-4"]).body == body, "several are all of it");
    })
    .await;
}

#[staunch::test(flavor = "multi_thread")]
async fn what_is_beyond_the_end_is_said_so() {
    with_file(async |to, path, _| {
        let answer = curl(to, &["-r", "9999999-"]);
        let told = format!("bytes */{LENGTH}");
        assert_eq!((answer.status, answer.header("content-range")), (416, Some(&*told)));
        fs::write(path, "").unwrap();
        assert_eq!(curl(to, &["-r", "0-"]).header("content-range"), Some("bytes */0"));
        assert_eq!(curl(to, &[]).status, 200);
    })
    .await;
}

#[staunch::test(flavor = "multi_thread")]
async fn a_head_has_the_headers_alone() {
    with_file(async |to, _, _| {
        let (head, get) = (curl(to, &["-I", "-r", "2-5"]), curl(to, &[]));
        assert_eq!((head.status, head.header("content-range")), (200, None));
        for name in ["content-length", "etag", "last-modified", "accept-ranges", "content-type"] {
            assert!(head.header(name).is_some(), "{name}: {}", head.headers);
            assert_eq!(head.header(name), get.header(name));
        }
    })
    .await;
}

#[staunch::test(flavor = "multi_thread")]
async fn a_part_of_another_version_is_all_of_this_one() {
    with_file(async |to, path, body| {
        let first = curl(to, &["-r", "0-9"]);
        let (etag, date) = (first.header("etag").unwrap(), first.header("last-modified").unwrap());
        for name in [etag, date] {
            let if_range = format!("If-Range: {name}");
            let answer = curl(to, &["-r", "2-5", "-H", &if_range]);
            assert_eq!((answer.status, &answer.body[..]), (206, &body[2..=5]), "{name}");
        }
        let next = [body, b"more"].concat();
        fs::write(path, &next).unwrap();
        for name in [etag, date] {
            let if_range = format!("If-Range: {name}");
            let answer = curl(to, &["-r", "2-5", "-H", &if_range]);
            assert_eq!(answer.status, 200, "{name}");
            assert!(answer.body == next);
        }
    })
    .await;
}

#[staunch::test(flavor = "multi_thread")]
async fn a_download_that_broke_off_is_resumed() {
    with_file(async |to, path, body| {
        let saved = path.with_extension("saved");
        fs::write(&saved, &body[..1_234_567]).unwrap();
        curl(to, &["-C", "-", "-o", saved.to_str().unwrap()]);
        assert!(fs::read(&saved).unwrap() == body);
    })
    .await;
}

#[staunch::test]
async fn over_http2_too_and_a_directory_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "0123456789").unwrap();
    for (path, status, text) in
        [(path, 206, "2345"), (folder.path().to_owned(), 400, "is a directory")]
    {
        let serves = files(path, Streams::new(StreamLimits::default()));
        with_server(HttpLimits::default(), Limits::default(), serves, async |to, s| {
            let mut client = http2(to, s).await;
            for method in ["HEAD", "GET"] {
                let request = Request::builder().method(method).uri("http://localhost/file");
                let request = request.header("range", "bytes=2-5").body(Full::default()).unwrap();
                let answer = client.send_request(request).await.unwrap();
                let expected = if (method, status) == ("HEAD", 206) { 200 } else { status };
                assert_eq!(answer.status().as_u16(), expected);
                let body = answer.into_body().collect().await.unwrap().to_bytes();
                let expected = if method == "HEAD" { "" } else { text };
                assert_eq!(String::from_utf8_lossy(&body), expected);
            }
        })
        .await;
    }
}
