//! A saved dump: what it is, is told by how it begins.
//!
//! What is read ends: files only, for a named pipe or a device may never do so; and it is asked at every
//! piece whether it is enough ([`read_saved`]).

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use flate2::bufread::MultiGzDecoder;
use rustix::fs::OFlags;
use staunch_diagnosis::{Heap, Snapshot, Tasks};

use super::{
    go::{
        GoroutineDumpError, GoroutineDumpLimits, PROFILE_BYTES_MAX, ProfileError, TextProfileError,
        is_goroutine_text, is_heap_text, is_profile, read_goroutine_dump, read_goroutine_text,
        read_heap_text, read_profile,
    },
    jvm::{
        is_class_histogram, is_thread_dump, read_class_histogram, read_thread_dump,
        thread_dump_time,
    },
    ledger::{LedgerSourceError, read_ledger},
    sockets::{is_socket_list, read_sockets},
    text::{TextError, excerpt},
};

/// The most that is read of a document which has to be in memory as a whole, and of a text.
const DOCUMENT_BYTES_MAX: u64 = 256 << 20;

/// What is looked at to tell what a file is.
const BEGINNING_BYTES: usize = 64 << 10;

/// What a saved dump shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    /// What was seen.
    pub snapshot: Snapshot,
    /// When, if it says so: a number that is larger in a later one of the same kind.
    pub taken: Option<u64>,
}

/// Why a saved dump could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SavedError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is no file.
    #[error("{} is {what}, which may never end: save it to a file first", path.display())]
    NoFile {
        /// What was to be read.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// There is nothing in it.
    #[error("{} is empty: save it again", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// It is none of what can be read.
    #[error(
        "{} begins with `{begins}`, and is none of what can be read: a goroutine dump \
         (/debug/pprof/goroutine?debug=2, a panic, SIGQUIT), a profile of goroutines or of a heap, a \
         thread dump (jstack), a class histogram (jcmd GC.class_histogram), a list of sockets (ss -tan, \
         netstat -tan), or a Staunch ledger (/debug/ledger)",
        path.display()
    )]
    Unknown {
        /// The file.
        path: PathBuf,
        /// How it begins.
        begins: String,
    },
    /// It is larger than is read.
    #[error("{}: larger than {limit} bytes, which is the most that is read of such a file", path.display())]
    Large {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// It begins as a goroutine dump, and is none.
    #[error("{}: its goroutines cannot be read", path.display())]
    Dump {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: GoroutineDumpError,
    },
    /// It is no profile.
    #[error("{}: its profile cannot be used", path.display())]
    Profile {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: ProfileError,
    },
    /// It begins as a profile in text, and is none.
    #[error("{}: its profile cannot be used", path.display())]
    TextProfile {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: TextProfileError,
    },
    /// It is no ledger.
    #[error("{}: its ledger cannot be used", path.display())]
    Ledger {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: LedgerSourceError,
    },
    /// It begins as a text of a JVM or a list of sockets, and is none.
    #[error("{}: it cannot be read to its end", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: TextError,
    },
}

/// The first bytes of a gzip file (RFC 1952, 2.3.1), as which Go writes profiles.
const GZIP: &[u8] = &[0x1f, 0x8b];

/// Reads a saved dump: of goroutines (`debug=2`, a panic, SIGQUIT), a profile of goroutines or of the
/// heap (protobuf or, `debug=1`, text), a Staunch ledger, threads of a JVM (`jstack`, `jcmd
/// Thread.print`), its class histogram, or a list of sockets (`ss -tan`, `netstat -tan`); each of them
/// packed by gzip or not. Blocks.
///
/// # Errors
/// [`SavedError`]
pub fn read_file(path: &Path) -> Result<Snapshot, SavedError> {
    Ok(read_saved(path, || false)?.snapshot)
}

/// The same, with the time at which it was taken; ends with [`SavedError::Read`] when `is_enough` says so.
///
/// # Errors
/// [`SavedError`]
pub fn read_saved(path: &Path, is_enough: impl Fn() -> bool) -> Result<Saved, SavedError> {
    let unreadable = |source| SavedError::Read { path: path.to_owned(), source };
    let file = open(path)?;
    let file = Ending { reader: file, is_enough };
    let mut reader = BufReader::with_capacity(BEGINNING_BYTES, file);
    if !reader.fill_buf().map_err(unreadable)?.starts_with(GZIP) {
        return read_plain(path, reader);
    }
    read_plain(path, BufReader::with_capacity(BEGINNING_BYTES, MultiGzDecoder::new(reader)))
}

