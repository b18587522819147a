//! What is asked of a request, one after the other, the cheapest first; until it passes, is refused, or
//! somebody else must be asked.

use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};

use crate::{
    asked::{Asked, Now},
    clients,
    concurrency::{Concurrency, Permit},
    edit::Edit,
    forward::{Forward, Forwarded},
    jwt::{Jwt, TokenError},
    policy::Policy,
    rate::{Count, Rate, Shared},
    refusal::Refusal,
};

/// What becomes of a request.
#[derive(Debug)]
#[must_use]
pub enum Verdict<'p> {
    /// It goes on, with these edits.
    Pass(Pass<'p>),
    /// It is answered here.
    Refuse(Refusal),
    /// Somebody else must be asked first.
    Wait(Wait<'p>),
}

/// A request that goes on, and what changes in its head and in that of its answer.
#[derive(Debug)]
pub struct Pass<'p> {
    policy: &'p Policy,
    is_secure: bool,
    date: Duration,
    /// The place of its key.
    key: Option<usize>,
    /// What its certificate and its token say, and another service.
    told: Vec<(HeaderName, HeaderValue)>,
    /// The origin that its answer is told to be for.
    origin: Option<HeaderValue>,
    permit: Option<Permit>,
}

/// A request of which somebody else must be asked.
#[derive(Debug)]
pub struct Wait<'p> {
    question: Question<'p>,
    course: Course<'p>,
}

/// Who is to be asked, and what.
#[derive(Clone, Debug)]
pub enum Question<'p> {
    /// Those who have the keys of tokens, whether there are new ones; [`Jwt::take`] is told.
    Keys(&'p Jwt),
    /// Where a fleet counts, how this one stands after a request.
    Count {
        /// Where, and what may come.
        shared: Shared<'p>,
        /// What it is called there.
        entry: String,
    },
    /// Another service, whether it may pass.
    Forward(&'p Forward),
}

/// What has come of it.
#[derive(Debug)]
pub enum Told {
    /// The keys have been looked at again; or could not be.
    Keys,
    /// How it stands; `None` without an answer.
    Count(Option<Count>),
    /// What the service has said; `None` without an answer.
    Forward(Option<Forwarded>),
}

#[derive(Debug)]
struct Course<'p> {
    pass: Pass<'p>,
    next: Step,
    /// The keys of tokens have been asked for; once is enough.
    has_asked_for_keys: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// What the address and the date say, and what a browser asks.
    Begin,
    /// The rate of an address or a header: before any cryptography.
    Rate,
    Key,
    Certificate,
    Token,
    /// The rate of a key.
    KeyRate,
    Concurrency,
    Forward,
    End,
}

/// Why a course stops before its end.
enum Stop<'p> {
    Refuse(Refusal),
    Wait(Question<'p>),
}

impl From<Refusal> for Stop<'_> {
    fn from(refusal: Refusal) -> Self {
        Stop::Refuse(refusal)
    }
}

impl Step {
    fn following(self) -> Step {
        match self {
            Step::Begin => Step::Rate,
            Step::Rate => Step::Key,
            Step::Key => Step::Certificate,
            Step::Certificate => Step::Token,
            Step::Token => Step::KeyRate,
            Step::KeyRate => Step::Concurrency,
            Step::Concurrency => Step::Forward,
            Step::Forward | Step::End => Step::End,
        }
    }
}

pub(crate) fn decide<'p>(policy: &'p Policy, asked: &Asked<'_>, now: Now) -> Verdict<'p> {
    let origin = policy.cors.as_ref().and_then(|cors| cors.allowed(asked));
    let pass = Pass {
        policy,
        is_secure: asked.is_secure,
        date: now.date,
        key: None,
        told: Vec::new(),
        origin,
        permit: None,
    };
    Course { pass, next: Step::Begin, has_asked_for_keys: false }.run(asked, now)
}

impl<'p> Course<'p> {
    fn run(mut self, asked: &Asked<'_>, now: Now) -> Verdict<'p> {
        while self.next < Step::End {
            let step = self.next;
            self.next = step.following();
            match self.step(step, asked, now) {
                Ok(()) => {}
                Err(Stop::Refuse(refusal)) => return self.refuse(refusal),
                Err(Stop::Wait(question)) => {
                    return Verdict::Wait(Wait { question, course: self });
                }
            }
        }
        self.pass.counted();
        Verdict::Pass(self.pass)
    }

    /// A refusal is an answer like another: pages may read it, and it says when the version ends.
    fn refuse(self, mut refusal: Refusal) -> Verdict<'p> {
        self.pass.answer(&mut |edit| edit.apply(&mut refusal.headers));
        Verdict::Refuse(refusal)
    }

