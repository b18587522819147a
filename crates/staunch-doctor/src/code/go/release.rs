//! What is opened, begun or taken, and has to be ended: `defer rows.Close()`, `defer cancel()`.
//!
//! The runtime has shown that what this line makes does not end; the source shows whether the function
//! keeps it to itself, and so should end it, or hands it on: then whoever calls it should.

use tree_sitter::Node;

use crate::code::{
    edit::Edit,
    file::{File, all, first, last, next},
};

use super::{
    Package, Repair, Spot, Suspicion,
    leaving::{Leaving, leaving},
    owned::{Handed, handed},
    syntax::{self, assignment, callee, own, said},
};

/// What ends what a rule is about.
#[derive(Clone, Copy, PartialEq)]
enum Ends {
    /// Rows and statements: nobody keeps them to whom they are lent.
    Rows,
    /// Connections and files.
    Close,
    Body,
    Rollback,
    Cancel,
    Stop,
}

impl Ends {
    fn of(rule: &str) -> Option<Ends> {
        Some(match rule {
            "rows-not-closed" | "statement-not-closed" => Ends::Rows,
            "connection-not-closed" | "descriptor-not-closed" => Ends::Close,
            "body-not-closed" => Ends::Body,
            "transaction-not-ended" => Ends::Rollback,
            "cancel-not-called" => Ends::Cancel,
            "timer-not-stopped" => Ends::Stop,
            _ => return None,
        })
    }

    fn call(self, variable: &str) -> String {
        match self {
            Ends::Rows | Ends::Close => format!("{variable}.Close()"),
            Ends::Body => format!("{variable}.Body.Close()"),
            Ends::Rollback => format!("{variable}.Rollback()"),
            Ends::Cancel => format!("{variable}()"),
            Ends::Stop => format!("{variable}.Stop()"),
        }
    }

    /// Whether a call makes what has to be ended so, by its name: a row has nothing to close.
    fn is_made_by(self, callee: &str) -> bool {
        let name = callee.rsplit('.').next().unwrap_or(callee);
        let begins = |names: &[&str]| names.iter().any(|it| name.starts_with(it));
        match self {
            Ends::Rows => begins(&["Query", "NamedQuery", "Prepare"]) && !begins(&["QueryRow"]),
            Ends::Close => begins(&OPENING),
            Ends::Body => ["Do", "Get", "Head", "Post", "PostForm", "RoundTrip"].contains(&name),
            Ends::Rollback => begins(&["Begin"]),
            Ends::Cancel => callee.starts_with("context.With"),
            Ends::Stop => ["time.NewTimer", "time.NewTicker", "time.AfterFunc"].contains(&callee),
        }
    }
}

/// How the names of functions begin that open a connection or file.
const OPENING: [&str; 7] = ["Dial", "Open", "Create", "Connect", "Accept", "Hijack", "Listen"];

/// What a statement makes.
struct Made<'t> {
    file: usize,
    statement: Node<'t>,
    variable: String,
    error: Option<String>,
    /// What ends it: `rows.Close()`.
    ending: String,
}

pub(super) fn repair(package: &Package, suspicion: &Suspicion<'_>) -> Option<Repair> {
    let ends = Ends::of(suspicion.rule)?;
    suspicion.spots().find_map(|spot| {
        let made = made(package, spot, ends).or_else(|| opened(package, spot, ends))?;
        of_made(package, &made, ends)
    })
}

/// Of a function whose memory grows: a context or timer that it forgets.
pub(super) fn forgotten(package: &Package, suspicion: &Suspicion<'_>) -> Option<Repair> {
    let spot = suspicion.birth?;
    let function = package.statement(spot).and_then(syntax::function)?;
    let candidates = own(function).filter(|it| it.kind() == "short_var_declaration");
    let mut repairs = candidates.flat_map(|it| {
        [Ends::Cancel, Ends::Stop].into_iter().filter_map(move |ends| {
            let made = made(package, Spot::of(spot.file, it), ends)?;
            of_made(package, &made, ends)
        })
    });
    let only = repairs.next()?;
    repairs.next().is_none().then_some(only)
}