/// Without waiting for whoever would write into a named pipe.
fn open(path: &Path) -> Result<File, SavedError> {
    let unreadable = |source| SavedError::Read { path: path.to_owned(), source };
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(unreadable)?;
    let kind = file.metadata().map_err(unreadable)?.file_type();
    let what = match () {
        () if kind.is_file() => return Ok(file),
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a pipe",
        () => "a device",
    };
    Err(SavedError::NoFile { path: path.to_owned(), what })
}

fn read_plain(path: &Path, mut reader: impl BufRead) -> Result<Saved, SavedError> {
    let unreadable = |source| SavedError::Read { path: path.to_owned(), source };
    let beginning = reader.fill_buf().map_err(unreadable)?;
    let kind = Kind::of(beginning);
    let begins = excerpt(&String::from_utf8_lossy(beginning));
    let taken = thread_dump_time(beginning);
    let path = path.to_owned();
    match kind {
        Kind::Nothing => Err(SavedError::Empty { path }),
        Kind::Profile => match read_profile(reader, PROFILE_BYTES_MAX) {
            Ok((snapshot, taken)) => Ok(Saved { snapshot, taken }),
            Err(source) => Err(SavedError::Profile { path, source }),
        },
        _ => match read_text(kind, reader, path) {
            Ok(snapshot) => Ok(Saved { snapshot, taken }),
            Err(SavedError::Dump { path, source: GoroutineDumpError::NoGoroutine { .. } }) => {
                Err(SavedError::Unknown { path, begins })
            }
            Err(error) => Err(error),
        },
    }
}

/// Reads a text; goroutines, if it is of no other kind.
fn read_text(kind: Kind, reader: impl BufRead, path: PathBuf) -> Result<Snapshot, SavedError> {
    let text = |source| SavedError::Text { path: path.clone(), source };
    let profile = |source| SavedError::TextProfile { path: path.clone(), source };
    Ok(match kind {
        Kind::Ledger => {
            let document = document(reader, &path)?;
            read_ledger(&document).map_err(|source| SavedError::Ledger { path, source })?
        }
        Kind::GoroutineText => {
            tasks_alone(read_goroutine_text(reader, DOCUMENT_BYTES_MAX).map_err(profile)?)
        }
        Kind::HeapText => heap_alone(read_heap_text(reader, DOCUMENT_BYTES_MAX).map_err(profile)?),
        Kind::Threads => read_thread_dump(reader).map_err(text)?.into(),
        Kind::Classes => heap_alone(read_class_histogram(reader).map_err(text)?),
        Kind::Sockets => {
            let sockets = Some(read_sockets(reader).map_err(text)?);
            Snapshot { sockets, ..Snapshot::default() }
        }
        Kind::Goroutines | Kind::Nothing | Kind::Profile => {
            let tasks = read_goroutine_dump(reader, &GoroutineDumpLimits::default());
            tasks_alone(tasks.map_err(|source| SavedError::Dump { path, source })?)
        }
    })
}

fn tasks_alone(tasks: Tasks) -> Snapshot {
    Snapshot { tasks: Some(tasks), ..Snapshot::default() }
}

fn heap_alone(heap: Heap) -> Snapshot {
    Snapshot { heap: Some(heap), ..Snapshot::default() }
}

fn document(reader: impl Read, path: &Path) -> Result<Vec<u8>, SavedError> {
    let mut document = Vec::new();
    let read = reader.take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut document);
    read.map_err(|source| SavedError::Read { path: path.to_owned(), source })?;
    if document.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(SavedError::Large { path: path.to_owned(), limit: DOCUMENT_BYTES_MAX });
    }
    Ok(document)
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Nothing,
    Profile,
    Ledger,
    GoroutineText,
    HeapText,
    Threads,
    Classes,
    Sockets,
    /// Or nothing that is known: goroutines may come behind any text.
    Goroutines,
}

impl Kind {
    /// What begins so.
    fn of(beginning: &[u8]) -> Kind {
        let text = beginning.trim_ascii_start();
        match () {
            () if text.is_empty() => Kind::Nothing,
            () if is_profile(beginning) => Kind::Profile,
            () if text.starts_with(b"{") => Kind::Ledger,
            () if is_goroutine_text(beginning) => Kind::GoroutineText,
            () if is_heap_text(beginning) => Kind::HeapText,
            () if is_thread_dump(beginning) => Kind::Threads,
            () if is_class_histogram(beginning) => Kind::Classes,
            () if is_socket_list(beginning) => Kind::Sockets,
            () => Kind::Goroutines,
        }
    }
}

/// A reader that ends with an error when it is enough.
struct Ending<R, F> {
    reader: R,
    is_enough: F,
}

