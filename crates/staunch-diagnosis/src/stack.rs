//! What a stack tells by its function names: what is library, what is the program's own, and which
//! functions belong together.

use std::collections::BTreeSet;

use crate::{Frame, TaskGroup, catalogue};

/// The package of a function: `net/http` of `net/http.(*conn).serve`.
pub(crate) fn package(function: &str) -> &str {
    let path = function.rfind('/').map_or(0, |slash| slash + 1);
    let end = function[path..].find('.').map_or(function.len(), |dot| path + dot);
    &function[..end]
}

/// The type or top-level function that a function is part of: `main.Stopper` of
/// `main.(*Stopper).Stop.func1`, `main.serve` of `main.serve.func2.1`, `main.G` of `main.G[...].Put`.
/// What has one owner is likely to know the same channels and locks.
pub(crate) fn owner(function: &str) -> String {
    let package = package(function);
    let rest = function[package.len()..].trim_start_matches('.').trim_start_matches(['(', '*']);
    let end = rest.find(['.', ')', '[']).unwrap_or(rest.len());
    format!("{package}.{}", &rest[..end])
}

/// Whether a function, as Go's runtime names it, is of Go's standard library.
///
/// ```
/// assert!(staunch_diagnosis::is_standard("net/http.(*conn).serve"));
/// assert!(!staunch_diagnosis::is_standard("main.main"));
/// ```
#[must_use]
pub fn is_standard(function: &str) -> bool {
    let package = package(function);
    let root = package.split('/').next().unwrap_or(package);
    STANDARD.binary_search(&root).is_ok()
}

/// Whether a function only passes a wait on: it is about channels and locks of whoever calls it.
fn is_plumbing(function: &str) -> bool {
    is_standard(function) || package(function).starts_with("golang.org/x/sync")
}

/// The call in which the program itself waits: the innermost that is no plumbing.
pub(crate) fn waiting_call(frames: &[Frame]) -> Option<&Frame> {
    frames.iter().find(|frame| !is_plumbing(&frame.function))
}

/// Whether the wait is for the machinery of a library, such as a response of `net/http` or a connection
/// of `database/sql`, rather than for a primitive of the program: it waits within a standard package, or
/// within a library of the [catalogue] whose own goroutine it is.
pub(crate) fn waits_in_library(frames: &[Frame]) -> bool {
    let Some(call) = frames.iter().find(|frame| !is_primitive(&frame.function)) else {
        return false;
    };
    let is_listed = |frame: &Frame| catalogue::is_listed(package(&frame.function));
    is_standard(&call.function) || (is_listed(call) && entry(frames).is_some_and(is_listed))
}

/// Whether a function is of what makes channels, locks and times, and no library on top of them.
fn is_primitive(function: &str) -> bool {
    let package = package(function);
    matches!(package, "runtime" | "sync" | "time" | "reflect") || package.starts_with("internal/")
}

/// The program's own calls.
pub(crate) fn own_calls(frames: &[Frame]) -> impl Iterator<Item = &Frame> {
    frames.iter().filter(|frame| !is_plumbing(&frame.function))
}

/// The outermost call: the function that the task was started with.
pub(crate) fn entry(frames: &[Frame]) -> Option<&Frame> {
    frames.iter().rfind(|frame| &*frame.function != "runtime.goexit")
}

/// The owners of a task's calls and of the line that started it.
pub(crate) fn owners(group: &TaskGroup) -> BTreeSet<String> {
    let birth = group.birth.iter().filter(|birth| !is_plumbing(&birth.function));
    own_calls(&group.frames).chain(birth).map(|frame| owner(&frame.function)).collect()
}

/// Whether any call of a stack is `function`.
pub(crate) fn calls(frames: &[Frame], function: &str) -> bool {
    frames.iter().any(|frame| &*frame.function == function)
}

/// The first elements of the paths of Go's standard packages, sorted.
const STANDARD: [&str; 50] = [
    "archive",
    "bufio",
    "bytes",
    "cmp",
    "compress",
    "container",
    "context",
    "crypto",
    "database",
    "debug",
    "embed",
    "encoding",
    "errors",
    "expvar",
    "flag",
    "fmt",
    "go",
    "hash",
    "html",
    "image",
    "index",
    "internal",
    "io",
    "iter",
    "log",
    "maps",
    "math",
    "mime",
    "net",
    "os",
    "path",
    "plugin",
    "reflect",
    "regexp",
    "runtime",
    "slices",
    "sort",
    "strconv",
    "strings",
    "structs",
    "sync",
    "syscall",
    "testing",
    "text",
    "time",
    "unicode",
    "unique",
    "unsafe",
    "vendor",
    "weak",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted() {
        assert!(STANDARD.is_sorted());
    }

    #[test]
    fn packages_and_owners() {
        let check = |function, expected_package, expected_owner| {
            assert_eq!(package(function), expected_package);
            assert_eq!(owner(function), expected_owner);
        };
        check("main.main", "main", "main.main");
        check("main.(*Stopper).Stop.func1", "main", "main.Stopper");
        check("main.serve.func2.1", "main", "main.serve");
        check("main.G[...].Put", "main", "main.G");
        check("main.(*G[...]).Put", "main", "main.G");
        check("net/http.(*conn).serve", "net/http", "net/http.conn");
        check("github.com/a.b/c%2ev2.T.f", "github.com/a.b/c%2ev2", "github.com/a.b/c%2ev2.T");
        check("", "", ".");
    }

    #[test]
    fn what_is_standard() {
        for function in ["net/http.Get", "runtime.gopark", "internal/sync.(*Mutex).lockSlow"] {
            assert!(is_standard(function), "{function}");
        }
        for function in ["main.main", "golang.org/x/net/http2.f", "app/net.f", "network.f"] {
            assert!(!is_standard(function), "{function}");
        }
    }

    fn frames(functions: &[&str]) -> Vec<Frame> {
        let frame = |it: &&str| Frame { function: (*it).into(), file: "".into(), line: 1 };
        functions.iter().map(frame).collect()
    }

    #[test]
    fn whose_wait_it_is() {
        let own =
            frames(&["sync.(*Mutex).Lock", "golang.org/x/sync/errgroup.(*Group).Wait", "main.f"]);
        assert_eq!(&*waiting_call(&own).unwrap().function, "main.f");
        assert!(!waits_in_library(&own));
        let http =
            frames(&["net/http.(*persistConn).roundTrip", "net/http.(*Client).Do", "main.f"]);
        assert!(waits_in_library(&http));
        let writer = "google.golang.org/grpc/internal/transport.(*loopyWriter).run";
        assert!(waits_in_library(&frames(&[writer])));
        assert!(!waits_in_library(&frames(&[writer, "main.watch"])), "started by the program");
        assert_eq!(waiting_call(&frames(&["net/http.(*persistConn).writeLoop"])), None);
    }
}