    fn step(&mut self, step: Step, asked: &Asked<'_>, now: Now) -> Result<(), Stop<'p>> {
        let policy = self.pass.policy;
        match step {
            Step::Begin => self.begin(asked, now)?,
            Step::Rate => {
                self.rate(policy.rate.as_ref().filter(|it| !it.is_by_key()), asked, now)?;
            }
            Step::Key => {
                if let Some(keys) = &policy.keys {
                    self.pass.key = Some(keys.check(asked)?);
                }
            }
            Step::Certificate => {
                if let Some(certificate) = &policy.certificate {
                    let name = certificate.check(asked.names)?;
                    let identity = certificate.identity();
                    self.pass.told.extend(name.map(|name| (identity.clone(), name)));
                }
            }
            Step::Token => self.token(asked, now)?,
            Step::KeyRate => {
                self.rate(policy.rate.as_ref().filter(|it| it.is_by_key()), asked, now)?;
            }
            Step::Concurrency => {
                let concurrency = policy.concurrency.as_ref();
                self.pass.permit = concurrency.map(Concurrency::begin).transpose()?;
            }
            Step::Forward => {
                if let Some(forward) = &policy.forward {
                    return Err(Stop::Wait(Question::Forward(forward)));
                }
            }
            Step::End => {}
        }
        Ok(())
    }

    fn begin(&mut self, asked: &Asked<'_>, now: Now) -> Result<(), Refusal> {
        let policy = self.pass.policy;
        if let Some(clients) = &policy.clients {
            clients::check(clients, asked.client)?;
        }
        if let Some(version) = &policy.version {
            version.check(now.date)?;
        }
        if let Some(cors) = &policy.cors {
            cors.preflight(asked, self.pass.origin.as_ref())?;
        }
        Ok(())
    }

    fn rate(
        &mut self,
        rate: Option<&'p Rate>,
        asked: &Asked<'_>,
        now: Now,
    ) -> Result<(), Stop<'p>> {
        let Some(rate) = rate else { return Ok(()) };
        let policy = self.pass.policy;
        let key =
            policy.keys.as_ref().zip(self.pass.key).and_then(|(keys, place)| keys.name(place));
        let who = rate.who(asked, key.map(|(name, _)| name));
        // Also where a fleet counts: whoever is over the limit here is so there.
        rate.check(&rate.ask(&who, now.steady))?;
        match rate.shared() {
            None => Ok(()),
            Some(shared) => Err(Stop::Wait(Question::Count { shared, entry: rate.entry(&who) })),
        }
    }

    fn token(&mut self, asked: &Asked<'_>, now: Now) -> Result<(), Stop<'p>> {
        let Some(jwt) = &self.pass.policy.jwt else { return Ok(()) };
        match jwt.check(asked, now.date) {
            Ok(told) => {
                self.pass.told.extend(told);
                Ok(())
            }
            Err(TokenError::UnknownKey) if jwt.url().is_some() && !self.has_asked_for_keys => {
                self.has_asked_for_keys = true;
                self.next = Step::Token;
                Err(Stop::Wait(Question::Keys(jwt)))
            }
            Err(error) => Err(jwt.refusal(error).into()),
        }
    }

    fn told(&mut self, told: Told) -> Result<(), Refusal> {
        match told {
            Told::Keys => Ok(()),
            Told::Count(count) => {
                let Some(rate) = &self.pass.policy.rate else { return Ok(()) };
                count.map_or_else(|| rate.down(), |count| rate.check(&count))
            }
            Told::Forward(answer) => {
                let Some(forward) = &self.pass.policy.forward else { return Ok(()) };
                self.pass.told.extend(forward.told(answer)?);
                Ok(())
            }
        }
    }
}

impl<'p> Wait<'p> {
    /// What is to be asked.
    pub fn question(&self) -> &Question<'p> {
        &self.question
    }

    /// Goes on with what has come of it; `asked` is the same request as before.
    pub fn told(mut self, told: Told, asked: &Asked<'_>, now: Now) -> Verdict<'p> {
        match self.course.told(told) {
            Ok(()) => self.course.run(asked, now),
            Err(refusal) => self.course.refuse(refusal),
        }
    }
}

impl Pass<'_> {
    /// What changes in the head of the request.
    pub fn request(&self, each: &mut dyn FnMut(Edit<'_>)) {
        let Pass { policy, .. } = self;
        policy.foreign.iter().for_each(|header| each(Edit::Remove(header)));
        if let Some(headers) = &policy.headers {
            headers.request(each);
        }
        if let Some(keys) = &policy.keys {
            each(Edit::Remove(keys.identity()));
            keys.taken_out().into_iter().for_each(|header| each(Edit::Remove(header)));
            if let Some((_, name)) = self.key.and_then(|place| keys.name(place)) {
                each(Edit::Set(keys.identity(), name));
            }
        }
        if let Some(certificate) = &policy.certificate {
            each(Edit::Remove(certificate.identity()));
        }
        if let Some(jwt) = &policy.jwt {
            jwt.headers().for_each(|header| each(Edit::Remove(header)));
            if jwt.is_taken_out() {
                each(Edit::Remove(&AUTHORIZATION));
            }
        }
        if let Some(forward) = &policy.forward {
            forward.copy().iter().for_each(|header| each(Edit::Remove(header)));
        }
        self.told.iter().for_each(|(name, value)| each(Edit::Append(name, value)));
    }

    /// What changes in the head of the answer, whoever it comes from.
    pub fn answer(&self, each: &mut dyn FnMut(Edit<'_>)) {
        let Pass { policy, .. } = self;
        if let Some(headers) = &policy.headers {
            headers.answer(self.is_secure, each);
        }
        if let Some(cors) = &policy.cors {
            cors.answer(self.origin.as_ref(), each);
        }
        if let Some(version) = &policy.version {
            version.answer(each);
        }
    }

    /// What is to be kept until the last byte of the answer: it counts as in flight as long.
    #[must_use]
    pub fn take_permit(&mut self) -> Option<Permit> {
        self.permit.take()
    }

    fn counted(&self) {
        if let Some(version) = &self.policy.version
            && version.is_deprecated(self.date)
        {
            version.callers.count(self.key);
        }
    }
}
