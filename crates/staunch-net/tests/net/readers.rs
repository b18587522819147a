//! Bounded readers: limits, chunks, lines of any reader.

use std::{io, time::Duration};

use proptest::prelude::*;
use staunch::{BoxError, Cancelled, Context, Ledger, scope};
use staunch_kernel::Process;
use staunch_ledger::Kind;
use staunch_net::{Limits, LineReader, ReadLineError, ReadToEndError, chunks, limit, read_to_end};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use crate::harness::{address, bind, connect, in_own_process, live, poll_once, serving, unlimited};

#[staunch::test]
async fn a_limit_is_told_from_an_end() {
    let check = async |text: &str, most: u64, expected: &str, reached: bool| {
        let mut limited = limit(text.as_bytes(), most);
        let mut read = String::new();
        limited.read_to_string(&mut read).await.unwrap();
        assert_eq!((&*read, limited.limit_reached()), (expected, reached), "{text} {most}");
    };
    check("abc", 2, "ab", true).await;
    check("abc", 3, "abc", true).await;
    check("abc", 4, "abc", false).await;
    check("abc", 0, "", true).await;
    check("", 1, "", false).await;
    check("abc", u64::MAX, "abc", false).await;
}

#[staunch::test]
async fn what_a_limit_leaves_stays_in_the_reader() {
    let mut limited = limit(&b"head body"[..], 5);
    limited.read_exact(&mut [0; 5]).await.unwrap();
    assert_eq!(limited.left(), 0);
    assert_eq!(limited.into_inner(), b"body");
}

#[staunch::test]
async fn all_of_a_reader_or_a_clear_error() {
    assert_eq!(read_to_end(&b""[..], 0).await.unwrap(), b"");
    assert_eq!(read_to_end(&b"abc"[..], 3).await.unwrap(), b"abc");
    let error = read_to_end(&b"abcd"[..], 3).await.unwrap_err();
    assert!(matches!(error, ReadToEndError::TooLong { limit: 3 }));
    assert_eq!(error.to_string(), "more than 3 bytes: raise the limit, or read in chunks");
    // Endless, and yet it ends.
    let error = read_to_end(tokio::io::repeat(b'x'), 1 << 20).await.unwrap_err();
    assert!(matches!(error, ReadToEndError::TooLong { .. }));
}

