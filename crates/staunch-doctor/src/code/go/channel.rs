//! Channels whose other end leaves: room for the one value that is sent, and a close that is never
//! forgotten.
//!
//! A channel is followed by its name from where it is used to `make`: within one declaration, and
//! through the arguments of the `go` statement that the finding names as birth.

use tree_sitter::Node;

use crate::code::{
    edit::Edit,
    file::{File, all, around, first, last, next},
};

use super::{
    Package, Repair, Spot, Suspicion,
    syntax::{self, arguments, assignment, callee, of_kind, own},
};

/// A channel: where it is made, and by what name it is known there and where it is waited for.
struct Channel<'t> {
    file: usize,
    /// The function that makes it, with all within it.
    maker: Node<'t>,
    /// `result := make(chan T)`.
    made: Node<'t>,
    call: Node<'t>,
    name: String,
    /// The function that waits, and what it calls the channel.
    waiter: Node<'t>,
    inner: String,
}

/// A send that nobody receives: if a goroutine sends once, room for one lets it end.
pub(super) fn send(package: &Package, suspicion: &Suspicion<'_>) -> Option<Repair> {
    let spot = suspicion.wait?;
    let file = package.file(spot);
    let statement = package.statement(spot).filter(|it| it.kind() == "send_statement")?;
    let sent = file.code(statement.child_by_field_name("channel")?);
    let channel = channel(package, suspicion, statement, sent)?;
    if let Some(again) = sends_again(file, &channel) {
        return Some(Repair {
            spot: Spot::of(spot.file, again),
            cause: format!(
                "behind this send the function goes on and sends once more, and one value is received: {}",
                syntax::said(statement)
            ),
            fix: "put `return` behind the send at".to_owned(),
            edits: Vec::new(),
        });
    }
    let room = room(package, &channel, statement).filter(|_| is_without_room(package, &channel));
    let made = Spot::of(channel.file, channel.made);
    let said = room.clone().unwrap_or_else(|| "1".to_owned());
    Some(Repair {
        spot: made,
        cause: "the channel has no room, and whoever should receive may leave first".to_owned(),
        fix: format!("give the channel room for what is sent (`make(chan T, {said})`) at"),
        edits: room.and_then(|room| with_room(package, &channel, &room)).unwrap_or_default(),
    })
}

/// A send, again and again, by somebody who has a context and does not look at it.
pub(super) fn send_or_leave(package: &Package, suspicion: &Suspicion<'_>) -> Option<Repair> {
    let spot = suspicion.wait?;
    let file = package.file(spot);
    let statement = package.statement(spot).filter(|it| it.kind() == "send_statement")?;
    let is_case = statement.parent().is_some_and(|it| it.kind() == "communication_case");
    let function = syntax::function(statement).filter(|_| !is_case)?;
    let mut functions = around(statement).filter(|it| syntax::is_function(*it));
    let end = functions.find_map(|it| super::http::context(file, it))?;
    let (indent, code) = (file.indent(first(statement)), file.code(statement));
    let lines =
        ["select {", &format!("case {code}:"), &format!("case <-{end}.Done():"), "\treturn", "}"];
    let lines = lines.iter().map(|it| format!("{indent}{it}")).collect();
    let is_sure = !syntax::has_results(function)
        && first(statement) == last(statement)
        && file.has_own_lines(statement);
    Some(Repair {
        spot: Spot::of(spot.file, statement),
        cause: format!("the send waits for a receiver alone, and not for the end of `{end}`"),
        fix: format!("send in a `select` with `case <-{end}.Done(): return` at"),
        edits: if is_sure {
            vec![Edit::replace(first(statement), last(statement), lines)]
        } else {
            Vec::new()
        },
    })
}

/// A receive on which nobody sends: whoever sends closes the channel on every path.
pub(super) fn receive(package: &Package, suspicion: &Suspicion<'_>) -> Option<Repair> {
    let spot = suspicion.wait?;
    let file = package.file(spot);
    let statement = package.statement(spot)?;
    let received = received(file, statement)?;
    let channel = channel(package, suspicion, statement, received)?;
    let made = Spot::of(channel.file, channel.made);
    let file = &package.files[channel.file];
    let name = channel.name.as_str();
    let senders: Vec<Node<'_>> = of_kind(channel.maker, "send_statement")
        .filter(|it| it.child_by_field_name("channel").is_some_and(|it| file.code(it) == name))
        .collect();
    let closes: Vec<Node<'_>> = closes(file, &channel).collect();
    if closes.iter().any(|it| around(*it).any(|it| it.kind() == "defer_statement")) {
        return None;
    }
    let cause = match (senders.is_empty(), closes.is_empty()) {
        (true, true) => "nobody sends on this channel or closes it",
        (_, true) => "nobody closes this channel, and a path leaves without sending",
        (_, false) => "a path leaves without sending on this channel or closing it",
    };
    let can_end = ends_by_close(package.file(spot), statement);
    let edits = can_end.then(|| closed(file, &channel, &senders, &closes)).flatten();
    let sender = senders.first().and_then(|it| syntax::function(*it));
    let is_own = sender.is_none_or(|it| is_made_in(&channel, it));
    Some(Repair {
        spot: made,
        cause: cause.to_owned(),
        fix: if is_own {
            format!("put `defer close({name})` behind")
        } else {
            format!("put `defer close({name})` first in the goroutine that sends, for")
        },
        edits: edits.unwrap_or_default(),
    })
}

