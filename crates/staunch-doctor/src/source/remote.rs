//! A service that shows itself over HTTP: Go's `net/http/pprof`, or a Staunch service's admin
//! endpoint.
//!
//! What it sends is read within limits, whatever it claims to be: an endless page ends at
//! [`DOCUMENT_BYTES_MAX`], and a slow one at [`ANSWER_TIME_MAX`].
//!
//! A Go service's heap is asked for with `gc=1`. Its profile is as of the last collection that was
//! completed, and a quiet service collects once in two minutes: without a collection now, neither
//! what was allocated since would be in it nor what was freed. A service without such a page is
//! looked at without it.
//!
//! Go 1.26 with `GOEXPERIMENT=goroutineleakprofile` offers `/debug/pprof/goroutineleak`: a collection marks
//! those goroutines that nobody who runs can reach, and dumps say `(leaked)` of them from then on. So it is
//! asked for when the heap is, and the goroutines are looked at again if there are any. That is evidence
//! beside the others, for what a global variable refers to is never marked.
//!
//! Sources: `runtime.MemProfile`, `profileHandler` of `net/http/pprof`, and `writeGoroutineLeak` of
//! `runtime/pprof`.

use std::time::Duration;

use staunch_diagnosis::{Heap, Snapshot, Tasks};
use staunch_http::{AnswerBody, Client, ClientError, ReadAnswerError};
use url::Url;

use crate::watch::chain;

use super::{
    Look,
    go::{
        GoroutineDumpError, GoroutineDumpLimits, ProfileError, is_profile, read_goroutine_dump,
        read_heap_profile,
    },
    ledger::{LedgerSourceError, read_ledger},
};

/// The most that is read of one page: a dump of half a million goroutines.
pub(crate) const DOCUMENT_BYTES_MAX: u64 = 256 << 20;

/// The longest that one page may take. A service stops for a dump for milliseconds; what takes
/// longer is under way, or never comes.
pub(crate) const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// Why a service could not be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// There was no answer.
    #[error("{url}: no answer")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why there was none.
        source: ClientError,
    },
    /// The answer broke off, or is larger than is read.
    #[error("{url}: its answer cannot be read to the end")]
    Read {
        /// What was asked for.
        url: String,
        /// What went wrong.
        source: ReadAnswerError,
    },
    /// The service does not let us look.
    #[error(
        "{url}: {status}{said}; if it wants to know who asks, give --header 'Authorization: Bearer TOKEN'"
    )]
    Denied {
        /// What was asked for.
        url: String,
        /// 401 or 403.
        status: u16,
        /// The first line of what it said, quoted.
        said: String,
    },
    /// It has neither `/debug/pprof` nor `/debug/ledger`.
    #[error(
        "{url}: {status}{said}; a Staunch service shows itself on its admin endpoint alone (`listen` of \
         [admin]), a Go service when it imports net/http/pprof: give that address, and the path of its \
         index if that is not /debug/pprof"
    )]
    Absent {
        /// What was asked for.
        url: String,
        /// Its answer.
        status: u16,
        /// The first line of what it said, quoted.
        said: String,
    },
    /// What it says is something else from the first.
    #[error("{url}: that is no {expected}: it begins with `{begins}`")]
    Foreign {
        /// What was asked for.
        url: String,
        /// What should have come.
        expected: &'static str,
        /// What came.
        begins: String,
    },
    /// What it says is no goroutine dump.
    #[error("{url}: that is no goroutine dump")]
    Dump {
        /// What was asked for.
        url: String,
        /// Why not.
        source: GoroutineDumpError,
    },
    /// What it says is no profile of a heap.
    #[error("{url}: that is no profile of a heap")]
    Heap {
        /// What was asked for.
        url: String,
        /// Why not.
        source: ProfileError,
    },
    /// What it says is no ledger.
    #[error("{url}: its ledger cannot be used")]
    Ledger {
        /// What was asked for.
        url: String,
        /// Why not.
        source: LedgerSourceError,
    },
}

/// A service.
pub(crate) struct Remote {
    client: Client,
    headers: Vec<(String, String)>,
    page: Page,
    notes: Vec<String>,
}

/// What it shows, and where.
enum Page {
    Go(GoPages),
    Ledger(Url),
}

/// Where a Go service shows what.
struct GoPages {
    goroutines: Url,
    /// `None` once it is known that there is none.
    heap: Option<Url>,
    /// `None` once it is known that there is none.
    leaks: Option<Url>,
}

/// A page that a service need not have is not there, or is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Absent;

