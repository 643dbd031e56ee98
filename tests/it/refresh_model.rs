//! A refresh-token family against a model of it: clients, thieves, lost answers and time, in any order.
//!
//! The model knows generations only. It is asked through the use case behind `POST /token`, without HTTP.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use grantd::app::App;
use grantd::app::authenticate_client::FromClient;
use grantd::app::clock::Clock;
use grantd::app::exchange::{Exchange, exchange};
use grantd::app::sessions::Sessions;
use grantd::app::users::{NewPassword, UserChange};
use grantd::model::client::{AuthMethod, GrantType, Registration};
use grantd::model::secret::PlainSecret;
use grantd::model::time::Ttl;
use grantd::model::user::Username;
use grantd::protocol::error::{GrantFailure, TokenError};
use grantd::protocol::params::Params;
use grantd::startup::{Purpose, open_app};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use crate::support::database::TestDatabase;
use crate::support::runner::trials;
use crate::support::server::{PASSWORD, START, settings};

trials! {
    plain: [
        a_confidential_clients_family_behaves_as_the_model_of_it,
        a_public_clients_family_behaves_as_the_model_of_it,
    ],
}

const CASES: u32 = 64;
const IDLE: i64 = 14 * 24 * 60 * 60;
const ABSOLUTE: i64 = 30 * 24 * 60 * 60;
const PUBLIC_RETRIES: u32 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Confidential,
    Public,
}

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    /// The client presents the newest token it has received; the answer arrives or is lost.
    Client { from: Source, arrives: bool },
    /// The client sends its newest token twice at the same time, and both answers arrive.
    ClientTwice { from: Source },
    /// Somebody who saw every token presents one of the last few: 0 is the live one.
    Thief { from: Source, back: u32 },
    /// The live token, asked for more than it may give.
    TooMuch,
    /// A token of this family at another client.
    OtherClient { back: u32 },
    /// Time goes by.
    Wait { seconds: u32 },
    /// An operator ends the session.
    Revoke,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Home,
    Away,
}

impl Source {
    fn address(self) -> IpAddr {
        match self {
            Self::Home => [192, 0, 2, 1].into(),
            Self::Away => [198, 51, 100, 9].into(),
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Where rules change, and the second before; the client moves more often than anything else.
    let seconds = prop::sample::select(vec![1, 1, 5, 9, 10, 3600, 86_399, 86_400, 1_209_599, 1_209_600]);
    let from = prop_oneof![4 => Just(Source::Home), 1 => Just(Source::Away)];
    let step = prop_oneof![
        20 => (from.clone(), prop::bool::weighted(0.6)).prop_map(|(from, arrives)| Step::Client { from, arrives }),
        3 => from.clone().prop_map(|from| Step::ClientTwice { from }),
        3 => (from, 0_u32..4).prop_map(|(from, back)| Step::Thief { from, back }),
        2 => Just(Step::TooMuch),
        2 => (0_u32..3).prop_map(|back| Step::OtherClient { back }),
        6 => seconds.prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Revoke),
    ];
    prop::collection::vec(step, 1..30)
}

/// What a presented token must lead to.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Rotated,
    GivenAgain,
    Refused(GrantFailure),
}

/// The family as the rules have it.
struct Model {
    kind: Kind,
    newest: u32,
    began: i64,
    moved: i64,
    source: Source,
    retries: u32,
    /// The generation that was last given to somebody elsewhere, and how many in a row were.
    strange: Option<(u32, u32)>,
    ended: bool,
}

impl Model {
    /// Presents the token of `generation`, and takes the consequences.
    fn present(&mut self, generation: u32, from: Source, now: i64) -> Outcome {
        if self.ended {
            return Outcome::Refused(GrantFailure::Revoked);
        }
        if now >= self.began + ABSOLUTE || now >= self.moved + IDLE {
            return Outcome::Refused(GrantFailure::Expired);
        }
        if generation == self.newest {
            (self.newest, self.moved, self.source, self.retries) = (self.newest + 1, now, from, 0);
            return Outcome::Rotated;
        }
        let lost = generation + 1 == self.newest
            && match self.kind {
                Kind::Confidential => now < self.moved + 24 * 60 * 60,
                Kind::Public => now < self.moved + 10 && from == self.source,
            };
        if !lost {
            self.ended = true;
            return Outcome::Refused(GrantFailure::Reused);
        }
        if self.kind == Kind::Public && self.retries == PUBLIC_RETRIES {
            return Outcome::Refused(GrantFailure::TooManyRetries);
        }
        if self.kind == Kind::Confidential && from != self.source {
            let in_a_row = match self.strange {
                Some((generation, in_a_row)) if generation == self.newest => in_a_row,
                Some((generation, in_a_row)) if generation + 1 == self.newest => in_a_row + 1,
                _ => 1,
            };
            if in_a_row == 3 {
                self.ended = true;
                return Outcome::Refused(GrantFailure::Reused);
            }
            self.strange = Some((self.newest, in_a_row));
        }
        self.retries += 1;
        Outcome::GivenAgain
    }
}

