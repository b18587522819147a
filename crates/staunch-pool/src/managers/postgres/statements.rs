//! The prepared statements that a session keeps.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What was prepared, by its text. The one that was not used for longest goes first.
#[derive(Debug)]
pub(super) struct Statements<S> {
    most: usize,
    kept: Mutex<Kept<S>>,
}

#[derive(Debug)]
struct Kept<S> {
    by_text: HashMap<Box<str>, Known<S>>,
    uses: u64,
}

#[derive(Debug)]
struct Known<S> {
    statement: S,
    used: u64,
}

impl<S: Clone> Statements<S> {
    /// Keeps at most so many.
    pub(super) fn new(most: usize) -> Statements<S> {
        Statements { most, kept: Mutex::new(Kept { by_text: HashMap::new(), uses: 0 }) }
    }

    fn kept(&self) -> MutexGuard<'_, Kept<S>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn find(&self, text: &str) -> Option<S> {
        let mut kept = self.kept();
        kept.uses += 1;
        let used = kept.uses;
        let known = kept.by_text.get_mut(text)?;
        known.used = used;
        Some(known.statement.clone())
    }

    /// What is dropped for it is dropped without the lock: it tells the server.
    pub(super) fn keep(&self, text: &str, statement: S) {
        if self.most == 0 {
            return;
        }
        let mut kept = self.kept();
        kept.uses += 1;
        let known = Known { statement, used: kept.uses };
        let before = kept.by_text.insert(text.into(), known);
        let oldest = if kept.by_text.len() > self.most { kept.take_oldest() } else { None };
        drop(kept);
        drop((before, oldest));
    }

    /// One of them is of no use.
    pub(super) fn forget(&self, text: &str) {
        let known = self.kept().by_text.remove(text);
        drop(known);
    }

    /// None of them is of use.
    pub(super) fn clear(&self) {
        let all = std::mem::take(&mut self.kept().by_text);
        drop(all);
    }
}

impl<S> Kept<S> {
    fn take_oldest(&mut self) -> Option<Known<S>> {
        let oldest = self.by_text.iter().min_by_key(|(_, known)| known.used);
        let text = oldest.map(|(text, _)| text.clone())?;
        self.by_text.remove(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(statements: &Statements<u32>, expected: [Option<u32>; 3]) {
        let kept = statements.kept();
        let found = ["a", "b", "c"].map(|text| kept.by_text.get(text).map(|it| it.statement));
        assert_eq!(found, expected);
    }

    #[test]
    fn the_one_not_used_for_longest_makes_room() {
        let statements = Statements::new(2);
        statements.keep("a", 1);
        statements.keep("b", 2);
        assert_eq!(statements.find("a"), Some(1));
        statements.keep("c", 3);
        check(&statements, [Some(1), None, Some(3)]);
        statements.keep("c", 4); // prepared by two at the same time
        check(&statements, [Some(1), None, Some(4)]);
    }

    #[test]
    fn what_is_of_no_use_is_forgotten() {
        let statements = Statements::new(2);
        statements.keep("a", 1);
        statements.keep("b", 2);
        statements.forget("a");
        check(&statements, [None, Some(2), None]);
        statements.clear();
        check(&statements, [None, None, None]);
    }

    #[test]
    fn none_may_be_kept() {
        let statements = Statements::new(0);
        statements.keep("a", 1);
        assert_eq!(statements.find("a"), None);
    }
}