fn made(package: &Package, spot: Spot, ends: Ends) -> Option<Made<'_>> {
    let file = package.file(spot);
    let statement = package.statement(spot)?;
    let assigned = assignment(statement)?;
    let called = callee(file, assigned.call);
    let is_own = matches!(ends, Ends::Close | Ends::Rows) && is_of_package(package, called);
    if !is_own && !ends.is_made_by(called) {
        return None;
    }
    let place = usize::from(ends == Ends::Cancel);
    let variable = file.code(*assigned.names.get(place)?);
    let is_name = variable.chars().all(|it| it.is_alphanumeric() || it == '_') && variable != "_";
    let error = assigned.names.get(1..).and_then(<[_]>::last).filter(|_| ends != Ends::Cancel);
    let function = syntax::function(statement)?;
    let ending = if is_own {
        closed_by(file, function, variable)?
    } else if ends == Ends::Cancel && called.ends_with("Cause") {
        format!("{variable}(nil)")
    } else {
        ends.call(variable)
    };
    is_name.then(|| Made {
        file: spot.file,
        statement,
        variable: variable.to_owned(),
        error: error.map(|it| file.code(*it).to_owned()),
        ending,
    })
}

fn is_of_package(package: &Package, callee: &str) -> bool {
    package.all("function_declaration").any(|(index, it)| {
        syntax::qualified(&package.files[index], it).is_some_and(|it| it == callee)
    })
}

/// How a function closes what a function of the program gave it: `w.conn.Close()`.
fn closed_by(file: &File, function: Node<'_>, variable: &str) -> Option<String> {
    let calls = syntax::of_kind(function, "call_expression").map(|it| file.code(it));
    let mut closes = calls.filter(|it| {
        it.strip_prefix(variable).is_some_and(|it| it.starts_with('.') && it.ends_with(".Close()"))
    });
    closes.next().map(str::to_owned)
}

/// The one connection or file that the function around a line opens.
fn opened(package: &Package, spot: Spot, ends: Ends) -> Option<Made<'_>> {
    let file = package.file(spot);
    let function = package.statement(spot).and_then(syntax::function)?;
    let mut opening = own(function).filter(|it| {
        let called = assignment(*it).map(|it| callee(file, it.call));
        let name = called.and_then(|it| it.rsplit('.').next());
        name.is_some_and(|name| ["Dial", "Open"].iter().any(|it| name.starts_with(it)))
    });
    let only = opening.next().filter(|_| ends == Ends::Close)?;
    opening.next().is_none().then(|| made(package, Spot::of(spot.file, only), ends)).flatten()
}

fn of_made(package: &Package, made: &Made<'_>, ends: Ends) -> Option<Repair> {
    let file = &package.files[made.file];
    if let Handed::Wrapped { literal, field } = handed(file, made.statement, &made.variable) {
        return of_callers(package, made, literal, file.code(field));
    }
    let function = syntax::function(made.statement)?;
    let defers: Vec<Node<'_>> = own(function)
        .filter(|it| it.kind() == "defer_statement" && mentions(file, *it, made))
        .collect();
    let (early, late): (Vec<_>, Vec<_>) =
        defers.into_iter().partition(|it| it.start_byte() < made.statement.start_byte());
    match (early.first(), late.first()) {
        (_, Some(late)) => in_loop(made, file, *late).or_else(|| moved(made, file, *late)),
        (Some(early), None) => evaluated_early(made, file, *early),
        (None, None) => Some(plain(made, file, ends)),
    }
}

fn mentions(file: &File, statement: Node<'_>, made: &Made<'_>) -> bool {
    syntax::of_kind(statement, "call_expression").any(|it| file.code(it) == made.ending)
}

/// There is no `defer`: it is put behind the check of the error, if that is sure.
fn plain(made: &Made<'_>, file: &File, ends: Ends) -> Repair {
    let ending = &made.ending;
    let ended: Vec<Node<'_>> = explicit(made, file);
    let is_sure = match handed(file, made.statement, &made.variable) {
        Handed::Kept => match context(made, file, ends) {
            // A context that a goroutine was given may be meant to outlive the call, unless the
            // function cancels it somewhere itself.
            Handed::Shared => !ended.is_empty(),
            Handed::Wrapped { .. } | Handed::Away => false,
            Handed::Kept | Handed::Lent => true,
        },
        // Who ends it on one path is the one to end it.
        Handed::Lent => !ended.is_empty() || ends != Ends::Close,
        Handed::Shared | Handed::Wrapped { .. } | Handed::Away => false,
    };
    let cause = match (ended.is_empty(), way_out(made, file)) {
        (true, _) => format!("nothing calls `{ending}`"),
        (false, Some(line)) => format!("line {line} leaves without `{ending}`"),
        (false, None) => format!("not every path calls `{ending}`"),
    };
    let is_turn = syntax::turn(made.statement).is_some();
    let edits = (is_sure && !is_turn).then(|| deferred(made, file)).flatten().unwrap_or_default();
    Repair {
        spot: Spot::of(made.file, made.statement),
        cause: if is_sure || !ended.is_empty() {
            cause
        } else {
            format!("{cause} here, and it is handed on: whoever gets it has to")
        },
        fix: match (is_turn, made.error.is_some()) {
            (true, _) => format!("call `{ending}` at the end of each turn that began"),
            (false, true) => format!("put `defer {ending}` behind the check of the error of"),
            (false, false) => format!("put `defer {ending}` behind"),
        },
        edits,
    }
}