/// A family, all its tokens as an all-seeing observer knows them, and its model.
struct Trial<'a> {
    house: &'a House,
    user: Username,
    model: Model,
    /// By generation.
    tokens: Vec<String>,
    /// The newest that the client has received.
    held: u32,
    access_tokens: HashSet<String>,
}

type Verdict = Result<(), TestCaseError>;

impl<'a> Trial<'a> {
    async fn begin(house: &'a House, kind: Kind, number: u32) -> Result<Self, TestCaseError> {
        let user: Username = format!("user-{number}").parse().expect("a name");
        let password = NewPassword::Plain(PlainSecret::new(PASSWORD.into()));
        house.app.create_user(user.clone(), UserChange::default(), password).await.expect("a user");
        let form = [("grant_type", "password"), ("username", user.as_str()), ("password", PASSWORD)];
        let (_, token) = house.ask(kind, &form, Source::Home).await.expect("a login");
        let now = house.now();
        let source = Source::Home;
        let model = Model {
            kind,
            newest: 0,
            began: now,
            moved: now,
            source,
            retries: 0,
            strange: None,
            ended: false,
        };
        Ok(Self { house, user, model, tokens: vec![token], held: 0, access_tokens: HashSet::new() })
    }

    async fn take(&mut self, step: &Step) -> Verdict {
        match *step {
            Step::Client { from, arrives } => {
                if self.present(self.held, from).await? && arrives {
                    self.held = self.model.newest;
                }
            }
            Step::ClientTwice { from } => {
                if self.present_twice(self.held, from).await? {
                    self.held = self.model.newest;
                }
            }
            Step::Thief { from, back } => {
                self.present(self.model.newest.saturating_sub(back), from).await?;
            }
            Step::TooMuch => self.ask_too_much().await?,
            Step::OtherClient { back } => self.ask_as_another(back).await?,
            Step::Wait { seconds } => self.house.clock.advance(Ttl::from_secs(seconds)),
            Step::Revoke => {
                let sessions = Sessions::OfUser(self.user.clone());
                self.house.app.revoke_sessions(&sessions).await.expect("a database");
                let now = self.house.now();
                // An expired family is over already.
                self.model.ended |= now < self.model.began + ABSOLUTE;
            }
        }
        self.compare().await
    }

    /// Presents a token; whether the answer was a good one.
    async fn present(&mut self, generation: u32, from: Source) -> Result<bool, TestCaseError> {
        let token = self.tokens[generation as usize].clone();
        let form = [("grant_type", "refresh_token"), ("refresh_token", token.as_str())];
        let answer = self.house.ask(self.model.kind, &form, from).await;

        let expected = self.model.present(generation, from, self.house.now());
        let (access_token, successor) = match answer {
            Ok(tokens) => tokens,
            Err(TokenError::Grant(failure)) => {
                prop_assert_eq!(Outcome::Refused(failure), expected);
                return Ok(false);
            }
            Err(error) => return Err(TestCaseError::fail(format!("{error} instead of {expected:?}"))),
        };
        match expected {
            Outcome::Rotated => {
                prop_assert!(!self.tokens.contains(&successor), "a rotation gives a new token");
                self.tokens.push(successor);
            }
            Outcome::GivenAgain => prop_assert_eq!(Some(&successor), self.tokens.last(), "the one successor"),
            Outcome::Refused(failure) => {
                return Err(TestCaseError::fail(format!("granted instead of {failure}")));
            }
        }
        prop_assert!(self.access_tokens.insert(access_token), "each answer has a fresh access token");
        Ok(true)
    }

    /// Which of two is first nobody can tell, but together they come to what two in a row come to.
    async fn present_twice(&mut self, generation: u32, from: Source) -> Result<bool, TestCaseError> {
        let token = self.tokens[generation as usize].clone();
        let form = [("grant_type", "refresh_token"), ("refresh_token", token.as_str())];
        let ask = || self.house.ask(self.model.kind, &form, from);
        let (one, other) = tokio::join!(ask(), ask());

        let now = self.house.now();
        let expected = [self.model.present(generation, from, now), self.model.present(generation, from, now)];
        if expected.contains(&Outcome::Rotated) {
            let rotated = one.as_ref().or(other.as_ref()).ok();
            let successor = rotated.map(|(_, successor)| successor.clone()).unwrap_or_default();
            prop_assert!(!self.tokens.contains(&successor), "a rotation gives a new token");
            self.tokens.push(successor);
        }
        let good = expected.iter().filter(|outcome| !matches!(outcome, Outcome::Refused(_))).count();
        let answers = [one, other];
        prop_assert_eq!(answers.iter().flatten().count(), good, "{:?} instead of {:?}", &answers, expected);
        for (access_token, successor) in answers.into_iter().flatten() {
            prop_assert_eq!(Some(&successor), self.tokens.last(), "never two live tokens");
            prop_assert!(self.access_tokens.insert(access_token), "each answer has a fresh access token");
        }
        Ok(good > 0)
    }

