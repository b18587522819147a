//! What a command does to its connection.

use redis::{Arg, Cmd};

/// What is left on the connection once a command has been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// It begins what `EXEC` ends: a transaction, or its conditions.
    Begins,
    /// It ends that, if it succeeds.
    Ends,
    /// Something that `RESET` undoes.
    Changes,
    /// Answers come that belong to no command, or commands remain without one.
    Derails,
}

impl Effect {
    pub(super) fn of(command: &Cmd) -> Effect {
        if command.is_no_response() {
            return Effect::Derails;
        }
        let mut words = command.args_iter().map(|word| match word {
            Arg::Simple(word) => word,
            _ => b"",
        });
        let (name, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let is = |word: &[u8], names: &[&str]| {
            names.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
        };
        match name {
            _ if is(name, DERAILS) => Effect::Derails,
            _ if is(name, &["CLIENT"]) && is(second, &["REPLY"]) => Effect::Derails,
            _ if is(name, &["SCRIPT"]) && is(second, &["DEBUG"]) => Effect::Derails,
            _ if is(name, &["CLIENT"]) && is(second, HARMLESS_OF_CLIENT) => Effect::None,
            _ if is(name, CHANGES) => Effect::Changes,
            _ if is(name, &["MULTI", "WATCH"]) => Effect::Begins,
            _ if is(name, &["EXEC", "DISCARD"]) => Effect::Ends,
            _ => Effect::None,
        }
    }
}

const DERAILS: &[&str] = &[
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "PSUBSCRIBE",
    "PUNSUBSCRIBE",
    "SSUBSCRIBE",
    "SUNSUBSCRIBE",
    "MONITOR",
    "SYNC",
    "PSYNC",
    "REPLCONF",
    "QUIT",
];

const CHANGES: &[&str] =
    &["SELECT", "AUTH", "HELLO", "CLIENT", "RESET", "READONLY", "READWRITE", "ASKING"];

const HARMLESS_OF_CLIENT: &[&str] = &[
    "ID",
    "INFO",
    "LIST",
    "GETNAME",
    "GETREDIR",
    "TRACKINGINFO",
    "KILL",
    "UNBLOCK",
    "PAUSE",
    "UNPAUSE",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &str, expected: Effect) {
        let mut command = Cmd::new();
        for word in words.split(' ') {
            command.arg(word);
        }
        assert_eq!(Effect::of(&command), expected, "{words}");
    }

    #[test]
    fn it_is_known_by_its_name() {
        check("GET select", Effect::None);
        check("client id", Effect::None);
        check("SCRIPT LOAD x", Effect::None);
        check("select 1", Effect::Changes);
        check("CLIENT SETNAME x", Effect::Changes);
        check("CLIENT", Effect::Changes);
        check("Watch k", Effect::Begins);
        check("MULTI", Effect::Begins);
        check("exec", Effect::Ends);
        check("subscribe c", Effect::Derails);
        check("client reply off", Effect::Derails);
        check("", Effect::None);
    }
}