/// The line on which it is forgotten, behind the check of the error.
fn way_out(made: &Made<'_>, file: &File) -> Option<u32> {
    let ends = |it: Node<'_>| syntax::called(file, it) == Some(made.ending.as_str());
    match leaving(file, behind_check(made, file), &ends) {
        Leaving::At(node) => Some(first(node)),
        _ => None,
    }
}

/// The check of the error, or without one the statement itself.
fn behind_check<'t>(made: &Made<'t>, file: &File) -> Node<'t> {
    let check = made.error.as_ref().and_then(|it| syntax::check(file, made.statement, it));
    check.unwrap_or(made.statement)
}

/// What becomes of the context that a `cancel` belongs to.
fn context<'t>(made: &Made<'t>, file: &File, ends: Ends) -> Handed<'t> {
    let assigned = assignment(made.statement).filter(|_| ends == Ends::Cancel);
    let name = assigned.and_then(|it| it.names.first().copied());
    name.map_or(Handed::Kept, |it| handed(file, made.statement, file.code(it)))
}

/// Where it is ended as a statement of its own, behind where it was made.
fn explicit<'t>(made: &Made<'t>, file: &File) -> Vec<Node<'t>> {
    let own = syntax::function(made.statement).into_iter().flat_map(own);
    own.filter(|it| {
        it.start_byte() > made.statement.start_byte()
            && syntax::is_statement(*it)
            && syntax::called(file, *it) == Some(made.ending.as_str())
    })
    .collect()
}

/// `defer` behind the check, and away with the calls that it makes superfluous.
fn deferred(made: &Made<'_>, file: &File) -> Option<Vec<Edit>> {
    let anchor = match &made.error {
        Some(error) => syntax::check(file, made.statement, error)?,
        _ => made.statement,
    };
    let indent = file.indent(first(made.statement));
    let mut edits = vec![Edit::behind(last(anchor), format!("{indent}defer {}", made.ending))];
    edits.extend(superfluous(made, file));
    Some(edits)
}

/// Calls right in front of a `return`: the deferred one comes at once behind them.
fn superfluous(made: &Made<'_>, file: &File) -> Vec<Edit> {
    let ended = explicit(made, file).into_iter();
    let ended = ended.filter(|it| {
        let is_leaving = next(*it).is_none_or(|next| next.kind() == "return_statement");
        is_leaving && syntax::is_last(file, *it) && file.has_own_lines(*it)
    });
    ended.map(|it| Edit::remove(first(it), last(it))).collect()
}

/// `defer` in a loop that made it in each turn: it waits for the end of the function.
fn in_loop(made: &Made<'_>, file: &File, defer: Node<'_>) -> Option<Repair> {
    let turn = syntax::turn(made.statement)?;
    let body = syntax::body(turn)?;
    let statements = syntax::statements(body);
    let is_in_turn = statements.iter().any(|it| it.id() == defer.id());
    let behind: Vec<Node<'_>> =
        statements.iter().copied().filter(|it| it.start_byte() > defer.start_byte()).collect();
    let leaves = behind.iter().flat_map(|it| all(*it)).any(|it| {
        matches!(
            it.kind(),
            "return_statement" | "continue_statement" | "break_statement" | "goto_statement"
        )
    });
    let last_statement = behind.last()?;
    let is_sure = is_in_turn && !leaves && file.has_own_lines(defer);
    let indent = file.indent(first(defer));
    let edits = vec![
        Edit::remove(first(defer), last(defer)),
        Edit::behind(last(*last_statement), format!("{indent}{}", made.ending)),
    ];
    Some(Repair {
        spot: Spot::of(made.file, defer),
        cause: format!(
            "`defer` waits for the end of the function, and the loop of {} goes on",
            said(turn)
        ),
        fix: format!(
            "call `{}` at the end of each turn, and not deferred, instead of",
            made.ending
        ),
        edits: if is_sure { edits } else { Vec::new() },
    })
}