impl Remote {
    /// Finds out what the service at `base` shows.
    pub(crate) async fn discover(
        client: Client,
        headers: Vec<(String, String)>,
        base: &Url,
    ) -> Result<Remote, RemoteError> {
        let ledger = below(base, "debug/ledger", "limit=1");
        let page = Page::Ledger(ledger.clone());
        let mut remote = Remote { client, headers, page, notes: Vec::new() };
        let is_index = base.path().contains("pprof");
        let has_ledger = !is_index
            && match remote.fetch(&ledger, Document::Ledger).await {
                Ok(document) => read_ledger(&document).is_ok(),
                // A Go service may answer anything to a path that it does not know.
                Err(RemoteError::Absent { .. } | RemoteError::Foreign { .. }) => false,
                Err(error) => return Err(error),
            };
        remote.page = if has_ledger {
            Page::Ledger(below(base, "debug/ledger", "limit=1000"))
        } else {
            Page::Go(GoPages::below(base, if is_index { "" } else { "debug/pprof/" }))
        };
        Ok(remote)
    }

    /// What the service shows now. That its heap is not shown is a note, and no error.
    pub(crate) async fn look(&mut self, turn: Look) -> Result<Snapshot, RemoteError> {
        let pages = match &self.page {
            Page::Ledger(url) => return self.ledger(url).await,
            Page::Go(pages) => pages,
        };
        let mut tasks = self.goroutines(&pages.goroutines).await?;
        let leaks = match &pages.leaks {
            Some(url) if turn != Look::Between => Some(self.has_leaks(url).await),
            _ => None,
        };
        if leaks == Some(Ok(true)) {
            tasks = self.goroutines(&pages.goroutines).await.unwrap_or(tasks);
        }
        let heap = match &pages.heap {
            Some(url) if turn != Look::Between => Some(self.heap(url).await),
            _ => None,
        };
        if let (Some(Err(Absent)), Page::Go(pages)) = (leaks, &mut self.page) {
            pages.leaks = None;
        }
        let heap = heap.and_then(|heap| self.or_note(heap));
        Ok(Snapshot { tasks: Some(tasks), heap, ..Snapshot::default() })
    }

    /// Why less was seen than there might be.
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    async fn ledger(&self, url: &Url) -> Result<Snapshot, RemoteError> {
        let document = self.fetch(url, Document::Ledger).await?;
        read_ledger(&document).map_err(|source| RemoteError::Ledger { url: shown(url), source })
    }

    async fn goroutines(&self, url: &Url) -> Result<Tasks, RemoteError> {
        let dump = self.fetch(url, Document::Goroutines).await?;
        let limits = GoroutineDumpLimits { bytes: DOCUMENT_BYTES_MAX, ..Default::default() };
        let wrong = |source| RemoteError::Dump { url: shown(url), source };
        read_goroutine_dump(&dump[..], &limits).map_err(wrong)
    }

    /// Has the service mark the goroutines that nobody can wake; whether there are any.
    async fn has_leaks(&self, url: &Url) -> Result<bool, Absent> {
        let page = self.fetch(url, Document::Leaks).await.map_err(|_| Absent)?;
        let first = page.split(|byte| *byte == b'\n').next().unwrap_or_default();
        Ok(!first.ends_with(b" total 0"))
    }

    async fn heap(&self, url: &Url) -> Result<Heap, RemoteError> {
        let profile = self.fetch(url, Document::Heap).await?;
        let wrong = |source| RemoteError::Heap { url: shown(url), source };
        read_heap_profile(&profile[..], DOCUMENT_BYTES_MAX).map_err(wrong)
    }

    /// A heap that cannot be seen is not asked for again.
    fn or_note(&mut self, heap: Result<Heap, RemoteError>) -> Option<Heap> {
        let error = match heap {
            Ok(heap) => return Some(heap),
            Err(error) => error,
        };
        self.notes.push(format!("its heap was not examined: {}", chain(&error)));
        if let Page::Go(pages) = &mut self.page {
            pages.heap = None;
        }
        None
    }

    async fn fetch(&self, url: &Url, expected: Document) -> Result<Vec<u8>, RemoteError> {
        let unreachable = |source| RemoteError::Unreachable { url: shown(url), source };
        let mut request = self.client.get(url).timeout(ANSWER_TIME_MAX);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status().as_u16();
        if status != 200 {
            let (url, said) = (shown(url), said(answer.into_body()).await);
            return Err(match status {
                401 | 403 => RemoteError::Denied { url, status, said },
                _ => RemoteError::Absent { url, status, said },
            });
        }
        let broken = |source| RemoteError::Read { url: shown(url), source };
        let (mut body, mut document) = (answer.into_body(), Vec::new());
        let mut is_known = false;
        // The client reads no more than `DOCUMENT_BYTES_MAX`.
        while let Some(piece) = body.chunk().await.map_err(broken)? {
            document.extend_from_slice(&piece);
            if !is_known && document.len() >= BEGINNING_BYTES {
                expected.check(&document, url)?;
                is_known = true;
            }
        }
        expected.check(&document, url)?;
        Ok(document)
    }
}

