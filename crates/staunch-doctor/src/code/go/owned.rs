//! Whether a function keeps what it has taken to itself, so that it is the one to end it.

use tree_sitter::Node;

use crate::code::file::{File, all, around};

use super::syntax::{self, callee};

/// How a variable leaves the function that has made it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Handed<'t> {
    /// It does not.
    Kept,
    /// Into a field of a composite literal.
    Wrapped { literal: Node<'t>, field: Node<'t> },
    /// To another function of the program, which may keep it.
    Lent,
    /// To a goroutine that is started with it.
    Shared,
    /// It is returned, stored, sent, or belongs to a function that lives longer.
    Away,
}

/// What becomes of the variable `name` behind `from`, within its function.
pub(super) fn handed<'t>(file: &File, from: Node<'t>, name: &str) -> Handed<'t> {
    let Some(function) = syntax::function(from) else { return Handed::Away };
    let uses = all(function).filter(|it| {
        it.kind() == "identifier" && it.start_byte() > from.end_byte() && file.code(*it) == name
    });
    let mut worst = Handed::Kept;
    for used in uses {
        match of_use(file, used, function) {
            Handed::Lent if worst == Handed::Kept => worst = Handed::Lent,
            Handed::Shared if matches!(worst, Handed::Kept | Handed::Lent) => {
                worst = Handed::Shared;
            }
            Handed::Kept | Handed::Lent | Handed::Shared => {}
            Handed::Wrapped { literal, field } if !matches!(worst, Handed::Wrapped { .. }) => {
                worst = Handed::Wrapped { literal, field };
            }
            Handed::Wrapped { .. } | Handed::Away => return Handed::Away,
        }
    }
    worst
}

fn of_use<'t>(file: &File, used: Node<'t>, function: Node<'t>) -> Handed<'t> {
    let Some(literal) = syntax::function(used) else { return Handed::Away };
    if literal.id() != function.id() {
        let mut within = around(used).take_while(|it| it.id() != function.id());
        return match within.find(|it| matches!(it.kind(), "defer_statement" | "go_statement")) {
            Some(it) if it.kind() == "defer_statement" => Handed::Kept,
            Some(_) => Handed::Shared,
            None => Handed::Away,
        };
    }
    let mut inner = used;
    for node in around(used) {
        match node.kind() {
            "selector_expression" => {
                // A field of it is another thing, but its body goes as it goes.
                let field = node.child_by_field_name("field").map(|it| file.code(it));
                if field != Some("Body") {
                    return Handed::Kept;
                }
            }
            "keyed_element" => {
                let field = node.child_by_field_name("key").or_else(|| node.named_child(0));
                let literal = around(node).find(|it| it.kind() == "composite_literal");
                let (Some(literal), Some(field)) = (literal, field) else { return Handed::Away };
                let is_map =
                    literal.child_by_field_name("type").is_none_or(|it| it.kind() == "map_type");
                return match field.id() == inner.id() {
                    // The name of a field is no variable.
                    true if !is_map => Handed::Kept,
                    true => Handed::Away,
                    false => Handed::Wrapped { literal, field },
                };
            }
            "literal_value" | "return_statement" | "send_statement" => return Handed::Away,
            "argument_list" => return lent(file, node),
            "assignment_statement" | "short_var_declaration" => {
                let is_right = node.child_by_field_name("right").is_some_and(|right| {
                    right.id() == inner.id() || around(used).any(|it| it.id() == right.id())
                });
                return if is_right { Handed::Away } else { Handed::Kept };
            }
            _ if syntax::is_statement(node) => return Handed::Kept,
            _ => {}
        }
        inner = node;
    }
    Handed::Away
}

/// What reads or prints does not keep what it is given, unless what it makes of it is returned; another
/// function may.
fn lent<'t>(file: &File, arguments: Node<'t>) -> Handed<'t> {
    let Some(call) = arguments.parent() else { return Handed::Away };
    let is_within = |kinds: &[&str]| {
        let mut within = around(call).take_while(|it| !syntax::is_function(*it));
        within.any(|it| kinds.contains(&it.kind()))
    };
    let callee = callee(file, call);
    let is_plain = PLAIN.iter().any(|package| callee.starts_with(package));
    let wraps = callee.rsplit('.').next().is_some_and(|it| it.starts_with("New"));
    let is_returned = is_within(&["return_statement", "composite_literal"]);
    if is_within(&["go_statement"]) {
        Handed::Shared
    } else if callee == "append" || (is_returned && (wraps || !is_plain)) {
        Handed::Away
    } else if is_plain {
        Handed::Kept
    } else {
        Handed::Lent
    }
}

/// Packages whose functions do not keep what they are given.
const PLAIN: [&str; 8] = ["fmt.", "bufio.", "io.", "ioutil.", "json.", "xml.", "csv.", "binary."];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &str) {
        let text = format!("package a\nfunc f() {{\nx := g()\n{line}\n}}\n");
        let file = File::parse("a.go", text).unwrap();
        assert!(file.is_whole(), "{line}");
        let made = syntax::statement(&file, 3).unwrap();
        let handed = format!("{:?}", handed(&file, made, "x"));
        assert!(handed.starts_with(expected), "{line}: {handed}");
    }

    #[test]
    fn what_becomes_of_a_variable_is_seen() {
        for kept in [
            "x.Close()",
            "fmt.Fprintln(x, 1)",
            "return x.Status, nil",
            "if x == nil {\nreturn\n}",
            "defer func() { x.Close() }()",
            "y := x.Next()",
            "return io.ReadAll(x.Body)",
        ] {
            check(kept, "Kept");
        }
        for away in [
            "return x",
            "return x.Body, nil",
            "s.f = x",
            "y := x",
            "c <- x",
            "return use(x)",
            "g(func() { x.Close() })",
            "return bufio.NewReader(x)",
            "list = append(list, x)",
            "return []T{x}",
        ] {
            check(away, "Away");
        }
        check("go f(x)", "Shared");
        check("go func() { x.Close() }()", "Shared");
        check("go f(x)\nuse(x)", "Shared");
        check("go f(x)\nreturn x", "Away");
        check("use(x)", "Lent");
        check("return &T{x: y}", "Kept");
        check("return &T{conn: x}", "Wrapped");
        check("m := map[T]int{x: 1}", "Away");
    }
}
