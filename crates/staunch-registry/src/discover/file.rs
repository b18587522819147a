//! A file of servers: one on each line, as in `endpoints` of the configuration; `#` begins a comment.
//!
//! Lines and not JSON, because it is people and scripts who write it: a server is added by `echo`, and a
//! mistake has a line. It is all or nothing: of a file with a mistake, which may be half written, no line
//! is used.

use std::{
    collections::HashMap,
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use staunch_config::{Endpoint, FileDiscovery, OnEmpty};
use staunch_scope::{Scope, sleep};

use super::{DiscoveryError, Found, Source};
use crate::{
    ask::shown,
    reading::{self, ReadFileError},
};

/// A thousand servers with long names and comments have less.
const BYTES_MAX: u64 = 1 << 20;

pub(super) struct FileSource {
    scope: Scope<Infallible>,
    file: FileDiscovery,
    /// The state of the file that was read last; `None` before the first time, and after one that failed.
    seen: Option<Stamp>,
}

/// What tells one state of a file from another; `None` if it cannot be looked at.
type Stamp = Option<(SystemTime, u64, u64)>;

impl FileSource {
    pub(super) fn new(scope: &Scope<Infallible>, file: &FileDiscovery) -> FileSource {
        FileSource { scope: scope.clone(), file: file.clone(), seen: None }
    }

    async fn changed(&mut self) {
        loop {
            let now = self.stamp().await;
            if self.seen != Some(now) {
                self.seen = Some(now);
                return;
            }
            if sleep(self.file.every).await.is_err() {
                return; // the keeper sees that, too
            }
        }
    }

    /// A file that is there need not change until it can be read; whether one is there, its state tells.
    fn read_again(&mut self) {
        self.seen.take_if(|seen| seen.is_some());
    }

    async fn stamp(&self) -> Stamp {
        let path = self.file.path.clone();
        self.scope.blocking(move |_| Ok(stamp(&path))).join().await.ok().flatten()
    }
}

impl Source for FileSource {
    async fn next(&mut self) -> Result<Found, DiscoveryError> {
        self.changed().await;
        let read = reading::read(&self.scope, &self.file.path, BYTES_MAX).await;
        if matches!(read, Err(ReadFileError::Io { .. })) {
            self.read_again();
        }
        parse(&self.file.path, &read?)
    }
}

/// Whether its servers can be read now, and taken.
pub(super) fn check(file: &FileDiscovery, on_empty: OnEmpty) -> Result<(), DiscoveryError> {
    let text = reading::read_now(&file.path, BYTES_MAX)?;
    let (endpoints, _) = parse(&file.path, &text)?.judged()?;
    if endpoints.is_empty() && on_empty == OnEmpty::Keep {
        return Err(DiscoveryError::EmptyFile { file: file.path.display().to_string() });
    }
    Ok(())
}

fn stamp(path: &PathBuf) -> Stamp {
    use std::os::unix::fs::MetadataExt;
    let file = fs::metadata(path).ok()?;
    Some((file.modified().ok()?, file.len(), file.ino())) // a rename is another file
}

fn parse(path: &Path, text: &str) -> Result<Found, DiscoveryError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let (mut found, mut lines) = (Found::default(), HashMap::new());
    for (number, line) in (1..).zip(text.lines()) {
        let written = line.split('#').next().unwrap_or_default().trim();
        if written.is_empty() {
            continue;
        }
        let wrong = |reason: String| DiscoveryError::Line {
            file: path.display().to_string(),
            line: number,
            written: shown(written.as_bytes()),
            reason,
        };
        let endpoint = Endpoint::parse(written, folder).map_err(|why| wrong(why.to_string()))?;
        if let Some(first) = lines.insert(endpoint.address.clone(), number) {
            return Err(wrong(format!("is on line {first} already")));
        }
        if lines.len() > Endpoint::MAX {
            return Err(DiscoveryError::TooMany);
        }
        found.add(endpoint);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&[&str], &str>) {
        let parsed = parse(Path::new("/etc/s"), text).and_then(Found::judged);
        match (parsed, expected) {
            (Ok((found, _)), Ok(expected)) => {
                let show = |it: &Endpoint| format!("{} {}", it.address, it.weight);
                assert_eq!(found.iter().map(show).collect::<Vec<_>>(), expected);
            }
            (Err(error), Err(expected)) => assert_eq!(error.to_string(), expected),
            (parsed, expected) => panic!("{parsed:?}, {expected:?}"),
        }
    }

    #[test]
    fn a_line_is_a_server() {
        check("", Ok(&[]));
        check(
            "# ours\r\n\n  b.test:80 weight=3 # the large one\n10.0.0.1:80\nunix:sock\n[::1]:1",
            Ok(&["10.0.0.1:80 1", "[::1]:1 1", "b.test:80 3", "unix:/etc/sock 1"]),
        );
        check(
            "a:1\nb",
            Err(
                "/etc/s:2: `b` must be a server such as `10.0.0.7:8080`, `files.internal:80 weight=2`, \
                 `unix:/run/files.sock` (it has no port)",
            ),
        );
        check("a:1\n\na:1 weight=2", Err("/etc/s:3: `a:1 weight=2` is on line 1 already"));
        let many: Vec<_> = (1..=1001).map(|port| format!("a:{port}\n")).collect();
        check(
            &many.concat(),
            Err("names more than 1000 servers, which is the most that a service may have"),
        );
    }
}
