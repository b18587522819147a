//! Locks and groups: what is taken or counted by one call, and given back by another, once.
//!
//! Whoever waits for a lock waits for who holds it, which may be another function of the same type; all
//! functions of the package that take the same field are looked through for a way out that keeps it.

use tree_sitter::Node;

use crate::code::{
    edit::Edit,
    file::{File, first, last},
};

use super::{
    Package, Repair, Spot, Suspicion,
    leaving::{Leaving, leaving, leaving_from},
    syntax::{self, own},
};

/// A lock that a function takes: `a.mu` and how it is given back.
struct Taken<'t> {
    file: usize,
    statement: Node<'t>,
    /// `a.mu.Unlock()`.
    back: String,
    /// `account.mu`: the same in all methods of a type.
    lock: String,
}

/// A function that leaves with the lock.
pub(super) fn lock(package: &Package, suspicion: &Suspicion<'_>) -> Option<Repair> {
    let waits = taken(package, suspicion.wait?.file, package.statement(suspicion.wait?)?)?;
    let mut keeping = package
        .all("expression_statement")
        .filter_map(|(file, it)| taken(package, file, it))
        .filter(|it| it.lock == waits.lock)
        .filter_map(|it| kept(package, &it));
    let first = keeping.next()?;
    keeping.next().is_none().then_some(first)
}

fn taken<'p>(package: &'p Package, file: usize, statement: Node<'p>) -> Option<Taken<'p>> {
    let source = &package.files[file];
    let code = syntax::called(source, statement)?;
    let (field, back) = if let Some(field) = code.strip_suffix(".Lock()") {
        (field, "Unlock")
    } else {
        (code.strip_suffix(".RLock()")?, "RUnlock")
    };
    let receiver = syntax::declaration(statement).and_then(|it| syntax::receiver(source, it));
    let lock = match (receiver, field.split_once('.')) {
        (Some((name, kind)), Some((of, rest))) if name == of => format!("{kind}.{rest}"),
        _ => field.to_owned(),
    };
    Some(Taken { file, statement, back: format!("{field}.{back}()"), lock })
}

fn kept(package: &Package, taken: &Taken<'_>) -> Option<Repair> {
    let file = &package.files[taken.file];
    let function = syntax::function(taken.statement)?;
    let back = taken.back.as_str();
    let is_deferred =
        own(function).any(|it| it.kind() == "defer_statement" && file.code(it).contains(back));
    let gives_back = |it: Node<'_>| syntax::called(file, it) == Some(back);
    if is_deferred {
        return None;
    }
    let way = match leaving(file, taken.statement, &gives_back) {
        Leaving::At(node) => format!("line {} leaves with the lock", first(node)),
        // Another function may be the one to give it back.
        Leaving::AtEnd if is_given_back(package, back) => return None,
        Leaving::AtEnd => format!("nothing calls `{back}`"),
        Leaving::Never | Leaving::Unknown => return None,
    };
    let indent = file.indent(first(taken.statement));
    let edits = once(file, function, back).map(|mut edits| {
        edits.push(Edit::behind(last(taken.statement), format!("{indent}defer {back}")));
        edits
    });
    Some(Repair {
        spot: Spot::of(taken.file, taken.statement),
        cause: way,
        fix: format!("put `defer {back}` behind"),
        edits: edits.filter(|_| is_only(file, function, taken)).unwrap_or_default(),
    })
}

/// Whether any function of the package gives such a lock back, by the name of its field.
fn is_given_back(package: &Package, back: &str) -> bool {
    let field = |code: &str| code.rsplit('.').nth(1).map(str::to_owned);
    let end = back.rsplit('.').next().unwrap_or(back);
    package.all("call_expression").any(|(index, it)| {
        let code = package.files[index].code(it);
        code.ends_with(end) && field(code) == field(back)
    })
}

/// Whether the function takes the lock once, and not in a loop: then it may hold it to its end.
fn is_only(file: &File, function: Node<'_>, taken: &Taken<'_>) -> bool {
    let code = file.code(taken.statement);
    let times = own(function).filter(|it| syntax::called(file, *it) == Some(code)).count();
    times == 1 && syntax::turn(taken.statement).is_none()
}

/// The edits that take away every call of `back`, if each of them is the last thing that its path does;
/// for what must not be called twice.
fn once(file: &File, function: Node<'_>, back: &str) -> Option<Vec<Edit>> {
    let calls: Vec<Node<'_>> = syntax::of_kind(function, "expression_statement")
        .filter(|it| file.code(*it) == back)
        .collect();
    let is_own = |it: &Node<'_>| syntax::function(*it).is_some_and(|it| it.id() == function.id());
    let is_sure =
        calls.iter().all(|it| is_own(it) && syntax::is_last(file, *it) && file.has_own_lines(*it));
    is_sure.then(|| calls.iter().map(|it| Edit::remove(first(*it), last(*it))).collect())
}

/// A goroutine that leaves without `Done`.
pub(super) fn group(package: &Package, suspicion: &Suspicion<'_>) -> Option<Repair> {
    let spot = suspicion.wait?;
    let waits = package.statement(spot)?;
    let code = syntax::called(package.file(spot), waits)?.strip_suffix(".Wait()")?;
    let field = code.rsplit('.').next()?;
    let mut found: Vec<Repair> = Vec::new();
    for (file, done) in package.all("expression_statement") {
        let back = package.files[file].code(done);
        let is_its =
            back.strip_suffix(".Done()").is_some_and(|it| it.rsplit('.').next() == Some(field));
        found.extend(is_its.then(|| not_done(package, file, done)).flatten());
    }
    found.dedup();
    (found.len() == 1).then(|| found.swap_remove(0))
}

fn not_done(package: &Package, file: usize, done: Node<'_>) -> Option<Repair> {
    let source = &package.files[file];
    let function = syntax::function(done)?;
    let back = source.code(done);
    let statement = *syntax::statements(syntax::body(function)?).first()?;
    let gives_back = |it: Node<'_>| syntax::called(source, it) == Some(back);
    let Leaving::At(way) = leaving_from(source, statement, &gives_back) else { return None };
    let line = first(statement);
    let edits = once(source, function, back).map(|mut edits| {
        edits.push(Edit::before(line, format!("{}defer {back}", source.indent(line))));
        edits
    });
    Some(Repair {
        spot: Spot { file, line },
        cause: format!("line {} leaves without `{back}`", first(way)),
        fix: format!("put `defer {back}` first in the function, before"),
        edits: edits.filter(|_| line > first(function)).unwrap_or_default(),
    })
}
