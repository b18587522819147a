//! `net/http`: requests that outlive their caller, transports for one request, servers without timeouts.

use tree_sitter::Node;

use crate::code::{
    edit::Edit,
    file::{File, all, children, first, last},
};

use super::{
    Package, Repair, Spot, Suspicion,
    syntax::{self, callee, of_kind},
};

/// `http.NewRequest` where there is a context that the request should carry.
pub(super) fn request(package: &Package, suspicion: &Suspicion<'_>) -> Option<Repair> {
    let (spot, call) = suspicion.spots().find_map(|spot| {
        let function = package.statement(spot).and_then(syntax::function)?;
        let mut calls = syntax::own(function).filter(|it| it.kind() == "call_expression");
        let call = calls.find(|it| callee(package.file(spot), *it) == "http.NewRequest")?;
        Some((spot, call))
    })?;
    let file = package.file(spot);
    let context = context(file, syntax::function(call)?);
    let edits = context.as_ref().and_then(|context| {
        let line = first(call);
        let text = file.line(line)?.replacen(
            "http.NewRequest(",
            &format!("http.NewRequestWithContext({context}, "),
            1,
        );
        Some(vec![Edit::replace(line, line, vec![text])])
    });
    let context = context.unwrap_or_else(|| "ctx".to_owned());
    Some(Repair {
        spot: Spot::of(spot.file, call),
        cause: "the request carries no context: it goes on when its caller has left".to_owned(),
        fix: format!("make the request with `http.NewRequestWithContext({context}, ...)` at"),
        edits: edits.unwrap_or_default(),
    })
}

/// The context that a function is given.
pub(super) fn context(file: &File, function: Node<'_>) -> Option<String> {
    syntax::parameters(file, function).into_iter().find_map(|(name, kind)| match kind {
        "context.Context" => Some(name.to_owned()),
        "*http.Request" => Some(format!("{name}.Context()")),
        _ => None,
    })
}

/// A context without end that a request is made with, or a client without a timeout.
pub(super) fn deadline(package: &Package, suspicion: &Suspicion<'_>) -> Option<Repair> {
    suspicion.spots().find_map(|spot| {
        let file = package.file(spot);
        let function = package.statement(spot).and_then(syntax::declaration)?;
        let endless = of_kind(function, "call_expression").find(|it| {
            matches!(file.code(*it), "context.Background()" | "context.TODO()")
        })?;
        Some(Repair {
            spot: Spot::of(spot.file, endless),
            cause: "this context never ends, and so the request does not".to_owned(),
            fix: "give the request a context that ends (`context.WithTimeout`, with `defer cancel()`), instead of"
                .to_owned(),
            edits: Vec::new(),
        })
    })
}

/// A client or transport that is made where the request is.
pub(super) fn transport(package: &Package, suspicion: &Suspicion<'_>) -> Option<Repair> {
    suspicion.spots().find_map(|spot| {
        let file = package.file(spot);
        let function = package.statement(spot).and_then(syntax::declaration)?;
        let made = of_kind(function, "composite_literal").find(|it| {
            let kind = it.child_by_field_name("type").map_or("", |it| file.code(it));
            matches!(kind, "http.Client" | "http.Transport")
        })?;
        Some(Repair {
            spot: Spot::of(spot.file, made),
            cause: "each call makes a client with a transport of its own".to_owned(),
            fix: "make it once, where the program starts, and share it, instead of".to_owned(),
            edits: Vec::new(),
        })
    })
}

/// The one `http.Server` of the package that has no `ReadTimeout`.
pub(super) fn server(package: &Package, _: &Suspicion<'_>) -> Option<Repair> {
    let mut servers = package.all("composite_literal").filter(|(index, it)| {
        let file = &package.files[*index];
        let is_server =
            it.child_by_field_name("type").is_some_and(|it| file.code(it) == "http.Server");
        let keys =
            all(*it).filter(|it| it.kind() == "keyed_element").filter_map(|it| it.named_child(0));
        is_server && !keys.into_iter().any(|it| file.code(it) == "ReadTimeout")
    });
    let (index, literal) = servers.next()?;
    if servers.next().is_some() {
        return None;
    }
    let file = &package.files[index];
    Some(Repair {
        spot: Spot::of(index, literal),
        cause: "the server waits for its clients without limit".to_owned(),
        fix: "set the times that suit your clients: `ReadHeaderTimeout`, `ReadTimeout`, `IdleTimeout`, at"
            .to_owned(),
        edits: with_timeouts(file, literal).unwrap_or_default(),
    })
}

const TIMEOUTS: [(&str, &str); 3] = [
    ("ReadHeaderTimeout", "10 * time.Second"),
    ("ReadTimeout", "time.Minute"),
    ("IdleTimeout", "2 * time.Minute"),
];

fn with_timeouts(file: &File, literal: Node<'_>) -> Option<Vec<Edit>> {
    let body = literal.child_by_field_name("body")?;
    let code = file.code(body);
    let missing = TIMEOUTS.iter().filter(|(name, _)| !code.contains(&format!("{name}:")));
    let line = file.line(first(body))?;
    let open = body.start_position().column + 1;
    let mut edits = Vec::new();
    if first(body) == last(body) {
        let fields: Vec<String> = missing.map(|(name, value)| format!("{name}: {value}")).collect();
        let rest = if children(body).is_empty() { "" } else { ", " };
        let fields = fields.join(", ") + rest;
        let text = format!("{}{fields}{}", line.get(..open)?, line.get(open..)?);
        edits.push(Edit::replace(first(body), first(body), vec![text]));
    } else {
        let indent = file.indent(first(body) + 1);
        let fields = missing.map(|(name, value)| format!("{indent}{name}: {value},"));
        edits.extend(fields.map(|it| Edit::behind(first(body), it)));
    }
    edits.extend(import(file, "time")?);
    Some(edits)
}

/// `import "time"`, in its place among the others, if it is missing; `None` if there is no list of
/// imports to put it into.
pub(super) fn import(file: &File, package: &str) -> Option<Vec<Edit>> {
    let quoted = format!("\"{package}\"");
    let imports: Vec<Node<'_>> = of_kind(file.root(), "import_spec").collect();
    if imports.iter().any(|it| file.code(*it) == quoted) {
        return Some(Vec::new());
    }
    let is_listed = |it: &Node<'_>| it.parent().is_some_and(|it| it.kind() == "import_spec_list");
    let listed: Vec<Node<'_>> = imports.into_iter().filter(is_listed).collect();
    let comes_before = |it: &Node<'_>| {
        let path = file.code(*it).trim_start_matches(['_', ' ']);
        !path.contains('.') && *path < *quoted
    };
    let line = |beside: Node<'_>| format!("{}{quoted}", file.indent(first(beside)));
    match listed.iter().copied().rfind(|it| comes_before(it)) {
        Some(before) => Some(vec![Edit::behind(last(before), line(before))]),
        None => listed.first().map(|it| vec![Edit::before(first(*it), line(*it))]),
    }
}
