//! Ways out of a function on which something is not given back.

use tree_sitter::Node;

use crate::code::file::{File, children};

use super::syntax::{self, is_function};

/// How a function ends, seen from a statement on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Leaving<'t> {
    /// On every path it is given back first.
    Never,
    /// This statement leaves without.
    At(Node<'t>),
    /// It comes to the end of the body without.
    AtEnd,
    /// Whether, hangs on conditions that are not followed.
    Unknown,
}

/// The first way out of what comes behind `statement` on which `gives_back` holds for no statement.
pub(super) fn leaving<'t>(
    file: &File,
    statement: Node<'t>,
    gives_back: &dyn Fn(Node<'t>) -> bool,
) -> Leaving<'t> {
    let behind = of_same_list(statement, |it| it.start_byte() > statement.start_byte());
    of_list(file, &behind, statement, gives_back)
}

/// The same, with the statement itself.
pub(super) fn leaving_from<'t>(
    file: &File,
    statement: Node<'t>,
    gives_back: &dyn Fn(Node<'t>) -> bool,
) -> Leaving<'t> {
    let all = of_same_list(statement, |it| it.start_byte() >= statement.start_byte());
    of_list(file, &all, statement, gives_back)
}

fn of_same_list<'t>(statement: Node<'t>, is_meant: impl Fn(&Node<'t>) -> bool) -> Vec<Node<'t>> {
    statement.parent().map(children).unwrap_or_default().into_iter().filter(is_meant).collect()
}

fn of_list<'t>(
    file: &File,
    statements: &[Node<'t>],
    of: Node<'t>,
    gives_back: &dyn Fn(Node<'t>) -> bool,
) -> Leaving<'t> {
    match walk(file, statements, gives_back, DEPTH_MAX) {
        Leaving::AtEnd if of.parent().is_some_and(|it| !is_body(it)) => Leaving::Unknown,
        leaving => leaving,
    }
}

/// More levels of blocks than anybody writes.
const DEPTH_MAX: usize = 64;

fn is_body(list: Node<'_>) -> bool {
    let block = if list.kind() == "statement_list" { list.parent() } else { Some(list) };
    block.and_then(|it| it.parent()).is_some_and(is_function)
}

fn walk<'t>(
    file: &File,
    statements: &[Node<'t>],
    gives_back: &dyn Fn(Node<'t>) -> bool,
    depth: usize,
) -> Leaving<'t> {
    if depth == 0 {
        return Leaving::Unknown;
    }
    for statement in statements {
        if gives_back(*statement) {
            return Leaving::Never;
        }
        if statement.kind() == "return_statement" {
            return Leaving::At(*statement);
        }
        if syntax::is_end(file, *statement) {
            return Leaving::Unknown;
        }
        for block in blocks(*statement) {
            match walk(file, &syntax::statements(block), gives_back, depth - 1) {
                // A path that gives back and leaves is done; one that goes on has given back twice,
                // or knows more than is seen here.
                Leaving::Never | Leaving::Unknown if leaves(file, block) => {}
                Leaving::Never => return Leaving::Unknown,
                Leaving::AtEnd => {}
                other => return other,
            }
        }
    }
    Leaving::AtEnd
}

fn leaves(file: &File, block: Node<'_>) -> bool {
    syntax::statements(block).last().is_some_and(|it| syntax::is_end(file, *it))
}

/// The blocks of a statement that are of the same function.
fn blocks(statement: Node<'_>) -> Vec<Node<'_>> {
    let mut blocks = Vec::new();
    let mut open = match statement.kind() {
        "if_statement" | "for_statement" | "block" | "labeled_statement" => vec![statement],
        kind if kind.ends_with("_switch_statement") || kind == "select_statement" => {
            vec![statement]
        }
        _ => Vec::new(),
    };
    while let Some(node) = open.pop() {
        for child in children(node).into_iter().rev() {
            match child.kind() {
                "block" | "statement_list" => blocks.push(child),
                "if_statement" => open.push(child),
                kind if kind.ends_with("_case") => open.push(child),
                _ => {}
            }
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::file::first;

    fn check(body: &str, expected: Option<u32>) {
        let file =
            File::parse("a.go", format!("package a\nfunc f() {{\ntake()\n{body}\n}}\n")).unwrap();
        assert!(file.is_whole(), "{body}");
        let take = syntax::statement(&file, 3).unwrap();
        let gives_back = |it: Node<'_>| syntax::called(&file, it) == Some("give()");
        let line = match leaving(&file, take, &gives_back) {
            Leaving::At(node) => Some(first(node)),
            Leaving::AtEnd => Some(0),
            Leaving::Never | Leaving::Unknown => None,
        };
        assert_eq!(line, expected, "{body}");
    }

    #[test]
    fn the_way_out_that_forgets_is_found() {
        check("give()", None);
        check("work()", Some(0));
        check("if x {\nreturn\n}\ngive()", Some(5));
        check("if x {\ngive()\nreturn\n}\ngive()", None);
        check("if x {\ngive()\nreturn\n} else if y {\nreturn\n}\ngive()", Some(8));
        check("switch x {\ncase 1:\nreturn\n}\ngive()", Some(6));
        check("for {\nif x {\nreturn\n}\n}", Some(6));
        check("if x {\ngive()\n}\nreturn", None);
        check("go func() {\nreturn\n}()\ngive()", None);
        check("if x {\npanic(1)\n}\ngive()", None);
    }
}
