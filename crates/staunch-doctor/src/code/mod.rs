//! The source of what is examined: lines are quoted, the line that causes a leak is looked for, and
//! where it is sure what to change, there is a patch.
//!
//! # Design
//!
//! `checkout.rs` knows which files there are and which of them a path of the program means; `file.rs`
//! is a file with its syntax tree (tree-sitter); `go/` looks at what a finding names and proposes edits;
//! `edit.rs` makes a diff of them. Of Java's source lines are quoted. Only here are files read.
//!
//! # Invariants
//! 1. A line is believed if the function that the program names is around it: else the source is another
//!    one than the program was built from, which is said, and nothing is quoted or proposed.
//! 2. A patch is of a file that was understood, and what it makes of it is understood as well.
//! 3. The id of a finding does not depend on whether its source is at hand.

mod checkout;
mod edit;
mod file;
mod go;
mod java;

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::{Duration, Instant},
};

use staunch_diagnosis::{Cause, Finding, Fix, Place};

pub use checkout::{Checkout, CheckoutError};

use checkout::Found;
use edit::Change;
use file::{File, Language};
use go::{Package, Repair, Spot, Suspicion};

/// How long all findings together may take.
const TIME_MAX: Duration = Duration::from_secs(10);

/// Files of one folder that are read.
const FILES_MAX: usize = 200;

/// How much of a line is quoted.
const QUOTE_MAX: usize = 200;

impl Checkout {
    /// Adds to `findings` what the source tells: quotes, causes, patches. What could not be told, and
    /// why.
    pub fn explain(&self, findings: &mut [Finding]) -> Vec<String> {
        let mut reading =
            Reading { checkout: self, packages: BTreeMap::new(), notes: BTreeSet::new() };
        if self.is_cut() {
            reading.notes.insert("the checkout has more files than are looked at".to_owned());
        }
        let until = Instant::now() + TIME_MAX;
        for finding in findings {
            if Instant::now() > until {
                let note = format!("the source of some findings was not read: after {TIME_MAX:?}");
                reading.notes.insert(note);
                break;
            }
            reading.explain(finding);
        }
        reading.notes.into_iter().collect()
    }

    /// Those of `suspicions` ([`staunch_diagnosis::suspicions`]) of which the source shows the mistake as
    /// well, with what it tells.
    #[must_use]
    pub fn confirm(&self, suspicions: Vec<Finding>) -> Vec<Finding> {
        let (packages, notes) = (BTreeMap::new(), BTreeSet::new());
        let mut reading = Reading { checkout: self, packages, notes };
        let until = Instant::now() + TIME_MAX;
        let is_confirmed = |mut finding: Finding| {
            let is_shown = Instant::now() <= until && reading.explain(&mut finding);
            is_shown.then(|| {
                let line = "the source shows it on the line named";
                finding.evidence.push(line.to_owned());
                finding
            })
        };
        suspicions.into_iter().filter_map(is_confirmed).collect()
    }
}

struct Reading<'c> {
    checkout: &'c Checkout,
    /// By folder.
    packages: BTreeMap<String, Rc<Package>>,
    notes: BTreeSet<String>,
}

/// A line of a finding, found again.
#[derive(Clone)]
struct Line {
    package: Rc<Package>,
    spot: Spot,
    /// The file, as the program names it.
    named: String,
}

impl Reading<'_> {
    /// Whether the source shows the mistake.
    fn explain(&mut self, finding: &mut Finding) -> bool {
        let birth =
            finding.birth.as_ref().and_then(|it| self.line(&it.function, &it.file, it.line));
        let wait = finding.wait.as_ref().and_then(|it| self.line(&it.function, &it.file, it.line));
        if let Some(place) = &mut finding.birth {
            place.code = birth.as_ref().and_then(Line::quote);
        }
        if let Some(place) = &mut finding.wait {
            place.code = wait.as_ref().and_then(Line::quote);
        }
        let cause = cause(finding, [&birth, &wait]);
        let lines = Lines { cause, birth, wait };
        let Some((package, repair)) = lines.repair(rule(finding)) else { return false };
        let source = &package.files[repair.spot.file];
        let named = lines.named(&package, repair.spot.file).unwrap_or(&source.name);
        tell(finding, source, named, repair);
        true
    }

    /// The line that a program names, if it is the one that the source has there.
    fn line(&mut self, function: &str, path: &str, line: u32) -> Option<Line> {
        let language = Language::of(path)?;
        if language == Language::Go && staunch_diagnosis::is_standard(function) {
            return None;
        }
        let sought = match language {
            Language::Go => path.to_owned(),
            Language::Java => java::path(function, path),
        };
        let name = match self.checkout.find(&sought) {
            Found::One(name) => name,
            Found::None => {
                self.notes.insert(format!("{path} is not in the source"));
                return None;
            }
            Found::Several(names) => {
                let names = names.join(", ");
                self.notes.insert(format!("{path} may be any of these, and is left out: {names}"));
                return None;
            }
        };
        let package = self.package(name);
        let Some(file) = package.files.iter().position(|it| it.name == name) else {
            self.notes.insert(format!("{name} is too long, or no text, and is left out"));
            return None;
        };
        let source = &package.files[file];
        let is_there = match language {
            Language::Go => {
                let declaration = source.at(line).map(go::declaration);
                declaration.is_some_and(|it| go::is_named(source, it, function))
            }
            Language::Java => java::is_named(source, line, function),
        };
        if !is_there {
            self.notes.insert(format!(
                "{function} is not at {name}:{line}: the source is not the one that the program was built from"
            ));
            return None;
        }
        Some(Line { package, spot: Spot { file, line }, named: path.to_owned() })
    }

    /// The files in the folder of one, that one first.
    fn package(&mut self, name: &str) -> Rc<Package> {
        let checkout = self.checkout;
        let folder = name.rfind('/').map_or("", |slash| &name[..slash]).to_owned();
        let has = |package: &&Rc<Package>| package.files.iter().any(|it| it.name == name);
        if let Some(package) = self.packages.get(&folder).filter(has) {
            return Rc::clone(package);
        }
        let others = checkout.beside(name).filter(|it| *it != name && !it.ends_with("_test.go"));
        let names = std::iter::once(name).chain(others).take(FILES_MAX);
        let files = names.filter_map(|it| File::parse(it, checkout.read(it)?)).collect();
        let package = Rc::new(Package { files });
        self.packages.insert(folder, Rc::clone(&package));
        package
    }
}

