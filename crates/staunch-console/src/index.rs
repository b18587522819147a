//! `/`: what there is.

use std::fmt::Write;

use crate::{
    reply::{self, Reply},
    route::{ROUTES, Visit},
};

pub(crate) fn index(_: &Visit<'_>) -> Reply {
    let links = ROUTES.iter().map(|route| (route.path.to_owned(), route.about.to_owned()));
    reply::html(page("Staunch console", links))
}

/// A page of links, each with a word about it. No text in it comes from outside.
pub(crate) fn page(title: &str, links: impl IntoIterator<Item = (String, String)>) -> String {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <style>body{{font-family:sans-serif;margin:2em}}td{{padding:.2em 1em .2em 0}}</style>\
         </head>\n<body><h1>{title}</h1>\n<table>\n"
    );
    for (path, about) in links {
        // Writing to a string cannot fail.
        let _ = writeln!(page, "<tr><td><a href=\"{path}\">{path}</a></td><td>{about}</td></tr>");
    }
    page.push_str("</table>\n</body></html>\n");
    page
}
