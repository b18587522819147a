//! Names that come again and again, each kept once.

use std::{collections::HashSet, sync::Arc};

/// Each name once: functions and files come again and again in a snapshot, and the next one has nearly all
/// of them again. There is one for as long as this lives, or until [`Names::forget_unused`] finds that nobody
/// has it any more: who goes on for ever asks for that.
///
/// # Examples
/// ```
/// use staunch_diagnosis::Names;
/// use std::sync::Arc;
/// let mut names = Names::default();
/// assert!(Arc::ptr_eq(&names.of("main.serve"), &names.of("main.serve")));
/// ```
#[derive(Debug, Default)]
pub struct Names(HashSet<Arc<str>>);

impl Names {
    /// The name that is equal to `name`.
    pub fn of(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        let new: Arc<str> = name.into();
        self.0.insert(Arc::clone(&new));
        new
    }

    /// Forgets those that nobody else has any more.
    pub fn forget_unused(&mut self) {
        self.0.retain(|name| Arc::strong_count(name) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_object_for_as_long_as_somebody_has_it() {
        let mut names = Names::default();
        let (a, again, b) = (names.of("a"), names.of("a"), names.of("b"));
        assert!(Arc::ptr_eq(&a, &again) && !Arc::ptr_eq(&a, &b));
        drop(b);
        names.forget_unused();
        assert_eq!((names.0.len(), &*a), (1, "a"));
    }
}
