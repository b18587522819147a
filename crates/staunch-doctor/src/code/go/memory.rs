//! What keeps memory: a map from which nobody deletes, and a small part of a large whole.

use tree_sitter::Node;

use crate::code::{
    edit::Edit,
    file::{File, around, children, first, last},
};

use super::{
    Package, Repair, Spot, Suspicion,
    syntax::{self, assignment, callee, own},
};

/// A value that is put into a map of the type, of which nothing is ever deleted.
pub(super) fn without_expiry(package: &Package, suspicion: &Suspicion<'_>) -> Option<Repair> {
    let spot = suspicion.birth?;
    let file = package.file(spot);
    let statement = package.statement(spot).filter(|it| it.kind() == "assignment_statement")?;
    let place = children(statement.child_by_field_name("left")?);
    let place = place.first().filter(|it| it.kind() == "index_expression")?;
    let field = file.code(place.child_by_field_name("operand")?).rsplit('.').next()?;
    let deletes = package.all("call_expression").any(|(index, call)| {
        let file = &package.files[index];
        let of = syntax::arguments(call).first().map_or("", |it| file.code(*it));
        matches!(callee(file, call), "delete" | "clear") && of.rsplit('.').next() == Some(field)
    });
    let (index, declared) = package.all("field_declaration").find(|(index, it)| {
        let file = &package.files[*index];
        let is_map = it.child_by_field_name("type").is_some_and(|it| it.kind() == "map_type");
        is_map && it.child_by_field_name("name").is_some_and(|it| file.code(it) == field)
    })?;
    (!deletes).then(|| Repair {
        spot: Spot::of(index, declared),
        cause: format!(
            "{} puts into the map `{field}`, and nothing is ever deleted from it",
            syntax::said(statement)
        ),
        fix: "bound the map, or have its entries expire, at".to_owned(),
        edits: Vec::new(),
    })
}

/// `return buffer[:n]` of a buffer that is made here: the slice keeps all of it.
pub(super) fn part(package: &Package, suspicion: &Suspicion<'_>) -> Option<Repair> {
    let spot = suspicion.birth?;
    let file = package.file(spot);
    let made = package.statement(spot)?;
    let assigned = assignment(made).filter(|it| callee(file, it.call) == "make")?;
    let name = file.code(*assigned.names.first()?);
    let kind = *syntax::arguments(assigned.call).first()?;
    let element = kind.child_by_field_name("element").filter(|_| kind.kind() == "slice_type")?;
    let slice = own(syntax::function(made)?).find(|it| {
        let is_returned = around(*it).find(|it| syntax::is_statement(*it));
        it.kind() == "slice_expression"
            && it.child_by_field_name("operand").is_some_and(|it| file.code(it) == name)
            && is_returned.is_some_and(|it| it.kind() == "return_statement")
            && !is_copied(file, *it)
    })?;
    let (line, code) = (file.line(first(slice))?, file.code(slice));
    let copy = format!("append([]{}(nil), {code}...)", file.code(element));
    let (from, to) = (slice.start_position().column, slice.end_position().column);
    let text = format!("{}{copy}{}", line.get(..from)?, line.get(to..)?);
    let edit = Edit::replace(first(slice), first(slice), vec![text]);
    Some(Repair {
        spot: Spot::of(spot.file, slice),
        cause: format!("`{code}` is small, and keeps all of `{name}`"),
        fix: format!("copy what is needed (`{copy}`) at"),
        edits: if first(slice) == last(slice) { vec![edit] } else { Vec::new() },
    })
}

/// Whether a slice is given to a call: `string(buffer[:n])` copies it.
fn is_copied(file: &File, slice: Node<'_>) -> bool {
    around(slice).take_while(|it| !syntax::is_statement(*it)).any(|it| {
        matches!(it.kind(), "call_expression" | "type_conversion_expression")
            && !file.code(it).is_empty()
    })
}