impl<R: Read, F: Fn() -> bool> Read for Ending<R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.is_enough)() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it was not read to its end"));
        }
        self.reader.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, error::Error, io::Write as _};

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    const DUMP: &str = "goroutine 7 [chan send, 3 minutes]:\nmain.f()\n\t/a.go:12 +0x1d\n";

    fn written(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn refused(bytes: &[u8]) -> String {
        chain(&read_file(written(bytes).path()).unwrap_err())
    }

    /// With all that is behind it.
    fn chain(error: &dyn Error) -> String {
        let behind = error.source().map(chain).unwrap_or_default();
        format!("{error}: {behind}")
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    #[test]
    fn what_is_packed_is_unpacked_whatever_it_is() {
        let plain = read_file(written(DUMP.as_bytes()).path()).unwrap();
        assert_eq!(read_file(written(&packed(DUMP.as_bytes())).path()).unwrap(), plain);
        let sockets = b"CLOSE-WAIT 1      0      127.0.0.1:8080 127.0.0.1:40123\n";
        let read = read_file(written(&packed(sockets)).path()).unwrap();
        assert_eq!(read.sockets.map(|it| it.len()), Some(1));
        let cut = &packed(DUMP.as_bytes())[..30];
        assert!(refused(cut).contains("cannot read"), "{}", refused(cut));
        let bomb = packed(&vec![b'x'; 4 << 20]);
        assert!(bomb.len() < 64 << 10 && refused(&bomb).contains("line 1: "), "{}", refused(&bomb));
    }

    #[test]
    fn profiles_in_text_are_read() {
        let goroutines = b"goroutine profile: total 3\n3 @ 0x1\n#\t0x1\tmain.f+0x1\t\t/a.go:7\n\n";
        let tasks = read_file(written(goroutines).path()).unwrap().tasks.unwrap();
        assert_eq!(tasks.groups[0].count, 3);
        let heap = b"heap profile: 1: 2 [3: 4] @ heap/2\n1: 2 [3: 4] @ 0x1\n#\t0x1\tmain.f+0x1\t/a.go:7\n\n";
        assert_eq!(read_file(written(heap).path()).unwrap().heap.unwrap().sites[0].live_bytes, 2);
    }

    #[test]
    fn what_is_nothing_or_unknown_says_so() {
        assert!(refused(b"").contains("is empty: save it again"), "{}", refused(b""));
        assert!(refused(b"\n\n").contains("is empty"), "{}", refused(b"\n\n"));
        let unknown = refused(b"hello\x1b[31m\nworld\n");
        for part in
            ["begins with `hello.[31m`", "goroutine dump", "jstack", "class_histogram", "ss -tan"]
        {
            assert!(unknown.contains(part), "no {part} in {unknown}");
        }
        let cut = refused(&DUMP.as_bytes()[..DUMP.len() - 14]);
        assert!(cut.contains("its goroutines cannot be read"), "{cut}");
    }

    #[test]
    fn what_may_never_end_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let error = |path: &Path| read_file(path).unwrap_err().to_string();
        assert!(error(&pipe).contains("is a pipe"), "{}", error(&pipe));
        assert!(error(folder.path()).contains("is a folder"), "{}", error(folder.path()));
        assert!(error(Path::new("/dev/zero")).contains("is a device"));
    }

    #[test]
    fn reading_ends_when_it_is_enough() {
        let file = written(format!("{DUMP}\n").repeat(10_000).as_bytes());
        let pieces = Cell::new(0);
        let is_enough = || pieces.replace(pieces.get() + 1) == 2;
        let error = read_saved(file.path(), is_enough).unwrap_err();
        assert!(chain(&error).contains("not read to its end"), "{error}");
        assert_eq!(pieces.get(), 3);
    }

    #[test]
    fn what_says_when_it_was_taken_is_ordered_by_it() {
        let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/captures");
        let taken = |name: &str| read_saved(&captures.join(name), || false).unwrap().taken;
        let threads = ["jstack-0.txt", "jstack-1.txt"];
        let threads = threads.map(|name| taken(&format!("java-thread-blocked/{name}")));
        assert!(threads[0].is_some() && threads[0] < threads[1], "{threads:?}");
        let heaps = ["heap-0.pb.gz", "heap-2.pb.gz"];
        let heaps = heaps.map(|name| taken(&format!("go-rows-not-closed/{name}")));
        assert!(heaps[0].is_some() && heaps[0] < heaps[1], "{heaps:?}");
        assert_eq!(taken("java-close-wait/ss-0.txt"), None);
    }
}
