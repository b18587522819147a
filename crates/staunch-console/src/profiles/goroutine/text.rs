//! The goroutine profile as text, in the layouts of Go's `runtime/pprof`: `debug=1` groups
//! (`printCountProfile`), `debug=2` lists (`runtime.Stack`).

use std::{cmp::Reverse, collections::HashMap, fmt::Write};

use staunch_ledger::{Entry, Kind};

use super::{Place, Task};

/// Bytes of a listing; Go stops at the same. Beyond, tasks are only counted.
const LISTING_BYTES_MAX: usize = 64 << 20;

/// `debug=1`: tasks of one stack and state together, the most first.
pub(super) fn grouped(tasks: &[Task<'_>]) -> String {
    let mut groups: HashMap<(Vec<Place>, &str), u64> = HashMap::new();
    for task in tasks {
        *groups.entry((task.stack().collect(), task.wait_reason())).or_default() += 1;
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_cached_key(|((stack, state), count)| {
        let lines: Vec<_> = stack.iter().map(|place| (place.file(), place.line())).collect();
        (Reverse(*count), lines, *state)
    });
    let mut text = format!("goroutine profile: total {}\n", tasks.len());
    for ((stack, state), count) in &groups {
        write_group(&mut text, stack, state, *count);
    }
    text
}

// Writing to a string cannot fail, here and below.
fn write_group(text: &mut String, stack: &[Place], state: &str, count: u64) {
    let _ = write!(text, "{count} @");
    for place in stack {
        let _ = write!(text, " {:#x}", place.address());
    }
    let _ = writeln!(text, "\n# labels: {{\"state\":\"{state}\"}}");
    for place in stack {
        let (address, name) = (place.address(), place.name());
        let _ = writeln!(text, "#\t{address:#x}\t{name}+0x0\t{}:{}", place.file(), place.line());
    }
    text.push('\n');
}

/// `debug=2`: every task, one after the other.
pub(super) fn each(tasks: &[Task<'_>]) -> String {
    let mut text = String::new();
    for (written, task) in tasks.iter().enumerate() {
        if text.len() >= LISTING_BYTES_MAX {
            let left = tasks.len() - written;
            let _ = writeln!(text, "\n...{left} more; `debug=1` groups them");
            break;
        }
        if written > 0 {
            text.push('\n');
        }
        write_task(&mut text, task);
    }
    text
}

fn write_task(text: &mut String, task: &Task<'_>) {
    let _ = write!(text, "goroutine {} [{}", task.number(), task.wait_reason());
    match task.without_progress().as_secs() / 60 {
        0 => {}
        minutes => {
            let _ = write!(text, ", {minutes} minutes");
        }
    }
    let place = task.place();
    let _ = writeln!(text, "]:\n{}({})", place.name(), argument(task.entry));
    let _ = writeln!(text, "\t{}:{} +0x0", place.file(), place.line());
    let Some(owner) = task.owners.first() else { return };
    let place = Place::of(owner);
    let _ = write!(text, "created by {}", place.name());
    if let Some(parent) = task.owners.iter().find(|owner| owner.kind() == Kind::TASK) {
        let _ = write!(text, " in goroutine {}", parent.id().number());
    }
    let _ = writeln!(text, "\n\t{}:{} +0x0", place.file(), place.line());
}

/// The task's label where Go has arguments, without what would end them or the line.
fn argument(task: &Entry) -> String {
    let label = task.label().to_string();
    label.chars().map(|c| if c.is_control() || "()".contains(c) { '_' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use staunch_ledger::{Account, Ledger, Obligation, State};

    use super::*;
    use crate::profiles::{goroutine::tasks, source::short};

    const HERE: &str = file!();

    /// A scope, a task in it, and `children` tasks below that in one more scope; and the lines
    /// they were born on.
    struct Nest {
        _scopes: [Account; 2],
        parent: Account,
        children: Vec<Account>,
        lines: [u32; 4],
    }

    fn nest(ledger: Ledger, children: usize) -> Nest {
        let promise = Obligation::EndsWithParent;
        let (line, outer) = (line!(), ledger.open(Kind::SCOPE, promise));
        let parent = outer.child(Kind::TASK, promise);
        parent.label("listener");
        parent.set_state(State::Accept);
        ledger.advance_clock(Duration::from_secs(1));
        let inner = parent.child(Kind::SCOPE, promise);
        let child = |_| inner.child(Kind::TASK, promise);
        let children: Vec<Account> = (0..children).map(child).collect();
        let lines = [line, line + 1, line + 5, line + 6];
        Nest { _scopes: [outer, inner], parent, children, lines }
    }

    fn address(snapshot: &staunch_ledger::Snapshot, line: u32) -> u64 {
        let entry = snapshot.entries().iter().find(|entry| entry.born_at().line() == line);
        Place::of(entry.unwrap()).address()
    }

    #[test]
    fn groups_are_in_gos_layout() {
        let ledger = Ledger::new();
        let nest = nest(*ledger, 2);
        nest.children.iter().for_each(|child| child.set_state(State::Channel));
        let snapshot = ledger.snapshot();
        let [outer, parent, inner, child] = nest.lines;
        let [a, b, c, d] = nest.lines.map(|line| address(&snapshot, line));
        let short = short(HERE);
        let expected = format!(
            "goroutine profile: total 3\n\
             2 @ {d:#x} {c:#x} {b:#x} {a:#x}\n\
             # labels: {{\"state\":\"chan receive\"}}\n\
             #\t{d:#x}\ttask@{short}:{child}+0x0\t{HERE}:{child}\n\
             #\t{c:#x}\tscope@{short}:{inner}+0x0\t{HERE}:{inner}\n\
             #\t{b:#x}\ttask@{short}:{parent}+0x0\t{HERE}:{parent}\n\
             #\t{a:#x}\tscope@{short}:{outer}+0x0\t{HERE}:{outer}\n\
             \n\
             1 @ {b:#x} {a:#x}\n\
             # labels: {{\"state\":\"IO wait\"}}\n\
             #\t{b:#x}\ttask@{short}:{parent}+0x0\t{HERE}:{parent}\n\
             #\t{a:#x}\tscope@{short}:{outer}+0x0\t{HERE}:{outer}\n\
             \n"
        );
        assert_eq!(grouped(&tasks(&snapshot)), expected);
    }

    #[test]
    fn each_task_is_in_gos_layout() {
        let ledger = Ledger::new();
        let nest = nest(*ledger, 1);
        nest.children[0].label("GET /a(b)\n");
        nest.children[0].set_state(State::Sleep);
        ledger.advance_clock(Duration::from_secs(185));
        nest.parent.touch();
        let snapshot = ledger.snapshot();
        let [outer, parent, inner, child] = nest.lines;
        let (first, second) = (nest.parent.id().number(), nest.children[0].id().number());
        let short = short(HERE);
        let expected = format!(
            "goroutine {first} [IO wait]:\n\
             task@{short}:{parent}(listener)\n\
             \t{HERE}:{parent} +0x0\n\
             created by scope@{short}:{outer}\n\
             \t{HERE}:{outer} +0x0\n\
             \n\
             goroutine {second} [sleep, 3 minutes]:\n\
             task@{short}:{child}(GET /a_b__)\n\
             \t{HERE}:{child} +0x0\n\
             created by scope@{short}:{inner} in goroutine {first}\n\
             \t{HERE}:{inner} +0x0\n"
        );
        assert_eq!(each(&tasks(&snapshot)), expected);
    }

    #[test]
    fn no_tasks_are_a_profile_too() {
        assert_eq!(grouped(&[]), "goroutine profile: total 0\n");
        assert_eq!(each(&[]), "");
    }
}
