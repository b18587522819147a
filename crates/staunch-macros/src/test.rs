//! From an asynchronous function to a test.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Error, ItemFn, Result, Signature, spanned::Spanned};

use crate::options::Options;

/// The test function that runs `item`'s body on the runner that `options` describe.
pub(crate) fn expand(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let runner = syn::parse2::<Options>(options)?.runner()?;
    let ItemFn { attrs, vis, mut sig, block, .. } = syn::parse2(item)?;
    check(&attrs, &sig)?;
    sig.asyncness = None;
    Ok(quote! {
        #[::core::prelude::v1::test]
        #(#attrs)*
        #vis #sig {
            #runner.run(async #block)
        }
    })
}

/// Whether it is a function that can be run without knowing anything more about it.
fn check(attrs: &[Attribute], sig: &Signature) -> Result<()> {
    if sig.asyncness.is_none() {
        let message = "a test that is not `async` needs no runtime: use the ordinary `#[test]`";
        return Err(Error::new(sig.fn_token.span, message));
    }
    if !sig.inputs.is_empty() {
        return Err(Error::new(sig.inputs.span(), "a test takes no arguments"));
    }
    if !sig.generics.params.is_empty() {
        return Err(Error::new(sig.generics.span(), "a test cannot be generic"));
    }
    match attrs.iter().find(|attr| attr.path().segments.last().is_some_and(is_test)) {
        Some(second) => {
            Err(Error::new(second.span(), "a second test attribute would run it twice"))
        }
        None => Ok(()),
    }
}

fn is_test(segment: &syn::PathSegment) -> bool {
    segment.ident == "test"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the attribute with `options` makes of `item`, or its error.
    fn check(options: &str, item: &str, expected: &str) {
        let parse = |text: &str| text.parse::<TokenStream>().unwrap();
        let expanded = match expand(parse(options), parse(item)) {
            Ok(tokens) => tokens.to_string(),
            Err(error) => error.to_string(),
        };
        let expected = parse(expected).to_string();
        assert_eq!(expanded, expected, "\n#[test({options})] {item}");
    }

    fn check_error(options: &str, item: &str, expected: &str) {
        let parse = |text: &str| text.parse::<TokenStream>().unwrap();
        let error = expand(parse(options), parse(item)).unwrap_err();
        assert_eq!(error.to_string(), expected, "#[test({options})] {item}");
    }

    #[test]
    fn attributes_visibility_and_result_are_kept() {
        check(
            "",
            "#[should_panic] pub async fn t() -> Result<(), E> { f().await? ; Ok(()) }",
            "#[::core::prelude::v1::test] #[should_panic] pub fn t() -> Result<(), E> {
                ::staunch::testing::Runner::current_thread().explained_by(::staunch::testing::findings)
                    .run(async { f().await? ; Ok(()) })
            }",
        );
    }

    #[test]
    fn options_choose_the_runner() {
        let runner = |options: &str, expected: &str| {
            let (krate, _) = expected.split_once("::testing").unwrap();
            let expected = format!(
                "#[::core::prelude::v1::test] fn t() {{
                    {expected}.explained_by({krate}::testing::findings).run(async {{}})
                }}"
            );
            check(options, "async fn t() {}", &expected);
        };
        runner("start_paused = true", "::staunch::testing::Runner::paused()");
        runner("start_paused = false", "::staunch::testing::Runner::current_thread()");
        runner(r#"flavor = "multi_thread""#, "::staunch::testing::Runner::multi_thread(2usize)");
        runner(
            r#"flavor = "multi_thread", worker_threads = 4, crate = a::b,"#,
            "a::b::testing::Runner::multi_thread(4usize)",
        );
    }

    #[test]
    fn misuse_is_explained() {
        let item = "async fn t() {}";
        check_error(
            "",
            "fn t() {}",
            "a test that is not `async` needs no runtime: use the ordinary `#[test]`",
        );
        check_error("", "async fn t(x: u8) {}", "a test takes no arguments");
        check_error("", "async fn t<T>() {}", "a test cannot be generic");
        check_error("", "#[test] async fn t() {}", "a second test attribute would run it twice");
        check_error(
            "",
            "#[tokio::test] async fn t() {}",
            "a second test attribute would run it twice",
        );
        check_error(
            "paused = true",
            item,
            "there is no option `paused`; there are `flavor`, `worker_threads`, `start_paused` and `crate`",
        );
        check_error(
            "start_paused = true, start_paused = true",
            item,
            "`start_paused` is set twice",
        );
        check_error(
            r#"flavor = "local""#,
            item,
            "the flavor is either \"current_thread\" or \"multi_thread\"",
        );
        check_error(
            "worker_threads = 2",
            item,
            "`worker_threads` needs `flavor = \"multi_thread\"`",
        );
        check_error(
            r#"flavor = "multi_thread", worker_threads = 0"#,
            item,
            "there must be at least one worker",
        );
        check_error(
            r#"flavor = "multi_thread", start_paused = true"#,
            item,
            "time can only be paused with `current_thread`",
        );
        check_error("start_paused = 1", item, "expected boolean literal");
        check_error("start_paused", item, "expected `=`");
    }
}
