//! Which calls of a Java stack are the program's own.

use crate::{Frame, Place, TaskGroup};

/// The innermost call of the program itself: the line to look at.
pub(in crate::rules) fn own_call(frames: &[Frame]) -> Option<&Frame> {
    frames.iter().find(|frame| frame.line > 0 && is_own(&frame.function))
}

/// Whether a function or class is of the program, and not of the JDK or a well-known library.
pub(in crate::rules) fn is_own(name: &str) -> bool {
    !LIBRARIES.iter().any(|library| name.starts_with(library))
}

/// The lines on which a group of threads waits, as text and as places. For a thread that enters a
/// `synchronized` block, HotSpot's interpreter names the first line within, and its compiled code the
/// line of `synchronized`: so the line before may be meant.
pub(super) fn lines(call: &Frame, group: &TaskGroup) -> (String, Vec<Place>) {
    let named = Place::from(call);
    let enters = group.state.text.starts_with("BLOCKED") && group.frames.first() == Some(call);
    if !enters || call.line < 2 {
        return (format!("{}:{}", call.file, call.line), vec![named]);
    }
    let before = Place { line: call.line - 1, ..named.clone() };
    (format!("{}:{} or {}", call.file, before.line, call.line), vec![before, named])
}

/// A class as it is written: `Accounts` of `shop.Accounts.transfer`.
pub(super) fn short(function: &str) -> &str {
    let start = function.match_indices('.').rev().nth(1).map_or(0, |(dot, _)| dot + 1);
    &function[start..]
}

/// Packages of the JDK, of languages for the JVM, and of frameworks and pools.
const LIBRARIES: [&str; 30] = [
    "java.",
    "javax.",
    "jdk.",
    "sun.",
    "com.sun.",
    "jakarta.",
    "kotlin.",
    "kotlinx.",
    "scala.",
    "akka.",
    "ch.qos.logback.",
    "com.fasterxml.",
    "com.google.common.",
    "com.mysql.",
    "com.zaxxer.hikari.",
    "io.grpc.",
    "io.lettuce.",
    "io.micrometer.",
    "io.netty.",
    "io.undertow.",
    "io.vertx.",
    "net.bytebuddy.",
    "okhttp3.",
    "org.apache.",
    "org.eclipse.jetty.",
    "org.hibernate.",
    "org.postgresql.",
    "org.slf4j.",
    "org.springframework.",
    "reactor.",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{State, Waiting};

    #[test]
    fn who_enters_a_block_may_be_a_line_before() {
        let call = Frame { function: "a.B.f".into(), file: "B.java".into(), line: 29 };
        let group = |text: &str| TaskGroup {
            state: State { waiting: Waiting::Lock, text: text.into() },
            frames: [call.clone()].into(),
            birth: None,
            labels: Vec::new(),
            count: 1,
            members: Vec::new(),
        };
        let text = |state| lines(&call, &group(state)).0;
        assert_eq!(text("BLOCKED (on object monitor)"), "B.java:28 or 29");
        assert_eq!(text("WAITING (parking)"), "B.java:29");
    }

    #[test]
    fn whose_a_call_is() {
        assert!(is_own("shop.Stock.count") && is_own("Stock.count") && is_own("javax2.A.f"));
        for name in ["java.lang.Thread.run", "com.zaxxer.hikari.pool.HikariPool.getConnection"] {
            assert!(!is_own(name), "{name}");
        }
        assert_eq!(short("com.shop.Stock.count"), "Stock.count");
        assert_eq!(short("Stock.count"), "Stock.count");
    }
}
