//! What stands in the attribute's parentheses.

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::{
    Error, LitBool, LitInt, LitStr, Path, Result, Token,
    ext::IdentExt,
    parse::{Parse, ParseStream},
};

/// Options as they were written.
#[derive(Default)]
pub(crate) struct Options {
    flavor: Option<Flavor>,
    worker_threads: Option<LitInt>,
    start_paused: Option<LitBool>,
    krate: Option<Path>,
}

#[derive(Clone, Copy, PartialEq)]
enum Flavor {
    CurrentThread,
    MultiThread,
}

const KNOWN: &str = "`flavor`, `worker_threads`, `start_paused` and `crate`";
const DEFAULT_WORKERS: usize = 2;

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Options> {
        let mut options = Options::default();
        while !input.is_empty() {
            let name = input.call(Ident::parse_any)?;
            input.parse::<Token![=]>()?;
            match name.to_string().as_str() {
                "flavor" => set(&mut options.flavor, &name, flavor(&input.parse()?)?)?,
                "worker_threads" => set(&mut options.worker_threads, &name, input.parse()?)?,
                "start_paused" => set(&mut options.start_paused, &name, input.parse()?)?,
                "crate" => set(&mut options.krate, &name, Path::parse_mod_style(input)?)?,
                other => {
                    let message = format!("there is no option `{other}`; there are {KNOWN}");
                    return Err(Error::new(name.span(), message));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
    }
}

impl Options {
    /// The expression for the `Runner` that the options describe.
    pub(crate) fn runner(&self) -> Result<TokenStream> {
        let krate = self.krate.as_ref().map_or_else(|| quote!(::staunch), |path| quote!(#path));
        let flavored = self.flavored(&quote!(#krate::testing::Runner))?;
        Ok(quote!(#flavored.explained_by(#krate::testing::findings)))
    }

    /// A new `runner` of the flavor that they name.
    fn flavored(&self, runner: &TokenStream) -> Result<TokenStream> {
        let multi_thread = self.flavor == Some(Flavor::MultiThread);
        match (&self.start_paused, &self.worker_threads) {
            (Some(paused), _) if paused.value && multi_thread => {
                Err(Error::new(paused.span, "time can only be paused with `current_thread`"))
            }
            (_, Some(workers)) if !multi_thread => Err(Error::new(
                workers.span(),
                "`worker_threads` needs `flavor = \"multi_thread\"`",
            )),
            (_, workers) if multi_thread => {
                let workers = workers.as_ref().map_or(Ok(DEFAULT_WORKERS), positive)?;
                Ok(quote!(#runner::multi_thread(#workers)))
            }
            (Some(paused), _) if paused.value => Ok(quote!(#runner::paused())),
            _ => Ok(quote!(#runner::current_thread())),
        }
    }
}

fn set<T>(option: &mut Option<T>, name: &Ident, value: T) -> Result<()> {
    match option.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::new(name.span(), format!("`{name}` is set twice"))),
    }
}

fn flavor(name: &LitStr) -> Result<Flavor> {
    match name.value().as_str() {
        "current_thread" => Ok(Flavor::CurrentThread),
        "multi_thread" => Ok(Flavor::MultiThread),
        _ => Err(Error::new(
            name.span(),
            "the flavor is either \"current_thread\" or \"multi_thread\"",
        )),
    }
}

fn positive(workers: &LitInt) -> Result<usize> {
    match workers.base10_parse()? {
        0 => Err(Error::new(workers.span(), "there must be at least one worker")),
        workers => Ok(workers),
    }
}
