//! Which part a request has in a trace: what its client has said, what is decided, what its server
//! is told.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use staunch_config::Traces as TracesConfig;
use staunch_scope::{SpanId, TraceId, TraceParent};

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// A request's part in a trace.
///
/// Without traces of ours what the client has said goes on untouched if it is valid, and nothing is
/// made up: whoever samples by what its caller says would otherwise take a decision of ours for
/// one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Part {
    /// Who sent the request, if that is believed.
    given: Option<TraceParent>,
    /// What we are in the trace, if we are anything.
    own: Option<TraceParent>,
}

impl Part {
    /// Of a request whose head has this `traceparent`, none if it has several; `fresh` names a
    /// trace that begins here.
    pub(crate) fn new(
        config: Option<&TracesConfig>,
        said: Option<&[u8]>,
        fresh: impl FnOnce() -> TraceId,
    ) -> Part {
        let given = said.and_then(TraceParent::parse);
        let Some(config) = config else { return Part { given, own: None } };
        let given = given.filter(|_| config.follow);
        let (trace, is_sampled) = if let Some(given) = given {
            (given.trace, given.is_sampled)
        } else {
            let trace = fresh();
            (trace, is_chosen(trace, config.one_in.get() as u64))
        };
        Part { given, own: Some(TraceParent { trace, span: SpanId::random(), is_sampled }) }
    }

    /// As [`new`](Self::new), with headers in a map, into which is put what the server is told.
    pub(crate) fn told(
        config: Option<&TracesConfig>,
        headers: &mut HeaderMap,
        fresh: impl FnOnce() -> TraceId,
    ) -> Part {
        let mut values = headers.get_all(&TRACEPARENT).iter();
        let said = values.next().filter(|_| values.next().is_none()).map(HeaderValue::as_bytes);
        let part = Part::new(config, said, fresh);
        match part.header().map(|header| HeaderValue::from_bytes(&header)) {
            Some(Ok(header)) => drop(headers.insert(&TRACEPARENT, header)),
            _ if part.keeps_parent() => {}
            _ => drop(headers.remove(&TRACEPARENT)),
        }
        if !part.keeps_state() {
            headers.remove(&TRACESTATE);
        }
        part
    }

    /// The trace that the request belongs to.
    pub(crate) fn trace(&self) -> Option<TraceId> {
        self.own.or(self.given).map(|it| it.trace)
    }

    /// What is to be recorded: what we are, and whose child.
    pub(crate) fn sampled(&self) -> Option<(TraceParent, Option<SpanId>)> {
        let own = self.own.filter(|own| own.is_sampled)?;
        Some((own, self.given.map(|given| given.span)))
    }

    /// The header that says what we are.
    pub(crate) fn header(&self) -> Option<[u8; 55]> {
        self.own.map(TraceParent::to_bytes)
    }

    /// The client's `traceparent` goes on as it is.
    pub(crate) fn keeps_parent(&self) -> bool {
        self.own.is_none() && self.given.is_some()
    }

    /// Its `tracestate` does, which means something beside it only.
    pub(crate) fn keeps_state(&self) -> bool {
        self.given.is_some()
    }
}

/// By its id, whose lower 56 bits are random: gateways that take equally many take the same ones,
/// and whatever comes at regular times is not missed by rule.
fn is_chosen(trace: TraceId, one_in: u64) -> bool {
    let [_, _, _, _, _, _, _, _, _, random @ ..] = trace.to_bytes();
    let random = random.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    random < (1 << 56) / one_in
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    fn config(one_in: usize, follow: bool) -> TracesConfig {
        let one_in = NonZeroUsize::new(one_in).unwrap();
        TracesConfig { one_in, follow, ..TracesConfig::new("http://c") }
    }

    /// What is told of a request that says so: its parent and whether its state goes on.
    fn told(config: Option<&TracesConfig>, said: &[&'static str]) -> (Part, Option<String>, bool) {
        let mut headers = HeaderMap::new();
        headers.append(&TRACESTATE, HeaderValue::from_static("a=1"));
        for said in said {
            headers.append(&TRACEPARENT, HeaderValue::from_static(said));
        }
        let part = Part::told(config, &mut headers, TraceId::random);
        let parents: Vec<_> = headers.get_all(&TRACEPARENT).iter().collect();
        assert!(parents.len() <= 1, "{parents:?}");
        let parent = parents.first().map(|it| it.to_str().unwrap().to_owned());
        (part, parent, headers.contains_key(&TRACESTATE))
    }

    #[test]
    fn without_traces_of_ours_what_is_valid_goes_on_and_nothing_is_made_up() {
        for said in
            [SAMPLED, UNSAMPLED, "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-09-x"]
        {
            let (part, parent, has_state) = told(None, &[said]);
            assert_eq!((parent.as_deref(), has_state), (Some(said), true));
            assert!(part.trace().is_some() && part.sampled().is_none());
        }
        for said in [&[][..], &["nonsense"], &[SAMPLED, SAMPLED]] {
            let (part, parent, has_state) = told(None, said);
            assert_eq!((parent, has_state, part.trace()), (None, false, None), "{said:?}");
        }
    }

    #[test]
    fn a_client_that_is_followed_decides_and_is_the_parent() {
        let config = config(1_000_000, true);
        for (said, is_sampled) in [(SAMPLED, true), (UNSAMPLED, false)] {
            let (part, parent, has_state) = told(Some(&config), &[said]);
            let given = TraceParent::parse(said.as_bytes()).unwrap();
            let told = TraceParent::parse(parent.unwrap().as_bytes()).unwrap();
            assert_eq!((told.trace, told.is_sampled, has_state), (given.trace, is_sampled, true));
            assert_ne!(told.span, given.span);
            assert_eq!(part.sampled(), is_sampled.then_some((told, Some(given.span))));
        }
    }

    #[test]
    fn a_client_that_is_not_followed_says_nothing() {
        let config = config(1, false);
        let (part, parent, has_state) = told(Some(&config), &[UNSAMPLED]);
        let told = TraceParent::parse(parent.unwrap().as_bytes()).unwrap();
        assert_ne!(told.trace, TraceParent::parse(SAMPLED.as_bytes()).unwrap().trace);
        assert_eq!((part.sampled(), has_state), (Some((told, None)), false));
    }

    #[test]
    fn of_those_that_begin_here_one_in_so_many_is_taken() {
        assert!((0..1000).all(|number| is_chosen(TraceId::derived(number), 1)));
        let chosen = |number: &u64| is_chosen(TraceId::derived(*number), 10);
        let chosen = (0..100_000).filter(chosen).count();
        assert!((9_000..11_000).contains(&chosen), "{chosen}");
    }
}
