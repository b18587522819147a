//! A source file and its syntax tree.

use std::iter;

use tree_sitter::{Node, Parser, Point, Tree, TreeCursor};

/// The languages that are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    Go,
    Java,
}

impl Language {
    /// By the end of a file's name.
    pub(super) fn of(name: &str) -> Option<Language> {
        let (_, end) = name.rsplit_once('.')?;
        match end {
            "go" => Some(Language::Go),
            "java" => Some(Language::Java),
            _ => None,
        }
    }

    fn grammar(self) -> tree_sitter::Language {
        match self {
            Language::Go => tree_sitter_go::LANGUAGE.into(),
            Language::Java => tree_sitter_java::LANGUAGE.into(),
        }
    }
}

/// A file that was read.
pub(super) struct File {
    /// Its path below the checkout, with `/`.
    pub(super) name: String,
    pub(super) text: String,
    tree: Tree,
}

impl File {
    pub(super) fn parse(name: &str, text: String) -> Option<File> {
        let tree = tree(Language::of(name)?, &text)?;
        Some(File { name: name.to_owned(), text, tree })
    }

    pub(super) fn root(&self) -> Node<'_> {
        self.tree.root_node()
    }

    /// Whether all of it is understood.
    pub(super) fn is_whole(&self) -> bool {
        !self.root().has_error()
    }

    /// Whether the file with another text would be understood as well.
    pub(super) fn is_whole_with(&self, text: &str) -> bool {
        let tree = Language::of(&self.name).and_then(|language| tree(language, text));
        tree.is_some_and(|tree| !tree.root_node().has_error())
    }

    pub(super) fn code(&self, node: Node<'_>) -> &str {
        self.text.get(node.byte_range()).unwrap_or_default()
    }

    /// A line without its end.
    pub(super) fn line(&self, number: u32) -> Option<&str> {
        self.text.lines().nth(number.checked_sub(1)? as usize)
    }

    /// What a line begins with.
    pub(super) fn indent(&self, number: u32) -> &str {
        let line = self.line(number).unwrap_or_default();
        &line[..line.len() - line.trim_start().len()]
    }

    /// The smallest node with the first word of a line.
    pub(super) fn at(&self, line: u32) -> Option<Node<'_>> {
        let text = self.line(line).filter(|text| !text.trim().is_empty())?;
        let column = text.len() - text.trim_start().len();
        let point = Point::new(line as usize - 1, column);
        let next = Point::new(line as usize - 1, column + 1);
        self.root().descendant_for_point_range(point, next)
    }

    /// Whether a node has its lines for itself, so that they may be taken away with it.
    pub(super) fn has_own_lines(&self, node: Node<'_>) -> bool {
        let before = self.line(first(node)).and_then(|it| it.get(..node.start_position().column));
        let behind = self.line(last(node)).and_then(|it| it.get(node.end_position().column..));
        let is_comment = |it: &str| it.trim().is_empty() || it.trim_start().starts_with("//");
        before.is_some_and(|it| it.trim().is_empty()) && behind.is_some_and(is_comment)
    }
}

fn tree(language: Language, text: &str) -> Option<Tree> {
    let mut parser = Parser::new();
    parser.set_language(&language.grammar()).ok()?;
    parser.parse(text, None)
}

/// The line on which a node begins; the first of a file is 1.
pub(super) fn first(node: Node<'_>) -> u32 {
    node.start_position().row as u32 + 1
}

/// The line on which a node ends.
pub(super) fn last(node: Node<'_>) -> u32 {
    node.end_position().row as u32 + 1
}

/// A node and all below it, in the order of the text; without recursion, for nobody knows how deep a
/// file goes.
pub(super) fn all(root: Node<'_>) -> impl Iterator<Item = Node<'_>> {
    all_outside(root, |_| false)
}

/// The same, without what is below nodes for which `is_closed` holds.
pub(super) fn all_outside(
    root: Node<'_>,
    is_closed: fn(Node<'_>) -> bool,
) -> impl Iterator<Item = Node<'_>> {
    let mut cursor = root.walk();
    let mut is_there = true;
    let nodes = iter::from_fn(move || {
        let node = is_there.then(|| cursor.node())?;
        is_there = advance(&mut cursor, is_closed(node));
        Some(node)
    });
    nodes.filter(Node::is_named)
}

fn advance(cursor: &mut TreeCursor<'_>, is_closed: bool) -> bool {
    if !is_closed && cursor.goto_first_child() {
        return true;
    }
    while !cursor.goto_next_sibling() {
        if !cursor.goto_parent() {
            return false;
        }
    }
    true
}

/// The nodes around a node, from within.
pub(super) fn around(node: Node<'_>) -> impl Iterator<Item = Node<'_>> {
    iter::successors(node.parent(), Node::parent)
}

/// The next sibling that is no comment.
pub(super) fn next(node: Node<'_>) -> Option<Node<'_>> {
    iter::successors(node.next_named_sibling(), Node::next_named_sibling)
        .find(|it| !it.kind().ends_with("comment"))
}

/// The named children that are no comments.
pub(super) fn children(node: Node<'_>) -> Vec<Node<'_>> {
    let mut cursor = node.walk();
    let children = node.named_children(&mut cursor);
    children.filter(|it| !it.kind().ends_with("comment")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_found_by_their_line() {
        let text = "package a\n\nfunc f() {\n\tgo g(1,\n\t\t2) // x\n}\n";
        let file = File::parse("a.go", text.to_owned()).unwrap();
        assert!(file.is_whole() && !file.is_whole_with("func {"));
        let node = file.at(4).unwrap();
        let statement = around(node).find(|it| it.kind() == "go_statement").unwrap();
        assert_eq!((first(statement), last(statement)), (4, 5));
        assert!(file.has_own_lines(statement));
        assert!(file.at(2).is_none() && file.at(9).is_none() && file.at(0).is_none());
    }

    #[test]
    fn a_file_as_deep_as_it_is_long_is_walked() {
        let text = format!("package a\nvar x = {}1{}\n", "(".repeat(50_000), ")".repeat(50_000));
        let file = File::parse("a.go", text).unwrap();
        assert!(all(file.root()).count() > 50_000);
    }
}