impl GoPages {
    fn below(base: &Url, folder: &str) -> GoPages {
        let page = |name, query| below(base, &format!("{folder}{name}"), query);
        GoPages {
            goroutines: page("goroutine", "debug=2"),
            heap: Some(page("heap", "gc=1")),
            leaks: Some(page("goroutineleak", "debug=1")),
        }
    }
}

/// What is known after so much of it: a page without end is not read to see what else it may be.
const BEGINNING_BYTES: usize = 64 << 10;

/// What a page should be.
#[derive(Clone, Copy)]
enum Document {
    Goroutines,
    Leaks,
    Heap,
    Ledger,
}

impl Document {
    fn check(self, document: &[u8], url: &Url) -> Result<(), RemoteError> {
        const SHOWN: usize = 60;
        const GOROUTINE: &[u8] = b"goroutine ";
        let beginning = &document[..document.len().min(BEGINNING_BYTES)];
        let (expected, is_it) = match self {
            Document::Goroutines => {
                ("goroutine dump", beginning.windows(GOROUTINE.len()).any(|it| it == GOROUTINE))
            }
            Document::Leaks => {
                ("profile of leaked goroutines", document.starts_with(b"goroutineleak profile: "))
            }
            Document::Heap => {
                ("heap profile", document.starts_with(&[0x1f, 0x8b]) || is_profile(document))
            }
            Document::Ledger => ("ledger", beginning.trim_ascii_start().starts_with(b"{")),
        };
        if is_it {
            return Ok(());
        }
        let begins = String::from_utf8_lossy(&document[..document.len().min(SHOWN)]);
        let begins = begins.escape_debug().to_string();
        Err(RemoteError::Foreign { url: shown(url), expected, begins })
    }
}

/// What is read of a page that is a refusal.
const REFUSAL_BYTES_MAX: usize = 4 << 10;

/// The first line of a refusal, quoted and with a space before it, if it says something to people. It says
/// why better than its status does.
async fn said(mut body: AnswerBody) -> String {
    let mut text = Vec::new();
    while text.len() < REFUSAL_BYTES_MAX {
        let Ok(Some(piece)) = body.chunk().await else { break };
        let room = REFUSAL_BYTES_MAX - text.len();
        text.extend_from_slice(&piece[..piece.len().min(room)]);
    }
    first_line(&text).map(|line| format!(" \"{line}\"")).unwrap_or_default()
}

/// Without control characters, and no more than fits into a message; `None` of a page of HTML or JSON.
fn first_line(text: &[u8]) -> Option<String> {
    const SHOWN: usize = 200;
    let text = String::from_utf8_lossy(text);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    let is_for_people = !line.starts_with(['<', '{', '[']);
    is_for_people.then(|| line.chars().filter(|it| !it.is_control()).take(SHOWN).collect())
}

/// `path` below the path of `base`.
fn below(base: &Url, path: &str, query: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
    url.set_query(Some(query));
    url.set_fragment(None);
    url
}

/// Without credentials.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    let _ = (url.set_username(""), url.set_password(None));
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_below_the_base() {
        let check = |base: &str, expected: &str| {
            let base = Url::parse(base).unwrap();
            assert_eq!(below(&base, "debug/ledger", "limit=1").as_str(), expected);
        };
        check("http://a:1", "http://a:1/debug/ledger?limit=1");
        check("http://a:1/x/?y#z", "http://a:1/x/debug/ledger?limit=1");
        let pages = GoPages::below(&Url::parse("http://a:1/").unwrap(), "debug/pprof/");
        assert_eq!(pages.goroutines.as_str(), "http://a:1/debug/pprof/goroutine?debug=2");
        assert_eq!(pages.heap.unwrap().as_str(), "http://a:1/debug/pprof/heap?gc=1");
    }

    #[test]
    fn a_refusal_is_shown_by_its_first_line() {
        let line = |text: &str| first_line(text.as_bytes());
        assert_eq!(line("\n\u{1b}[31mask\u{7}\r\nme"), Some("[31mask".to_owned()));
        assert_eq!(line(&"x".repeat(999)).map(|it| it.len()), Some(200));
        for nothing in ["", "\r\n", "<html>no", "{\"error\":1}"] {
            assert_eq!(line(nothing), None);
        }
    }

    #[test]
    fn a_page_that_is_no_profile_is_told_by_its_beginning() {
        let url = Url::parse("http://a:1").unwrap();
        assert!(Document::Heap.check(&[0x1f, 0x8b, 8], &url).is_ok());
        assert!(Document::Heap.check(&[0x5a, 4, 8, 1, 0x10, 2], &url).is_ok());
        let error = Document::Heap.check(b"<html>hello", &url).unwrap_err();
        assert!(error.to_string().contains("no heap profile"), "{error}");
    }
}
