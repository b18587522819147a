//! Names of source files and functions, cut or completed to what tells them apart.

use std::path::Path;

/// A file from its crate's directory on, where it lies in a `src`: `tokio-1.54.1/src/lib.rs`,
/// `core/src/hint.rs`. Others are left as they are.
pub(super) fn short(file: &str) -> &str {
    let Some(src) = file.rfind("/src/") else { return file };
    let package = file[..src].rfind('/').map_or(0, |slash| slash + 1);
    &file[package..]
}

/// The name of a function. Debug information that is no more than line tables knows many by
/// their last word only, with the types they are made for; these get their file instead, so
/// that no `new` is taken for another.
pub(super) fn in_full(name: String, file: &str) -> String {
    let is_rust = Path::new(file).extension().is_some_and(|extension| extension == "rs");
    match name.split('<').next() {
        Some(word) if is_rust && !word.is_empty() && !word.contains("::") => {
            format!("{word}@{}", short(file))
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_begin_with_the_crate() {
        let check = |file, expected| assert_eq!(short(file), expected);
        check("crates/staunch-net/src/listener.rs", "staunch-net/src/listener.rs");
        check("src/main.rs", "src/main.rs");
        check("/home/x/.cargo/registry/src/index.crates.io-1/a-1.2/src/b/c.rs", "a-1.2/src/b/c.rs");
        check("/rustc/59807616/library/core/src/hint.rs", "core/src/hint.rs");
        check("crates/a/tests/b.rs", "crates/a/tests/b.rs");
    }

    #[test]
    fn functions_known_by_one_word_get_their_file() {
        let check = |name: &str, file, expected: &str| {
            assert_eq!(in_full(name.to_owned(), file), expected);
        };
        check("new", "/x/registry/src/i/a-1.2/src/a.rs", "new@a-1.2/src/a.rs");
        check("read<a::B, c::D>", "src/a.rs", "read@src/a.rs");
        check("a::new", "src/a.rs", "a::new");
        check("<a::B as c::D>::new", "src/a.rs", "<a::B as c::D>::new");
        check("start_thread", "./nptl/pthread_create.c", "start_thread");
        check("clone3", "", "clone3");
    }
}
