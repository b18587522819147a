//! Names of source files and functions, cut or completed to what tells them apart.

use std::path::Path;

/// A file without the part of its path that says where dependencies are unpacked
/// (`tokio-1.54.1/src/lib.rs`) or the standard library was built (`library/core/src/hint.rs`).
/// Files of the workspace are left as the compiler names them.
pub(super) fn short(file: &str) -> &str {
    let below = |directory| file.split_once(directory).and_then(|(_, rest)| rest.split_once('/'));
    let below = below("/registry/src/").or_else(|| below("/rustc/"));
    below.map_or(file, |(_, rest)| rest)
}

/// The name of a function. Debug information that is no more than line tables knows many by
/// their last word only; these get their file, so that no `new` is taken for another.
pub(super) fn in_full(name: String, file: &str) -> String {
    let is_rust = Path::new(file).extension().is_some_and(|extension| extension == "rs");
    if name.contains("::") || !is_rust { name } else { format!("{name}@{}", short(file)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_dependencies_and_of_the_library_are_cut() {
        let check = |file, expected| assert_eq!(short(file), expected);
        check("crates/staunch-net/src/listener.rs", "crates/staunch-net/src/listener.rs");
        check("/home/x/.cargo/registry/src/index.crates.io-1/a-1.2/src/a.rs", "a-1.2/src/a.rs");
        check("/rustc/59807616/library/core/src/hint.rs", "library/core/src/hint.rs");
        check("/build/src/main.rs", "/build/src/main.rs");
    }

    #[test]
    fn functions_known_by_one_word_get_their_file() {
        let check = |name: &str, file, expected: &str| {
            assert_eq!(in_full(name.to_owned(), file), expected);
        };
        check("new", "/x/registry/src/i/a-1.2/src/a.rs", "new@a-1.2/src/a.rs");
        check("a::new", "src/a.rs", "a::new");
        check("start_thread", "./nptl/pthread_create.c", "start_thread");
        check("clone3", "", "clone3");
    }
}