    /// Everybody is refused, and nothing is consumed, whatever the token is worth.
    async fn ask_too_much(&mut self) -> Verdict {
        let token = self.tokens.last().expect("one").clone();
        let form =
            [("grant_type", "refresh_token"), ("refresh_token", token.as_str()), ("scope", "unheard-of")];
        let refused = self.house.ask(self.model.kind, &form, Source::Home).await;
        prop_assert!(
            matches!(refused, Err(TokenError::ScopeNotAllowed | TokenError::Grant(_))),
            "{refused:?}"
        );
        Ok(())
    }

    async fn ask_as_another(&mut self, back: u32) -> Verdict {
        let generation = self.model.newest.saturating_sub(back);
        let token = self.tokens[generation as usize].clone();
        let form = [("grant_type", "refresh_token"), ("refresh_token", token.as_str())];
        let other = match self.model.kind {
            Kind::Confidential => Kind::Public,
            Kind::Public => Kind::Confidential,
        };
        let refused = self.house.ask(other, &form, Source::Away).await;
        prop_assert_eq!(refused.err(), Some(TokenError::Grant(GrantFailure::OtherClient)));
        Ok(())
    }

    /// What is stored is what the model says: one live generation, or none for good.
    async fn compare(&self) -> Verdict {
        let sessions = Sessions::OfUser(self.user.clone());
        let rows = self.house.app.list_sessions(&sessions).await.expect("a database");
        let Some(row) = rows.first() else {
            prop_assert!(self.house.now() >= self.model.began + ABSOLUTE, "a family does not vanish");
            return Ok(());
        };
        prop_assert_eq!(rows.len(), 1);
        prop_assert_eq!(row.family.generation, self.model.newest);
        prop_assert_eq!(row.family.revoked.is_some(), self.model.ended);
        prop_assert_eq!(row.family.retries, self.model.retries);
        let strange = row.family.strange.map(|strange| (strange.generation, strange.in_a_row));
        prop_assert_eq!(strange, self.model.strange);
        Ok(())
    }
}

/// An app with both kinds of client.
struct House {
    app: Arc<App>,
    clock: Clock,
    secret: String,
}

impl House {
    async fn open(database: &TestDatabase) -> Self {
        let clock = Clock::manual(START);
        let app = open_app(&settings(database, &[]), Purpose::Serve, clock.clone()).await.expect("an app");
        let registration = |method| Registration {
            grant_types: vec![GrantType::Password, GrantType::RefreshToken],
            scope: "read".parse().expect("a scope"),
            auth_methods: vec![method],
            ..Registration::default()
        };
        let id = |id: &str| Some(id.parse().expect("an id"));
        let made = app.create_client(id("app"), registration(AuthMethod::ClientSecretPost), None).await;
        app.create_client(id("spa"), registration(AuthMethod::None), None).await.expect("a client");
        let secret = made.expect("a client").secret.expect("a secret").expose().to_owned();
        Self { app, clock, secret }
    }

    fn now(&self) -> i64 {
        self.clock.now().as_secs()
    }

    /// Sends a form as that client; the access token and the refresh token of the answer.
    async fn ask(
        &self,
        kind: Kind,
        form: &[(&str, &str)],
        from: Source,
    ) -> Result<(String, String), TokenError> {
        let credentials: &[(&str, &str)] = match kind {
            Kind::Confidential => &[("client_id", "app"), ("client_secret", &self.secret)],
            Kind::Public => &[("client_id", "spa")],
        };
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form).extend_pairs(credentials);
        let params = Params::parse(body.finish().as_bytes()).expect("a form");
        let sent = FromClient { authorization: None, params: &params, source: from.address() };
        let request = Exchange { sent, user_address: &[], proofs: &[] };
        let answer = exchange(&self.app, request).await?;
        let refresh_token = answer.refresh_token.expect("a client registered for it").expose().to_owned();
        Ok((answer.access_token, refresh_token))
    }
}

fn a_confidential_clients_family_behaves_as_the_model_of_it() {
    run(Kind::Confidential);
}

fn a_public_clients_family_behaves_as_the_model_of_it() {
    run(Kind::Public);
}

fn run(kind: Kind) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be made");
    let database = TestDatabase::sqlite();
    let house = runtime.block_on(House::open(&database));
    let cases = std::cell::Cell::new(0);

    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(CASES) });
    let outcome = runner.run(&steps(), |steps| {
        cases.set(cases.get() + 1);
        runtime.block_on(async {
            let mut trial = Trial::begin(&house, kind, cases.get()).await?;
            for step in &steps {
                trial.take(step).await?;
            }
            Ok(())
        })
    });

    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}
