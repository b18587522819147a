//! A channel that lends: what is received is put back, or a place that is taken is freed.
//!
//! Whoever waits for such a channel waits for those who have taken and not given back; and the code
//! that takes is, as a rule, the code that forgets.

use tree_sitter::Node;

use crate::code::{
    edit::Edit,
    file::{File, first, last},
};

use super::{
    Package, Repair, Spot, Suspicion,
    leaving::{Leaving, leaving},
    syntax::{self, own},
};

/// The statement that gives back what was taken: `pool <- conn`, or `<-slots`.
struct Lease {
    back: String,
    what: &'static str,
}

pub(super) fn give_back(package: &Package, suspicion: &Suspicion<'_>) -> Option<Repair> {
    let spot = suspicion.wait?;
    let file = package.file(spot);
    let take = package.statement(spot)?;
    let lease = lease(file, take)?;
    let function = syntax::function(take)?;
    let is_back = |it: Node<'_>| syntax::is_statement(it) && file.code(it) == lease.back;
    let backs: Vec<Node<'_>> = own(function).filter(|it| is_back(*it)).collect();
    let Leaving::At(way) = leaving(file, take, &is_back) else { return None };
    if backs.is_empty() {
        return None;
    }
    let indent = file.indent(first(take));
    let back = &lease.back;
    let mut edits = vec![Edit::behind(last(take), format!("{indent}defer func() {{ {back} }}()"))];
    let is_sure = backs.iter().all(|it| syntax::is_last(file, *it) && file.has_own_lines(*it));
    edits.extend(backs.iter().map(|it| Edit::remove(first(*it), last(*it))));
    Some(Repair {
        spot: Spot::of(spot.file, take),
        cause: format!("line {} leaves without giving back {}", first(way), lease.what),
        fix: format!("put `defer func() {{ {back} }}()` behind"),
        edits: if is_sure && syntax::turn(take).is_none() { edits } else { Vec::new() },
    })
}

fn lease(file: &File, take: Node<'_>) -> Option<Lease> {
    if take.kind() == "send_statement" {
        let slots = file.code(take.child_by_field_name("channel")?);
        return Some(Lease { back: format!("<-{slots}"), what: "the place that it took" });
    }
    let taken = take.child_by_field_name("left").filter(|it| it.named_child_count() == 1)?;
    let pool = file.code(take.child_by_field_name("right")?).strip_prefix("<-")?;
    Some(Lease { back: format!("{pool} <- {}", file.code(taken)), what: "what it took" })
}
