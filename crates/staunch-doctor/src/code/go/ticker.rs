//! A loop over a ticker, which is never closed: it has to look for another end.
//!
//! Which end, the function knows: its request's context, its own, or a channel of its type that
//! somebody closes. Without one of these there is nothing to propose.

use tree_sitter::Node;

use crate::code::{
    edit::Edit,
    file::{File, all, first, last},
};

use super::{
    Package, Repair, Spot, Suspicion,
    syntax::{self, of_kind},
};

pub(super) fn endless(package: &Package, suspicion: &Suspicion<'_>) -> Option<Repair> {
    let spot = suspicion.wait?;
    let file = package.file(spot);
    let function = package.statement(spot).and_then(syntax::function)?;
    let turn = package.statement(spot).filter(|it| it.kind() == "for_statement")?;
    let range = all(turn).find(|it| it.kind() == "range_clause")?;
    let ticks = file.code(range.child_by_field_name("right")?);
    if !is_ticks(file, function, ticks) {
        return None;
    }
    let end = end(package, spot, function);
    let cause =
        "a ticker's channel is never closed, stopped or not: the loop has no end".to_owned();
    let Some(end) = end else {
        return Some(Repair {
            spot: Spot::of(spot.file, turn),
            cause,
            fix: "receive in a `select`, with a `case` for what ends it, instead of".to_owned(),
            edits: Vec::new(),
        });
    };
    Some(Repair {
        spot: Spot::of(spot.file, turn),
        cause,
        fix: format!("receive in a `select` with `case <-{end}: return`, instead of"),
        edits: selecting(file, function, turn, range, &end).unwrap_or_default(),
    })
}

/// Whether a channel is that of a ticker: `time.Tick(d)`, or `ticker.C` of one made here.
fn is_ticks(file: &File, function: Node<'_>, ticks: &str) -> bool {
    let Some(ticker) = ticks.strip_suffix(".C") else { return ticks.starts_with("time.Tick(") };
    let within = syntax::declaration(function).unwrap_or(function);
    of_kind(within, "short_var_declaration").any(|it| {
        syntax::assignment(it).is_some_and(|it| {
            file.code(it.names[0]) == ticker && syntax::callee(file, it.call) == "time.NewTicker"
        })
    })
}

/// What ends, at the latest, with whom the function works for.
fn end(package: &Package, spot: Spot, function: Node<'_>) -> Option<String> {
    let file = package.file(spot);
    for (name, kind) in syntax::parameters(file, function) {
        match kind {
            "context.Context" => return Some(format!("{name}.Done()")),
            "*http.Request" => return Some(format!("{name}.Context().Done()")),
            _ => {}
        }
    }
    let (name, kind) = syntax::receiver(file, function)?;
    let mut ends = closed_fields(package, kind);
    let only = ends.next()?;
    ends.next().is_none().then(|| format!("{name}.{only}"))
}

/// The fields of a type that are channels of nothing, and that some method closes.
fn closed_fields<'p>(package: &'p Package, kind: &str) -> impl Iterator<Item = &'p str> {
    let types = package.all("type_spec").filter(move |(index, it)| {
        it.child_by_field_name("name").is_some_and(|it| package.files[*index].code(it) == kind)
    });
    let fields =
        types.flat_map(|(index, it)| of_kind(it, "field_declaration").map(move |it| (index, it)));
    fields.filter_map(move |(index, field)| {
        let file = &package.files[index];
        let is_signal = file.code(field.child_by_field_name("type")?) == "chan struct{}";
        let name = file.code(field.child_by_field_name("name")?);
        let end = format!(".{name})");
        let is_closed = package.all("call_expression").any(|(index, call)| {
            let code = package.files[index].code(call);
            code.starts_with("close(") && code.ends_with(&end)
        });
        (is_signal && is_closed).then_some(name)
    })
}

/// The loop as `for { select { ... } }`.
fn selecting(
    file: &File,
    function: Node<'_>,
    turn: Node<'_>,
    range: Node<'_>,
    end: &str,
) -> Option<Vec<Edit>> {
    let body = syntax::body(turn)?;
    let leaves_turn = of_kind(body, "break_statement").next().is_some();
    let is_labeled = turn.parent().is_some_and(|it| it.kind() == "labeled_statement");
    let is_laid_out = first(body) == first(turn)
        && last(body) > first(body) + 1
        && syntax::statements(body).first().is_some_and(|it| first(*it) > first(turn))
        && file.line(last(turn)).is_some_and(|it| it.trim() == "}");
    if leaves_turn || is_labeled || !is_laid_out || syntax::has_results(function) {
        return None;
    }
    let right = file.code(range.child_by_field_name("right")?);
    let left = range.child_by_field_name("left").map(|it| format!("{} := ", file.code(it)));
    let indent = file.indent(first(turn));
    let mut lines = vec![format!("{indent}for {{"), format!("{indent}\tselect {{")];
    lines.push(format!("{indent}\tcase {}<-{right}:", left.unwrap_or_default()));
    for number in first(turn) + 1..last(turn) {
        let line = file.line(number)?;
        lines.push(if line.is_empty() { String::new() } else { format!("\t{line}") });
    }
    lines.push(format!("{indent}\tcase <-{end}:"));
    lines.push(format!("{indent}\t\treturn"));
    lines.push(format!("{indent}\t}}"));
    lines.push(format!("{indent}}}"));
    Some(
        std::iter::once(Edit::replace(first(turn), last(turn), lines))
            .chain(stop(file, function, right))
            .collect(),
    )
}

/// `defer ticker.Stop()`, if nobody stops it: before Go 1.23 one that is not stopped stays.
fn stop(file: &File, function: Node<'_>, ticks: &str) -> Option<Edit> {
    let ticker = ticks.strip_suffix(".C")?;
    let stops = format!("{ticker}.Stop()");
    let is_stopped = of_kind(function, "call_expression").any(|it| file.code(it) == stops);
    let made = syntax::own(function)
        .find(|it| syntax::assignment(*it).is_some_and(|it| file.code(it.names[0]) == ticker))?;
    let indent = file.indent(first(made));
    (!is_stopped).then(|| Edit::behind(last(made), format!("{indent}defer {stops}")))
}
