//! Which calls of a Java stack are the program's own.

use crate::Frame;

/// The innermost call of the program itself: the line to look at.
pub(super) fn own_call(frames: &[Frame]) -> Option<&Frame> {
    frames.iter().find(|frame| frame.line > 0 && is_own(&frame.function))
}

/// Whether a function or class is of the program, and not of the JDK or a well-known library.
pub(in crate::rules) fn is_own(name: &str) -> bool {
    !LIBRARIES.iter().any(|library| name.starts_with(library))
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