/// The chunks of what is written piece by piece.
async fn chunks_of(pieces: &[&str], size: usize) -> Vec<String> {
    let (mut writer, reader) = duplex(64);
    let write = async {
        for piece in pieces {
            writer.write_all(piece.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
        }
        drop(writer);
    };
    let read = async {
        let (mut chunks, mut read) = (chunks(reader, size), Vec::new());
        while let Some(chunk) = chunks.next().await.unwrap() {
            read.push(String::from_utf8(chunk.to_vec()).unwrap());
        }
        assert!(chunks.next().await.unwrap().is_none(), "the end stays the end");
        read
    };
    tokio::join!(write, read).1
}

#[staunch::test]
async fn chunks_are_full_but_the_last() {
    assert_eq!(chunks_of(&["ab", "cde", "f", "g"], 3).await, ["abc", "def", "g"]);
    assert_eq!(chunks_of(&["abcdef"], 3).await, ["abc", "def"]);
    assert_eq!(chunks_of(&[], 3).await, [""; 0]);
    assert_eq!(chunks_of(&["ab"], 0).await, ["a", "b"]);
}

#[staunch::test]
async fn chunks_and_lines_are_on_the_ledger_with_their_bytes() {
    let chunks = chunks(&b""[..], 4096);
    let lines = LineReader::new(&b""[..], 100);
    let snapshot = Ledger::current().snapshot();
    let buffers = snapshot.entries().iter().filter(|entry| entry.kind() == Kind::BUFFER);
    let mut bytes: Vec<u64> = buffers
        .inspect(|entry| assert!(entry.born_at().file().ends_with("readers.rs")))
        .map(staunch_ledger::Entry::bytes)
        .collect();
    bytes.sort_unstable();
    assert_eq!(bytes, [100, 4096]);
    drop((chunks, lines));
    assert_eq!(live(Kind::BUFFER), 0);
}

#[test]
fn a_file_of_a_gigabyte_is_read_in_the_memory_of_a_chunk() {
    const GIGABYTE: u64 = 1 << 30;
    const CHUNK: usize = 1 << 20;
    let resident = || Process::current().status().unwrap().rss_bytes.unwrap();
    let read = async move {
        let sparse = tempfile::tempfile().unwrap();
        sparse.set_len(GIGABYTE).unwrap();
        let mut chunks = chunks(tokio::fs::File::from_std(sparse), CHUNK);
        assert_eq!(chunks.next().await.unwrap().unwrap().len(), CHUNK);
        let before = resident();
        let mut length = CHUNK as u64;
        while let Some(chunk) = chunks.next().await.unwrap() {
            length += chunk.len() as u64;
        }
        assert_eq!(length, GIGABYTE);
        let grown = resident().saturating_sub(before);
        assert!(grown < 4 << 20, "{grown} bytes more for a file of {GIGABYTE}");
    };
    in_own_process("readers::a_file_of_a_gigabyte_is_read_in_the_memory_of_a_chunk", || {
        staunch::testing::run(read);
    });
}

#[staunch::test]
async fn a_line_that_is_too_long_is_an_error_and_stays_one() {
    let mut lines = LineReader::new(&b"12345\n1234567\n"[..], 6);
    assert_eq!(lines.next().await.unwrap(), Some(&b"12345"[..]));
    for _ in 0..2 {
        let error = lines.next().await.unwrap_err();
        assert!(matches!(error, ReadLineError::TooLong { limit: 6 }), "{error}");
    }
}

#[staunch::test]
async fn memory_for_a_long_line_is_given_back() {
    let held = || {
        let snapshot = Ledger::current().snapshot();
        let buffers = snapshot.entries().iter().filter(|entry| entry.kind() == Kind::BUFFER);
        buffers.map(staunch_ledger::Entry::bytes).sum::<u64>()
    };
    let (mut writer, reader) = duplex(1 << 20);
    let mut lines = LineReader::new(reader, 100_000);
    assert_eq!(held(), 1024);
    writer.write_all(&vec![b'x'; 99_999]).await.unwrap();
    writer.write_all(b"\n").await.unwrap();
    assert_eq!(lines.next().await.unwrap().unwrap().len(), 99_999);
    assert_eq!(held(), 100_000);
    assert!(poll_once(lines.next()).await.is_none());
    assert_eq!(held(), 1024);
}

#[staunch::test]
async fn a_task_that_is_asked_to_stop_stops_reading() {
    let (_writer, mut reader) = duplex(64);
    let ended = scope(&Context::current(), |s| async move {
        s.stop();
        let cancelled = |error: &io::Error| error.get_ref().unwrap().is::<Cancelled>();
        let error = LineReader::new(&mut reader, 10).next().await.unwrap_err();
        assert!(matches!(error, ReadLineError::Io(error) if cancelled(&error)));
        assert!(cancelled(&chunks(&mut reader, 10).next().await.unwrap_err()));
        let error = read_to_end(&mut reader, 10).await.unwrap_err();
        assert!(matches!(error, ReadToEndError::Io(error) if cancelled(&error)));
        Ok::<_, BoxError>(())
    });
    ended.await.unwrap();
}

#[staunch::test]
async fn a_task_that_is_asked_to_stop_may_finish_its_line() {
    let (mut writer, reader) = duplex(64);
    writer.write_all(b"first half, ").await.unwrap();
    let ended = scope(&Context::current(), |s| async move {
        let mut lines = LineReader::new(reader, 100);
        assert!(poll_once(lines.next()).await.is_none());
        s.stop();
        assert!(poll_once(lines.next()).await.is_none());
        writer.write_all(b"second half\n").await.unwrap();
        assert_eq!(lines.next().await.unwrap(), Some(&b"first half, second half"[..]));
        assert!(lines.next().await.is_err());
        Ok::<_, BoxError>(())
    });
    ended.await.unwrap();
}

#[staunch::test]
async fn a_connection_can_be_read_in_chunks() {
    let listener = bind(Limits { drain: Duration::from_secs(1), ..unlimited() });
    let address = address(&listener);
    let served = serving(
        listener,
        |connection| async move {
            let (mut total, mut chunks) = (0, chunks(connection, 1000));
            while let Some(chunk) = chunks.next().await? {
                total += chunk.len();
            }
            assert_eq!(total, 100_000);
            Ok::<_, io::Error>(())
        },
        async || {
            let mut stream = connect(address).await;
            stream.write_all(&vec![b'x'; 100_000]).await.unwrap();
            stream.shutdown().await.unwrap();
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
        },
    );
    assert_eq!(served.await.accepted, 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn lines_do_not_depend_on_how_the_bytes_arrive(
        text in "[abc\r\n]{0,60}",
        piece in 1_usize..10,
    ) {
        let read = async |pieces: Vec<&[u8]>| {
            let (mut writer, reader) = duplex(16);
            let write = async {
                for piece in pieces {
                    writer.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
                drop(writer);
            };
            let mut lines = LineReader::new(reader, 64);
            let mut all = Vec::new();
            let read = async {
                while let Some(line) = lines.next().await.unwrap() {
                    all.push(line.to_vec());
                }
            };
            tokio::join!(write, read);
            all
        };
        staunch::testing::run(async {
            let at_once = read(vec![text.as_bytes()]).await;
            assert_eq!(read(text.as_bytes().chunks(piece).collect()).await, at_once);
        });
    }
}