/// The lines of a finding that were found again.
struct Lines {
    cause: Option<Line>,
    birth: Option<Line>,
    wait: Option<Line>,
}

impl Lines {
    fn all(&self) -> impl Iterator<Item = &Line> {
        [&self.cause, &self.birth, &self.wait].into_iter().flatten()
    }

    /// What is to be changed in one of their packages, and better what can be.
    fn repair(&self, rule: &str) -> Option<(Rc<Package>, Repair)> {
        let mut packages: Vec<&Rc<Package>> = Vec::new();
        for line in self.all().filter(|it| Language::of(&it.named) == Some(Language::Go)) {
            if !packages.iter().any(|it| Rc::ptr_eq(it, &line.package)) {
                packages.push(&line.package);
            }
        }
        let repairs = packages.into_iter().filter_map(|package| {
            let repair = go::repair(package, &self.suspicion(rule, package))?;
            Some((Rc::clone(package), repair))
        });
        let mut repairs: Vec<_> = repairs.collect();
        let best = repairs.iter().position(|(_, it)| !it.edits.is_empty()).unwrap_or(0);
        (!repairs.is_empty()).then(|| repairs.swap_remove(best))
    }

    /// What is known of the leak within one package.
    fn suspicion<'r>(&self, rule: &'r str, package: &Rc<Package>) -> Suspicion<'r> {
        let spot = |line: &Option<Line>| {
            line.as_ref().filter(|it| Rc::ptr_eq(&it.package, package)).map(|it| it.spot)
        };
        let (birth, wait) = (spot(&self.birth), spot(&self.wait));
        Suspicion { rule, birth, wait, cause: spot(&self.cause) }
    }

    /// How the program names a file, if one of the lines is in it.
    fn named(&self, package: &Rc<Package>, file: usize) -> Option<&str> {
        let is_in = |it: &&Line| Rc::ptr_eq(&it.package, package) && it.spot.file == file;
        self.all().find(is_in).map(|it| it.named.as_str())
    }
}

impl Line {
    fn quote(&self) -> Option<String> {
        quote(&self.package.files[self.spot.file], self.spot.line)
    }
}

/// A line as it may be shown anywhere.
fn quote(source: &File, line: u32) -> Option<String> {
    let plain = |it: char| if it.is_control() { ' ' } else { it };
    Some(source.line(line)?.trim().chars().map(plain).take(QUOTE_MAX).collect())
}

/// What is known best of a leak that several rules have seen.
fn rule(finding: &Finding) -> &str {
    match finding.cause.as_ref().map(|it| &*it.label) {
        Some("Cancel not called") => "cancel-not-called",
        _ => finding.rule,
    }
}

/// The line that a rule takes for the cause: in the file of another line, as far as can be seen.
fn cause(finding: &Finding, lines: [&Option<Line>; 2]) -> Option<Line> {
    let cause = finding.cause.as_ref()?;
    let (file, line) = (cause.file.as_ref()?, cause.line?);
    let other = lines.into_iter().flatten().find(|it| it.named == *file)?;
    let spot = Spot { file: other.spot.file, line };
    Some(Line { spot, ..other.clone() })
}

fn tell(finding: &mut Finding, source: &File, named: &str, repair: Repair) {
    let line = repair.spot.line;
    let label = finding.cause.as_ref().map_or_else(String::new, |it| it.label.clone());
    finding.cause =
        Some(Cause { label, text: repair.cause, file: Some(named.to_owned()), line: Some(line) });
    let place =
        Place { function: String::new(), file: named.to_owned(), line, code: quote(source, line) };
    finding.fix = Some(Fix {
        text: format!("{} {named}:{line}", repair.fix),
        patch: patch(source, repair.edits),
        places: vec![place],
    });
}

/// A patch that leaves a file which can still be read.
fn patch(source: &File, edits: Vec<edit::Edit>) -> Option<String> {
    let is_plain = |it: char| !it.is_control() || matches!(it, '\n' | '\r' | '\t');
    let change = Change::new(&source.text, edits)?;
    let is_sound = source.is_whole() && source.text.chars().all(is_plain);
    (is_sound && source.is_whole_with(&change.text())).then(|| change.diff(&source.name))
}