/// `defer` behind a way out that it does not see.
fn moved(made: &Made<'_>, file: &File, defer: Node<'_>) -> Option<Repair> {
    let is_defer = |it: Node<'_>| it.id() == defer.id();
    let Leaving::At(way) = leaving(file, behind_check(made, file), &is_defer) else { return None };
    let edits = deferred(made, file).filter(|_| file.has_own_lines(defer)).map(|mut edits| {
        edits.push(Edit::remove(first(defer), last(defer)));
        edits
    });
    Some(Repair {
        spot: Spot::of(made.file, made.statement),
        cause: format!(
            "line {} leaves before `defer {}` of {}",
            first(way),
            made.ending,
            said(defer)
        ),
        fix: format!("put `defer {}` right behind", made.ending),
        edits: edits.unwrap_or_default(),
    })
}

/// `defer x.Close()` has taken the `x` of that moment; this is another one.
fn evaluated_early(made: &Made<'_>, file: &File, defer: Node<'_>) -> Option<Repair> {
    let is_other = made.statement.kind() == "assignment_statement";
    let is_called = defer.named_child(0).is_some_and(|it| file.code(it) == made.ending);
    let is_sure = syntax::turn(made.statement).is_none();
    let edits = is_sure.then(|| deferred(made, file)).flatten().unwrap_or_default();
    (is_other && is_called).then(|| Repair {
        spot: Spot::of(made.file, defer),
        cause: format!(
            "`defer` has taken the `{}` of its moment; {} makes another one, which nobody ends",
            made.variable,
            said(made.statement)
        ),
        fix: format!("put another `defer {}` behind {}, for", made.ending, said(made.statement)),
        edits,
    })
}

/// What is opened goes into a field of something, which whoever calls the function has to close.
fn of_callers(
    package: &Package,
    made: &Made<'_>,
    literal: Node<'_>,
    field: &str,
) -> Option<Repair> {
    let file = &package.files[made.file];
    let function = syntax::declaration(made.statement)?;
    let name = file.code(function.child_by_field_name("name")?);
    let is_hidden = name.starts_with(char::is_lowercase) || syntax::package(file) == Some("main");
    let kind = literal.child_by_field_name("type").map(|it| file.code(it))?;
    let closes = package.all("method_declaration").any(|(index, it)| {
        syntax::qualified(&package.files[index], it) == Some(format!("{kind}.Close"))
    });
    let mut open = package.all("call_expression").filter_map(|(index, call)| {
        let file = &package.files[index];
        let is_call = callee(file, call).rsplit('.').next() == Some(name);
        let statement = call.parent().and_then(|it| it.parent()).filter(|_| is_call)?;
        let names = assignment(statement)?.names;
        let variable = file.code(*names.first()?).to_owned();
        let ending = if closes {
            format!("{variable}.Close()")
        } else {
            format!("{variable}.{field}.Close()")
        };
        let error = names.get(1).map(|it| file.code(*it).to_owned());
        let made = Made { file: index, statement, variable, error, ending };
        let function = syntax::function(statement)?;
        let is_deferred =
            own(function).any(|it| it.kind() == "defer_statement" && mentions(file, it, &made));
        (!is_deferred).then_some(made)
    });
    let caller = open.next().filter(|_| is_hidden)?;
    let is_only = open.next().is_none();
    let file = &package.files[caller.file];
    let is_wrapped = matches!(
        handed(file, caller.statement, &caller.variable),
        Handed::Shared | Handed::Wrapped { .. } | Handed::Away
    );
    (is_only && !is_wrapped).then(|| plain(&caller, file, Ends::Close))
}

/// `defer resp.Body.Close()` in front of the check of the error: without a response it panics, and what
/// stands behind it is not done.
pub(super) fn before_check(package: &Package, suspicion: &Suspicion<'_>) -> Option<Repair> {
    let spot = suspicion.wait?;
    let file = package.file(spot);
    let function = package.statement(spot).and_then(syntax::function)?;
    own(function).find_map(|defer| {
        let called = defer.named_child(0).filter(|_| defer.kind() == "defer_statement")?;
        let statement = defer.prev_named_sibling()?;
        let names = assignment(statement)?.names;
        let (variable, error) = (file.code(*names.first()?), file.code(*names.get(1)?));
        let is_its = file.code(called).starts_with(&format!("{variable}."));
        let check = syntax::check(file, defer, error).filter(|_| is_its)?;
        let edits = vec![
            Edit::remove(first(defer), last(defer)),
            Edit::behind(last(check), file.line(first(defer)).unwrap_or_default()),
        ];
        Some(Repair {
            spot: Spot::of(spot.file, defer),
            cause: format!(
                "with an error `{variable}` is nil: the deferred call panics, and what was taken before is not given back"
            ),
            fix: "put it behind the check of the error:".to_owned(),
            edits: if file.has_own_lines(defer) { edits } else { Vec::new() },
        })
    })
}