/// The channel that is called `name` at `used`.
fn channel<'p>(
    package: &'p Package,
    suspicion: &Suspicion<'_>,
    used: Node<'p>,
    name: &str,
) -> Option<Channel<'p>> {
    let spot = suspicion.wait?;
    let waiter = syntax::function(used)?;
    let maker = syntax::declaration(used)?;
    let inner = name.to_owned();
    if let Some((made, call)) = make(package.file(spot), maker, name, used) {
        let name = inner.clone();
        return Some(Channel { file: spot.file, maker, made, call, name, waiter, inner });
    }
    let parameters = syntax::parameters(package.file(spot), waiter);
    let place = parameters.iter().position(|(it, _)| *it == name)?;
    let birth = suspicion.birth?;
    let file = package.file(birth);
    let start = package.statement(birth).filter(|it| it.kind() == "go_statement")?;
    let argument = *arguments(start.named_child(0)?).get(place)?;
    let name = file.code(argument).to_owned();
    let maker = syntax::declaration(start)?;
    let (made, call) = make(file, maker, &name, start)?;
    Some(Channel { file: birth.file, maker, made, call, name, waiter, inner })
}

/// The last `name := make(chan T)` in front of a use.
fn make<'t>(
    file: &File,
    maker: Node<'t>,
    name: &str,
    used: Node<'t>,
) -> Option<(Node<'t>, Node<'t>)> {
    let made =
        of_kind(maker, "short_var_declaration").filter(|it| it.end_byte() <= used.start_byte());
    let made = made.filter_map(|it| Some((it, assignment(it)?)));
    let made = made.filter(|(_, it)| {
        let is_named = it.names.len() == 1 && file.code(it.names[0]) == name;
        let is_channel = arguments(it.call).first().is_some_and(|it| it.kind() == "channel_type");
        is_named && is_channel && callee(file, it.call) == "make"
    });
    made.last().map(|(statement, it)| (statement, it.call))
}

/// The channel that a statement receives from.
fn received<'f>(file: &'f File, statement: Node<'_>) -> Option<&'f str> {
    if statement.kind() == "for_statement" {
        let range = all(statement).find(|it| it.kind() == "range_clause")?;
        return Some(file.code(range.child_by_field_name("right")?));
    }
    let mut receives = of_kind(statement, "unary_expression").filter_map(|it| {
        file.code(it).starts_with("<-").then(|| it.child_by_field_name("operand")).flatten()
    });
    let only = receives.next()?;
    receives.next().is_none().then(|| file.code(only))
}

/// Whether whoever waits notices that the channel is closed: a loop over it, `v, ok := <-c`, or a
/// receive whose value nobody wants.
fn ends_by_close(file: &File, statement: Node<'_>) -> bool {
    match statement.kind() {
        "for_statement" | "expression_statement" => true,
        "short_var_declaration" | "assignment_statement" => {
            let left = statement.child_by_field_name("left");
            left.is_some_and(|it| it.named_child_count() == 2)
                && file.code(statement).contains("<-")
        }
        _ => false,
    }
}

/// A send behind which the function neither ends nor leaves, in a function that sends more than once.
fn sends_again<'t>(file: &File, channel: &Channel<'t>) -> Option<Node<'t>> {
    let sends: Vec<Node<'_>> = sends(file, channel).collect();
    let (_, others) = sends.split_last()?;
    others.iter().copied().find(|it| !next(*it).is_some_and(|next| syntax::is_end(file, next)))
}

fn sends<'t>(file: &File, channel: &Channel<'t>) -> impl Iterator<Item = Node<'t>> {
    let sends = own(channel.waiter).filter(|it| it.kind() == "send_statement");
    sends.filter(|it| {
        it.child_by_field_name("channel").is_some_and(|it| file.code(it) == channel.inner)
    })
}

fn is_without_room(package: &Package, channel: &Channel<'_>) -> bool {
    let file = &package.files[channel.file];
    match arguments(channel.call)[..] {
        [_] => true,
        [_, room] => file.code(room) == "0",
        _ => false,
    }
}

