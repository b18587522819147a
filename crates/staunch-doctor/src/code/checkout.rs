//! Which files there are below a folder, and which of them a path of a running program means.
//!
//! # Invariants
//! 1. Nothing outside of the folder is read: links are not followed, and a file is one that was found
//!    by walking.
//! 2. How many entries are looked at, how deep, and how long a file may be, is bounded.

use std::{
    fs::{self, File, FileType},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::file::Language;

/// More than the largest checkouts have.
const ENTRIES_MAX: usize = 200_000;
const DEPTH_MAX: usize = 32;

/// Longer files are made by programs.
const FILE_MAX: u64 = 1 << 20;

/// Folders in which there is no source of the program.
const SKIPPED: [&str; 3] = [".git", "node_modules", "target"];

/// Why a folder cannot be used as a checkout.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckoutError {
    /// It cannot be read.
    #[error("cannot read the folder {} (--source wants the checkout of the program)", path.display())]
    Unreadable {
        /// What was to be read.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no source in it.
    #[error("no .go or .java file is in {} (--source wants the checkout of the program)", path.display())]
    NoSource {
        /// Where it was looked for.
        path: PathBuf,
    },
}

/// The source of a program, as it lies in a folder.
#[derive(Debug)]
pub struct Checkout {
    root: PathBuf,
    /// Paths below the folder, with `/`, in order.
    files: Vec<String>,
    /// Modules of Go: what `go.mod` calls them, and their folder.
    modules: Vec<(String, String)>,
    is_cut: bool,
}

/// What a path of the program means here.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'c> {
    One(&'c str),
    /// Several files are as likely.
    Several(Vec<&'c str>),
    None,
}

impl Checkout {
    /// Looks through a folder.
    ///
    /// # Errors
    /// When it cannot be read, or there is no source in it.
    pub fn open(folder: &Path) -> Result<Checkout, CheckoutError> {
        let unreadable = |source| CheckoutError::Unreadable { path: folder.to_owned(), source };
        let root = fs::canonicalize(folder).map_err(unreadable)?;
        fs::read_dir(&root).map_err(unreadable)?;
        let mut checkout = Checkout { root, files: Vec::new(), modules: Vec::new(), is_cut: false };
        checkout.walk();
        if checkout.files.is_empty() {
            return Err(CheckoutError::NoSource { path: folder.to_owned() });
        }
        checkout.files.sort();
        Ok(checkout)
    }

    /// Whether there was more than was looked at.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    fn walk(&mut self) {
        let mut open = vec![(String::new(), 0)];
        let mut seen = 0;
        while let Some((folder, depth)) = open.pop() {
            // A folder that may not be read has no source to show.
            for entry in fs::read_dir(self.root.join(&folder)).into_iter().flatten().flatten() {
                seen += 1;
                if seen > ENTRIES_MAX {
                    self.is_cut = true;
                    return;
                }
                let (Ok(kind), Ok(name)) = (entry.file_type(), entry.file_name().into_string())
                else {
                    continue;
                };
                let path =
                    if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
                if kind.is_dir() && depth < DEPTH_MAX && !SKIPPED.contains(&&*name) {
                    open.push((path, depth + 1));
                } else {
                    self.add(kind, &folder, &name, path);
                }
            }
        }
    }

    fn add(&mut self, kind: FileType, folder: &str, name: &str, path: String) {
        if !kind.is_file() || name.contains(char::is_control) {
            return;
        }
        if name == "go.mod" {
            let text = self.read(&path).unwrap_or_default();
            let module = text.lines().find_map(|line| line.trim().strip_prefix("module "));
            let module = module.map(|it| it.trim().trim_matches('"').to_owned());
            self.modules.extend(module.map(|it| (it, folder.to_owned())));
        } else if Language::of(name).is_some() {
            self.files.push(path);
        }
    }

    /// The text of a file that was found.
    pub(super) fn read(&self, path: &str) -> Option<String> {
        let path = self.root.join(path);
        let kind = fs::symlink_metadata(&path).ok()?;
        let mut text = String::new();
        let file = File::open(&path).ok().filter(|_| kind.is_file() && kind.len() <= FILE_MAX)?;
        file.take(FILE_MAX).read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// The source files in the folder of a file.
    pub(super) fn beside(&self, file: &str) -> impl Iterator<Item = &str> {
        let folder = file.rfind('/').map_or("", |slash| &file[..slash]).to_owned();
        let language = Language::of(file);
        self.files.iter().map(String::as_str).filter(move |it| {
            let of = it.rfind('/').map_or("", |slash| &it[..slash]);
            of == folder && Language::of(it) == language
        })
    }

    /// The file that a program calls `path`: below a module of that name, or the one that has most of
    /// its last folders in common.
    pub(super) fn find(&self, path: &str) -> Found<'_> {
        let path = path.replace('\\', "/");
        let parts: Vec<&str> = path.split('/').filter(|it| !it.is_empty() && *it != ".").collect();
        if parts.is_empty() || parts.contains(&"..") {
            return Found::None;
        }
        if let Some(file) = self.of_module(&parts.join("/")) {
            return Found::One(file);
        }
        let mut best: (usize, bool) = (1, false);
        let mut files = Vec::new();
        for file in &self.files {
            let common = common(&parts, file);
            if common.0 > 0 && common >= best {
                if common > best {
                    files.clear();
                }
                best = common;
                files.push(file.as_str());
            }
        }
        match files[..] {
            [] => Found::None,
            [file] => Found::One(file),
            _ => Found::Several(files),
        }
    }

    fn of_module(&self, path: &str) -> Option<&str> {
        let below = self.modules.iter().filter_map(|(module, folder)| {
            let rest = path.strip_prefix(module.as_str())?.strip_prefix('/')?;
            let file = if folder.is_empty() { rest.to_owned() } else { format!("{folder}/{rest}") };
            let place = self.files.binary_search(&file).ok()?;
            Some((module.len(), self.files[place].as_str()))
        });
        below.max().map(|(_, file)| file)
    }
}

/// How many of the last parts two paths have in common, and whether that is all of `file`.
fn common(parts: &[&str], file: &str) -> (usize, bool) {
    let mut of_file = file.rsplit('/');
    let count =
        parts.iter().rev().zip(&mut of_file).take_while(|(one, other)| **one == *other).count();
    (count, count == file.split('/').count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let text =
                if file.ends_with("go.mod") { "module example.com/shop\n" } else { "package a\n" };
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn a_path_is_mapped_by_its_end() {
        let folder =
            folder(&["main.go", "store/store.go", "cache/store.go", "a/b/x.go", "c/b/x.go"]);
        let checkout = Checkout::open(folder.path()).unwrap();
        let check =
            |path: &str, expected: Found<'_>| assert_eq!(checkout.find(path), expected, "{path}");
        check("/home/ci/build/shop/main.go", Found::One("main.go"));
        check("example.com/shop/store/store.go", Found::One("store/store.go"));
        check("C:\\build\\shop\\cache\\store.go", Found::One("cache/store.go"));
        check("./store/store.go", Found::One("store/store.go"));
        check("/x/b/x.go", Found::Several(vec!["a/b/x.go", "c/b/x.go"]));
        check("/x/c/b/x.go", Found::One("c/b/x.go"));
        check("../../etc/main.go", Found::None);
        check("/usr/local/go/src/net/http/server.go", Found::None);
        check("", Found::None);
    }

    #[test]
    fn a_module_is_known_by_its_name() {
        let files = ["back/go.mod", "back/main.go", "front/main.go", "back/b/x.go", "other/b/x.go"];
        let folder = folder(&files);
        let checkout = Checkout::open(folder.path()).unwrap();
        assert_eq!(checkout.find("example.com/shop/main.go"), Found::One("back/main.go"));
        assert_eq!(checkout.find("example.com/shop/b/x.go"), Found::One("back/b/x.go"));
    }

    #[test]
    fn nothing_outside_is_read() {
        let outside = folder(&["secret.go"]);
        let folder = folder(&["main.go", "big.go"]);
        let big = "x".repeat(FILE_MAX as usize + 1);
        fs::write(folder.path().join("big.go"), big).unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("linked")).unwrap();
        let secret = outside.path().join("secret.go");
        std::os::unix::fs::symlink(secret, folder.path().join("secret.go")).unwrap();
        let checkout = Checkout::open(folder.path()).unwrap();
        assert_eq!(checkout.files, ["big.go", "main.go"]);
        assert!(checkout.read("main.go").is_some());
        assert!(checkout.read("secret.go").is_none() && checkout.read("big.go").is_none());
    }

    #[test]
    fn what_is_no_checkout_is_said_to_be_none() {
        let empty = folder(&["readme.txt"]);
        let error = Checkout::open(empty.path()).unwrap_err().to_string();
        assert!(error.starts_with("no .go or .java file is in /"), "{error}");
        let error = Checkout::open(&empty.path().join("none")).unwrap_err().to_string();
        assert!(error.starts_with("cannot read the folder /"), "{error}");
    }
}
