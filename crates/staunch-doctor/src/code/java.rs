//! What is asked of Java's source: whether a method is where the virtual machine says.
//!
//! A stack of a JVM has the name of a file without its folder; the package of the class is the folder.

use std::iter;

use tree_sitter::Node;

use super::file::{File, around};

/// The path of a method's file: `shop/Stock.java` of `shop.Stock.count` in `Stock.java`.
pub(super) fn path(function: &str, file: &str) -> String {
    let mut parts: Vec<&str> = function.split('.').collect();
    parts.truncate(parts.len().saturating_sub(2));
    parts.push(file);
    parts.join("/")
}

/// Whether a line is within the method that the virtual machine calls `function`:
/// `shop.Stock$Shelf.lambda$count$0` is within `count`.
pub(super) fn is_named(file: &File, line: u32, function: &str) -> bool {
    let Some(node) = file.at(line) else { return false };
    let (class, method) = function.rsplit_once('.').unwrap_or(("", function));
    let class = class.rsplit(['.', '$']).find(|it| !it.chars().all(|it| it.is_ascii_digit()));
    let lambda = method.strip_prefix("lambda$").and_then(|it| it.split('$').next());
    let method = lambda.unwrap_or(method);
    let names = |kinds: &[&str], name: &str| {
        iter::once(node).chain(around(node)).any(|it: Node<'_>| {
            kinds.contains(&it.kind())
                && it.child_by_field_name("name").is_some_and(|it| file.code(it) == name)
        })
    };
    // Fields are given their values in constructors, too.
    let is_made = matches!(method, "<init>" | "<clinit>" | "new" | "static");
    let is_in_class = class.is_some_and(|class| names(&CLASSES, class));
    is_in_class && (is_made || names(&["method_declaration"], method))
}

const CLASSES: [&str; 4] =
    ["class_declaration", "enum_declaration", "interface_declaration", "record_declaration"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_in_the_folder_of_its_package() {
        assert_eq!(path("shop.app.Stock.count", "Stock.java"), "shop/app/Stock.java");
        assert_eq!(path("Stock.count", "Stock.java"), "Stock.java");
        assert_eq!(path("count", "Stock.java"), "Stock.java");
    }

    #[test]
    fn a_line_is_in_its_method() {
        let text = "class Stock {\n  int all = 1;\n  class Shelf {\n    void count() {\n      run(() -> {\n        work();\n      });\n    }\n  }\n}\n";
        let file = File::parse("Stock.java", text.to_owned()).unwrap();
        assert!(file.is_whole());
        for name in ["Stock$Shelf.count", "shop.Stock$Shelf.lambda$count$0", "Stock.Shelf.count"] {
            assert!(is_named(&file, 6, name), "{name}");
        }
        for name in ["Stock$Shelf.other", "Other.count", "count", ""] {
            assert!(!is_named(&file, 6, name), "{name}");
        }
        assert!(is_named(&file, 2, "Stock.<init>") && !is_named(&file, 20, "Stock.<init>"));
    }
}