/// How much room the senders need, if that is sure: one for each goroutine that sends once.
fn room(package: &Package, channel: &Channel<'_>, sent: Node<'_>) -> Option<String> {
    let file = &package.files[channel.file];
    if syntax::turn(sent).is_some() {
        return None;
    }
    let mut starts = of_kind(channel.maker, "go_statement").filter(|it| {
        let is_waiter = all(*it).any(|it| it.id() == channel.waiter.id());
        let arguments = it.named_child(0).map(arguments).unwrap_or_default();
        is_waiter || arguments.iter().any(|it| file.code(*it) == channel.name)
    });
    let start = starts.next()?;
    let is_only = starts.next().is_none();
    match syntax::turn(start).filter(|it| it.start_byte() > channel.made.end_byte()) {
        _ if !is_only => None,
        Some(turn) => turns(file, turn, channel),
        None => Some("1".to_owned()),
    }
}

/// How often a loop goes round, in the words of the program, where that is known at `make`.
fn turns(file: &File, turn: Node<'_>, channel: &Channel<'_>) -> Option<String> {
    let range = all(turn).find(|it| it.kind() == "range_clause")?;
    let right = range.child_by_field_name("right").filter(|it| it.kind() == "identifier")?;
    let is_list = range.child_by_field_name("left")?.named_child_count() == 2;
    let name = file.code(right);
    let is_known = syntax::parameters(file, channel.maker).iter().any(|(it, _)| *it == name);
    (is_list && is_known).then(|| format!("len({name})"))
}

fn with_room(package: &Package, channel: &Channel<'_>, room: &str) -> Option<Vec<Edit>> {
    let file = &package.files[channel.file];
    let kind = *arguments(channel.call).first()?;
    let line = file.line(first(channel.call))?;
    let (from, to) = (kind.end_position().column, channel.call.end_position().column);
    let is_one_line = first(channel.call) == last(channel.call);
    let text = format!("{}, {room}){}", line.get(..from)?, line.get(to..)?);
    is_one_line.then(|| vec![Edit::replace(first(channel.call), first(channel.call), vec![text])])
}

fn closes<'t>(file: &File, channel: &Channel<'t>) -> impl Iterator<Item = Node<'t>> {
    let close = format!("close({})", channel.name);
    of_kind(channel.maker, "call_expression").filter(move |it| file.code(*it) == close)
}

fn is_made_in(channel: &Channel<'_>, function: Node<'_>) -> bool {
    syntax::function(channel.made).is_some_and(|it| it.id() == function.id())
}

/// `defer close(c)` where all sends are of one function: the one that makes the channel, or one
/// goroutine. A channel must be closed once, so that other closes go.
fn closed(
    file: &File,
    channel: &Channel<'_>,
    senders: &[Node<'_>],
    closes: &[Node<'_>],
) -> Option<Vec<Edit>> {
    let sender = syntax::function(*senders.first()?)?;
    let is_one =
        senders.iter().all(|it| syntax::function(*it).is_some_and(|it| it.id() == sender.id()));
    if !is_one || is_lent(file, channel) {
        return None;
    }
    let mut edits = Vec::new();
    for close in closes {
        let statement = close.parent().filter(|it| it.kind() == "expression_statement")?;
        let is_its = syntax::function(statement)?.id() == sender.id();
        if !is_its || !syntax::is_last(file, statement) || !file.has_own_lines(statement) {
            return None;
        }
        edits.push(Edit::remove(first(statement), last(statement)));
    }
    let close = format!("defer close({})", channel.name);
    if is_made_in(channel, sender) {
        let line = last(channel.made);
        edits.push(Edit::behind(line, format!("{}{close}", file.indent(first(channel.made)))));
    } else {
        let start = around(sender).find(|it| it.kind() == "go_statement")?;
        let is_started_once =
            syntax::turn(start).is_none_or(|turn| turn.start_byte() < channel.made.start_byte());
        let first_statement = *syntax::statements(syntax::body(sender)?).first()?;
        let line = first(first_statement);
        let is_apart = line > first(sender) && is_started_once;
        edits.push(is_apart.then(|| Edit::before(line, format!("{}{close}", file.indent(line))))?);
    }
    Some(edits)
}

/// Whether another function than the one that waits is given the channel: it may send or close.
fn is_lent(file: &File, channel: &Channel<'_>) -> bool {
    let waiter = channel.waiter.child_by_field_name("name").map(|it| it.id());
    of_kind(channel.maker, "call_expression").any(|call| {
        let is_given = arguments(call).iter().any(|it| file.code(*it) == channel.name);
        let is_start = call.parent().is_some_and(|it| it.kind() == "go_statement");
        let is_builtin = matches!(callee(file, call), "close" | "len" | "cap");
        is_given && !is_builtin && !(is_start && waiter.is_some())
    })
}
