//! What Go's syntax tree is asked.

use tree_sitter::Node;

use crate::code::file::{File, all, all_outside, around, children, first, next};

/// A function, a method or a function literal.
pub(super) fn is_function(node: Node<'_>) -> bool {
    is_declaration(node) || node.kind() == "func_literal"
}

fn is_declaration(node: Node<'_>) -> bool {
    matches!(node.kind(), "function_declaration" | "method_declaration")
}

/// The function that a node is within, literals included.
pub(super) fn function(node: Node<'_>) -> Option<Node<'_>> {
    around(node).find(|it| is_function(*it))
}

/// The function or method that a node is within, with all literals in it.
pub(in crate::code) fn declaration(node: Node<'_>) -> Option<Node<'_>> {
    around(node).find(|it| is_declaration(*it))
}

/// The statement on a line: the smallest around its first word.
pub(super) fn statement(file: &File, line: u32) -> Option<Node<'_>> {
    let node = file.at(line)?;
    std::iter::once(node).chain(around(node)).find(|it| is_statement(*it))
}

pub(super) fn is_statement(node: Node<'_>) -> bool {
    let kind = node.kind();
    (kind.ends_with("_statement") || matches!(kind, "short_var_declaration" | "var_declaration"))
        && kind != "receive_statement"
}

/// The statements of a function's body or another block.
pub(super) fn statements(block: Node<'_>) -> Vec<Node<'_>> {
    match children(block)[..] {
        [list] if list.kind() == "statement_list" => children(list),
        _ if block.kind() == "block" || block.kind() == "statement_list" => children(block),
        _ => Vec::new(),
    }
}

pub(super) fn body(node: Node<'_>) -> Option<Node<'_>> {
    node.child_by_field_name("body")
}

/// The nodes of a function that are not of a function within it.
pub(super) fn own(function: Node<'_>) -> impl Iterator<Item = Node<'_>> {
    body(function).into_iter().flat_map(|body| all_outside(body, is_function))
}

/// The nodes of a kind in a function and in all within it.
pub(super) fn of_kind<'t>(root: Node<'t>, kind: &'static str) -> impl Iterator<Item = Node<'t>> {
    all(root).filter(move |it| it.kind() == kind)
}

/// The loop within its function that a node is in.
pub(super) fn turn(node: Node<'_>) -> Option<Node<'_>> {
    around(node).take_while(|it| !is_function(*it)).find(|it| it.kind() == "for_statement")
}

/// `T.m` of a method, `f` of a function.
pub(super) fn qualified(file: &File, declaration: Node<'_>) -> Option<String> {
    let name = file.code(declaration.child_by_field_name("name")?);
    let receiver = declaration.child_by_field_name("receiver");
    let kind = receiver.and_then(|it| all(it).find(|it| it.kind() == "type_identifier"));
    Some(kind.map_or_else(|| name.to_owned(), |it| format!("{}.{name}", file.code(it))))
}

/// The name of a method's receiver, and its type.
pub(super) fn receiver<'f>(file: &'f File, declaration: Node<'_>) -> Option<(&'f str, &'f str)> {
    let receiver = declaration.child_by_field_name("receiver")?;
    let part = |kind| all(receiver).find(|it| it.kind() == kind).map(|it| file.code(it));
    Some((part("identifier")?, part("type_identifier")?))
}

/// Name and type of each parameter.
pub(super) fn parameters<'f>(file: &'f File, function: Node<'_>) -> Vec<(&'f str, &'f str)> {
    let list = function.child_by_field_name("parameters").into_iter().flat_map(children);
    list.flat_map(|it| {
        let kind = it.child_by_field_name("type").map_or("", |it| file.code(it));
        let names = children(it).into_iter().filter(|it| it.kind() == "identifier");
        names.map(|name| (file.code(name), kind)).collect::<Vec<_>>()
    })
    .collect()
}

pub(super) fn has_results(function: Node<'_>) -> bool {
    function.child_by_field_name("result").is_some()
}

/// What is called: `p.db.Query`.
pub(super) fn callee<'f>(file: &'f File, call: Node<'_>) -> &'f str {
    call.child_by_field_name("function").map_or("", |it| file.code(it))
}

pub(super) fn arguments(call: Node<'_>) -> Vec<Node<'_>> {
    call.child_by_field_name("arguments").map(children).unwrap_or_default()
}

/// `x, err := f()` or `x, err = f()`: the names on the left, and the call on the right.
pub(super) struct Assignment<'t> {
    pub(super) names: Vec<Node<'t>>,
    pub(super) call: Node<'t>,
}

pub(super) fn assignment(statement: Node<'_>) -> Option<Assignment<'_>> {
    if !matches!(statement.kind(), "short_var_declaration" | "assignment_statement") {
        return None;
    }
    let names = children(statement.child_by_field_name("left")?);
    match children(statement.child_by_field_name("right")?)[..] {
        [call] if call.kind() == "call_expression" => Some(Assignment { names, call }),
        _ => None,
    }
}

/// The call that is a statement of its own: `x.Close()`, also as `_ = x.Close()`.
pub(super) fn called<'f>(file: &'f File, statement: Node<'_>) -> Option<&'f str> {
    match statement.kind() {
        "expression_statement" => Some(file.code(statement)),
        "assignment_statement" => {
            let assignment = assignment(statement)?;
            let is_blank = assignment.names.iter().all(|it| file.code(*it) == "_");
            is_blank.then(|| file.code(assignment.call))
        }
        _ => None,
    }
}

/// Whether a statement leaves the function, or the turn.
pub(super) fn is_end(file: &File, statement: Node<'_>) -> bool {
    match statement.kind() {
        "return_statement" | "continue_statement" | "break_statement" | "goto_statement" => true,
        "expression_statement" => {
            let code = file.code(statement);
            ["panic(", "log.Fatal", "os.Exit("].iter().any(|it| code.starts_with(it))
        }
        _ => false,
    }
}

/// The check of `error` behind a statement: `if err != nil { ... return }`.
pub(super) fn check<'t>(file: &File, statement: Node<'t>, error: &str) -> Option<Node<'t>> {
    let check = next(statement).filter(|it| it.kind() == "if_statement")?;
    let condition = file.code(check.child_by_field_name("condition")?);
    let is_about = condition == format!("{error} != nil");
    let leaves = statements(check.child_by_field_name("consequence")?);
    let leaves = leaves.last().is_some_and(|it| is_end(file, *it));
    let is_plain = check.child_by_field_name("initializer").is_none()
        && check.child_by_field_name("alternative").is_none();
    (is_about && leaves && is_plain).then_some(check)
}

/// Whether a statement is the last that its function does on that path: nothing comes behind it but a
/// `return` that calls nothing of the program.
pub(super) fn is_last(file: &File, statement: Node<'_>) -> bool {
    if let Some(next) = next(statement) {
        return next.kind() == "return_statement" && calls_nothing(file, next);
    }
    let list = around(statement).find(|it| it.kind() == "block");
    list.and_then(|it| it.parent()).is_some_and(is_function)
}

fn calls_nothing(file: &File, statement: Node<'_>) -> bool {
    let mut calls = of_kind(statement, "call_expression").map(|it| callee(file, it));
    let waits = of_kind(statement, "unary_expression").any(|it| file.code(it).starts_with("<-"));
    calls.all(|it| HARMLESS.iter().any(|plain| it.starts_with(plain))) && !waits
}

/// Calls that neither lock nor wait.
const HARMLESS: [&str; 9] = [
    "errors.",
    "fmt.Errorf",
    "fmt.Sprint",
    "len",
    "string",
    "int",
    "append",
    "strconv.",
    "strings.",
];

/// The package that a file says it is of.
pub(super) fn package(file: &File) -> Option<&str> {
    let clause = children(file.root()).into_iter().find(|it| it.kind() == "package_clause")?;
    Some(file.code(children(clause).first().copied()?))
}

/// Whether a declaration is that of a function which the runtime calls `function`:
/// `main.(*T).m.func1` is within `T.m`.
pub(in crate::code) fn is_named(
    file: &File,
    declaration: Option<Node<'_>>,
    function: &str,
) -> bool {
    let path = function.rfind('/').map_or(0, |slash| slash + 1);
    let Some((_, name)) = function[path..].split_once('.') else { return false };
    let name = name.replace("[...]", "").replace("(*", "").replace(')', "");
    let Some(declared) = declaration.and_then(|it| qualified(file, it)) else {
        // What is made where a variable of the package is.
        return name.starts_with("glob.") || name.starts_with("init");
    };
    let rest = name.strip_prefix(&*declared);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-', '·']))
}

/// The line of a statement, as it is said.
pub(super) fn said(node: Node<'_>) -> String {
    format!("line {}", first(node))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "package main

func (s *Store[K]) Put(key K, a, b int) (err error) {
	rows, err := s.db.Query(
		`x`)
	if err != nil {
		return err
	}
	go func() {
		for range s.c {
			s.mu.Lock()
		}
	}()
	s.close()
	return errors.New(`x`)
}
";

    fn file() -> File {
        File::parse("main.go", TEXT.to_owned()).unwrap()
    }

    #[test]
    fn a_line_is_its_statement_and_its_function() {
        let file = file();
        let kind = |line| statement(&file, line).map(|it| it.kind());
        assert_eq!(kind(4), Some("short_var_declaration"));
        assert_eq!(kind(5), kind(4), "the same statement");
        assert_eq!(kind(9), Some("go_statement"));
        assert_eq!((kind(11), kind(2)), (Some("expression_statement"), None));
        let lock = statement(&file, 11).unwrap();
        assert_eq!(function(lock).unwrap().kind(), "func_literal");
        assert!(turn(lock).is_some() && turn(statement(&file, 9).unwrap()).is_none());
        let put = declaration(lock).unwrap();
        assert_eq!(qualified(&file, put).unwrap(), "Store.Put");
        assert_eq!(receiver(&file, put), Some(("s", "Store")));
        assert_eq!(parameters(&file, put), [("key", "K"), ("a", "int"), ("b", "int")]);
        assert!(has_results(put) && package(&file) == Some("main"));
    }

    #[test]
    fn statements_know_what_they_do() {
        let file = file();
        let query = statement(&file, 4).unwrap();
        let assigned = assignment(query).unwrap();
        assert_eq!(callee(&file, assigned.call), "s.db.Query");
        assert_eq!(assigned.names.len(), 2);
        assert_eq!(first(check(&file, query, "err").unwrap()), 6);
        assert!(check(&file, query, "other").is_none());
        let other = File::parse("main.go", TEXT.replace("err != nil", "err == nil")).unwrap();
        assert!(check(&other, statement(&other, 4).unwrap(), "err").is_none());
        let close = statement(&file, 14).unwrap();
        assert_eq!(called(&file, close), Some("s.close()"));
        assert!(is_last(&file, close) && !is_last(&file, query));
    }

    #[test]
    fn names_of_the_runtime_are_found_again() {
        let file = file();
        let put = statement(&file, 11).and_then(declaration);
        for name in
            ["main.(*Store[...]).Put", "a.b/main.(*Store[...]).Put.func1", "main.Store.Put-fm"]
        {
            assert!(is_named(&file, put, name), "{name}");
        }
        for name in ["main.Put", "main.(*Store[...]).PutAll", "main", "", "main.(*Other).Put"] {
            assert!(!is_named(&file, put, name), "{name}");
        }
        assert!(is_named(&file, None, "main.glob..func1") && !is_named(&file, None, "main.f"));
    }
}
