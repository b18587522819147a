//! A body that is closed and never read: `resp.Body` is named for its `Close` alone, and `resp` goes nowhere
//! else.

use tree_sitter::Node;

use crate::code::{
    edit::Edit,
    file::{File, all, around, first, last},
};

use super::{
    Package, Repair, Spot, Suspicion, http,
    syntax::{self, assignment, callee},
};

/// What is read before a body is closed: more than that is cheaper to ask for on another connection.
const READ_MAX: &str = "64<<10";

pub(super) fn unread(package: &Package, suspicion: &Suspicion<'_>) -> Option<Repair> {
    suspicion.spots().find_map(|spot| {
        let file = package.file(spot);
        let statement = package.statement(spot)?;
        let assigned = assignment(statement)?;
        let response = *assigned.names.first()?;
        let function = syntax::function(statement)?;
        if response.kind() != "identifier" || !has_body(file, function, assigned.call) {
            return None;
        }
        let variable = file.code(response);
        let uses = all(function).filter(|it| {
            it.kind() == "identifier" && it.id() != response.id() && file.code(*it) == variable
        });
        let uses: Option<Vec<Use<'_>>> = uses.map(|it| use_of(file, it)).collect();
        let closes: Vec<Node<'_>> = uses?.into_iter().filter_map(Use::close).collect();
        let close = *closes.first()?;
        let edits = if closes.len() == 1 { read_first(file, close, variable) } else { None };
        Some(Repair {
            spot: Spot::of(spot.file, close),
            cause: format!(
                "nothing reads `{variable}.Body`: closed before its end, it takes its connection with it"
            ),
            fix: format!(
                "read it to its end first, up to a bound (`io.Copy(io.Discard, io.LimitReader({variable}.Body, {READ_MAX}))`), at"
            ),
            edits: edits.unwrap_or_default(),
        })
    })
}

/// Whether a call makes a request whose answer may have a body.
fn has_body(file: &File, function: Node<'_>, call: Node<'_>) -> bool {
    let name = callee(file, call).rsplit('.').next().unwrap_or_default();
    let code = file.code(function);
    match name {
        "Get" | "Post" | "PostForm" => true,
        "Do" | "RoundTrip" => !code.contains("MethodHead") && !code.contains("\"HEAD\""),
        _ => false,
    }
}

/// What is done with a response.
enum Use<'t> {
    /// `resp.Body.Close()`: its statement.
    Close(Node<'t>),
    /// Its status, its head, whether it is there.
    Looked,
}

impl<'t> Use<'t> {
    fn close(self) -> Option<Node<'t>> {
        match self {
            Use::Close(statement) => Some(statement),
            Use::Looked => None,
        }
    }
}

/// `None` if it may be read: by `Write`, by whoever else gets it or its body.
fn use_of<'t>(file: &File, name: Node<'t>) -> Option<Use<'t>> {
    let parent = name.parent()?;
    if parent.kind() == "binary_expression" {
        return Some(Use::Looked);
    }
    if parent.kind() != "selector_expression" {
        return None;
    }
    match field(file, parent)? {
        "Body" => {
            let outer = parent.parent()?;
            if outer.kind() == "binary_expression" {
                return Some(Use::Looked);
            }
            let call = outer.parent().filter(|it| it.kind() == "call_expression")?;
            let is_close = outer.kind() == "selector_expression"
                && field(file, outer)? == "Close"
                && callee(file, call) == file.code(outer);
            let statement = around(call).find(|it| syntax::is_statement(*it))?;
            is_close.then_some(Use::Close(statement))
        }
        "Close" | "ContentLength" | "Cookies" | "Header" | "Location" | "Proto"
        | "ProtoAtLeast" | "Request" | "Status" | "StatusCode" | "TLS" | "TransferEncoding"
        | "Uncompressed" => Some(Use::Looked),
        _ => None,
    }
}

fn field<'f>(file: &'f File, selector: Node<'_>) -> Option<&'f str> {
    Some(file.code(selector.child_by_field_name("field")?))
}

/// The same statement with reading in front of it.
fn read_first(file: &File, close: Node<'_>, variable: &str) -> Option<Vec<Edit>> {
    if !file.has_own_lines(close) {
        return None;
    }
    let indent = file.indent(first(close));
    let read = format!("io.Copy(io.Discard, io.LimitReader({variable}.Body, {READ_MAX}))");
    let call = format!("{variable}.Body.Close()");
    let mut edits = match (close.kind(), file.code(close)) {
        ("expression_statement", code) if code == call => {
            vec![Edit::before(first(close), format!("{indent}{read}"))]
        }
        ("defer_statement", code) if code == format!("defer {call}") => {
            let lines = vec![
                format!("{indent}defer func() {{"),
                format!("{indent}\t{read}"),
                format!("{indent}\t{call}"),
                format!("{indent}}}()"),
            ];
            vec![Edit::replace(first(close), last(close), lines)]
        }
        _ => return None,
    };
    edits.extend(http::import(file, "io")?);
    Some(edits)
}
