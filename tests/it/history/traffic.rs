//! Traffic worth a history: devices that log in, refresh, lose answers and are robbed, and operators who revoke and
//! switch, all at the same time. Knows how to ask a server, and no rule.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{spawn_blocking, spawn_local};

use super::record::{Act, History, Outcome, Switch};
use crate::support::figures::Lots;
use crate::support::program::{Ended, Home};
use crate::support::server::{PASSWORD, client};

/// Servers, their clients and users, and what is known of them all.
pub(crate) struct World {
    pub(crate) home: Arc<Home>,
    pub(crate) history: History,
    /// The servers that are there; a device takes any.
    pub(crate) urls: RefCell<Vec<String>>,
    clients: Vec<(String, String)>,
    users: Vec<String>,
    stopping: Cell<bool>,
}

/// How long an answer may take; the server's own patience is shorter.
const PATIENCE: Duration = Duration::from_secs(12);

impl World {
    /// Makes two clients and `users` users in the database that these settings name.
    pub(crate) fn make(settings: &[(&str, &str)], users: usize) -> Rc<Self> {
        // A login that is refused because its user is off counts as a guess, and slows the next one down.
        let unthrottled =
            [("GRANTD_THROTTLE__FREE_ATTEMPTS", "1000000"), ("GRANTD_THROTTLE__DAILY_LIMIT", "1000000")];
        let settings: Vec<_> = settings.iter().copied().chain(unthrottled).collect();
        let home = Home::new(&settings);
        let grants = ["--grant", "password", "--grant", "refresh_token", "--scope", "read write"];
        let make_client = |id: &str| {
            let arguments: Vec<&str> = ["client", "create", id].into_iter().chain(grants).collect();
            let secret = home.json(&arguments)["client_secret"].as_str().expect("a secret").to_owned();
            (id.to_owned(), secret)
        };
        let make_user = |number| {
            let name = format!("user-{number}");
            home.json_with(&["user", "create", &name, "--password-stdin"], PASSWORD);
            name
        };
        let clients = ["app", "web"].map(make_client).to_vec();
        let users = (0..users).map(make_user).collect();
        Rc::new(Self {
            home: Arc::new(home),
            history: History::default(),
            urls: RefCell::default(),
            clients,
            users,
            stopping: Cell::new(false),
        })
    }

    /// As many devices as asked for, over all users and clients.
    pub(crate) fn devices(self: &Rc<Self>, count: usize, lots: &mut Lots) -> Vec<Device> {
        let device = |number: usize| Device {
            world: Rc::clone(self),
            http: client(),
            client: self.clients[number % self.clients.len()].clone(),
            user: self.users[number % self.users.len()].clone(),
            lots: lots.split(),
            received: Vec::new(),
            presented: Cell::new(false),
            buried: Vec::new(),
            unanswered: RefCell::default(),
        };
        (0..count).map(device).collect()
    }

    /// Lets all devices and one operator do what they do until `meanwhile` has ended; gives the devices back.
    pub(crate) async fn busy<T>(
        self: &Rc<Self>,
        devices: &mut Vec<Device>,
        lots: &mut Lots,
        meanwhile: impl Future<Output = T>,
    ) -> T {
        self.stopping.set(false);
        let living: Vec<_> = devices.drain(..).map(|device| spawn_local(Device::live(device))).collect();
        let operating = spawn_local(operate(Rc::clone(self), lots.split()));
        let happened = meanwhile.await;
        self.stopping.set(true);
        for device in living {
            devices.push(device.await.expect("a device that ends"));
        }
        operating.await.expect("an operator who ends");
        happened
    }

    /// Runs an operator's command on a thread of its own, and kills it after a while if so wished.
    pub(crate) async fn command(&self, act: Act, kill_after: Option<Duration>) -> Outcome {
        let Some(arguments) = arguments_of(&act) else { return Outcome::Refused("no such session".into()) };
        // Servers know a client as it was up to a second ago, so that for a while nobody knows whether it is on.
        let takes_a_while = matches!(act, Act::SwitchClient { to: Switch::On, .. });
        let invoked = self.history.invoke(act);
        // A command that says that it failed may still have done its work: a commit whose answer was lost.
        let outcome = match self.run(arguments, kill_after).await {
            0 if !takes_a_while => Outcome::Done,
            _ => Outcome::Unknown,
        };
        self.history.end(invoked, &outcome);
        outcome
    }

    async fn run(&self, arguments: Vec<String>, kill_after: Option<Duration>) -> i32 {
        let home = Arc::clone(&self.home);
        let ended = spawn_blocking(move || -> Ended {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            match kill_after {
                Some(after) => home.run_and_kill(&arguments, after),
                None => home.run(&arguments),
            }
        });
        ended.await.expect("a command that ends").status
    }

    /// Waits until every server has known a client for longer than a change may take to be obeyed: one that was about
    /// to learn that it is off has learnt by then that it is on again.
    async fn is_obeyed(&self, id: &str) {
        let (id, secret) = self.clients.iter().find(|(known, _)| known == id).expect("one of ours");
        let (urls, http, mut known) = (self.urls.borrow().clone(), client(), 0);
        for _ in 0..400 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            known += 1;
            for url in &urls {
                // The grant is not this client's, which is told to those only who prove who they are.
                let request = http.post(format!("{url}/token")).basic_auth(id, Some(secret));
                let request = request.form(&[("grant_type", "client_credentials")]).timeout(PATIENCE);
                if !request.send().await.is_ok_and(|answer| answer.status() == 400) {
                    known = 0;
                }
            }
            if known == 24 {
                return;
            }
        }
        panic!("a client that is on is not obeyed: {id}");
    }

    /// Whether a server answers what needs the database, whatever the answer is. Not part of the history: a family that
    /// this begins is nobody's.
    pub(crate) async fn is_served_by(&self, http: &reqwest::Client, url: &str) -> bool {
        let (id, secret) = &self.clients[0];
        let form = [("grant_type", "password"), ("username", &self.users[0]), ("password", PASSWORD)];
        let request = http.post(format!("{url}/token")).basic_auth(id, Some(secret)).form(&form);
        request.timeout(PATIENCE).send().await.is_ok_and(|answer| answer.status().as_u16() < 500)
    }

    /// Switches everybody on, so that each of the next logins must work.
    pub(crate) async fn switch_all_on(&self) {
        for act in self.all_on() {
            let arguments = arguments_of(&act).expect("a command");
            let invoked = self.history.invoke(act.clone());
            assert_eq!(self.run(arguments, None).await, 0, "a quiet database obeys");
            if let Act::SwitchClient { client, .. } = &act {
                self.is_obeyed(client).await;
            }
            self.history.end(invoked, &Outcome::Done);
        }
    }

    fn all_on(&self) -> Vec<Act> {
        // Only who was ever switched: a command costs a process.
        let switched = |name: &str| {
            self.history.operations().iter().rev().find_map(|operation| match &operation.act {
                Act::SwitchUser { user: of, to } | Act::SwitchClient { client: of, to } if of == name => {
                    Some((*to, operation.outcome == Outcome::Done))
                }
                _ => None,
            })
        };
        let is_off = |name: &&String| switched(name).is_some_and(|last| last != (Switch::On, true));
        let users = self.users.iter().filter(is_off);
        let users = users.map(|user| Act::SwitchUser { user: user.clone(), to: Switch::On });
        let clients = self.clients.iter().map(|(id, _)| id).filter(is_off);
        let clients = clients.map(|client| Act::SwitchClient { client: client.clone(), to: Switch::On });
        users.chain(clients).collect()
    }
}

/// The command line of an operator's act; `None` for a token that is none.
fn arguments_of(act: &Act) -> Option<Vec<String>> {
    use grantd::protocol::refresh_token::PresentedRefreshToken;
    let words: Vec<&str> = match act {
        Act::RevokeFamily { token } => {
            let id = PresentedRefreshToken::read(token)?.family.to_string();
            return Some(["session", "revoke", "--id", &id].map(str::to_owned).to_vec());
        }
        Act::RevokeUser { user } => vec!["session", "revoke", "--user", user],
        Act::SwitchUser { user, to: Switch::Off } => vec!["user", "disable", user],
        Act::SwitchUser { user, to: Switch::On } => vec!["user", "enable", user],
        Act::SwitchClient { client, to: Switch::Off } => vec!["client", "disable", client],
        Act::SwitchClient { client, to: Switch::On } => vec!["client", "enable", client],
        Act::Login { .. } | Act::Refresh { .. } => return None,
    };
    Some(words.into_iter().map(str::to_owned).collect())
}

/// Revokes and switches at random; some of its commands are killed.
async fn operate(world: Rc<World>, mut lots: Lots) {
    while !world.stopping.get() {
        tokio::time::sleep(lots.millis(50, 300)).await;
        let user = lots.one_of(&world.users).clone();
        let kill_after = (lots.below(5) == 0).then(|| lots.millis(1, 150));
        let (off, on) = match lots.below(8) {
            0..=3 => {
                world.command(Act::RevokeUser { user }, kill_after).await;
                continue;
            }
            4..=6 => [Switch::Off, Switch::On].map(|to| Act::SwitchUser { user: user.clone(), to }).into(),
            _ => {
                let client = lots.one_of(&world.clients).0.clone();
                [Switch::Off, Switch::On].map(|to| Act::SwitchClient { client: client.clone(), to }).into()
            }
        };
        world.command(off, kill_after).await;
        tokio::time::sleep(lots.millis(20, 100)).await;
        // Nobody stays off for long, or there would be no traffic.
        world.command(on, None).await;
    }
}

/// A device on which one user is logged in at one client.
pub(crate) struct Device {
    world: Rc<World>,
    http: reqwest::Client,
    client: (String, String),
    user: String,
    lots: Lots,
    /// The tokens of its family that it received, the newest last.
    pub(crate) received: Vec<String>,
    /// Whether the newest was ever presented.
    pub(crate) presented: Cell<bool>,
    /// The last tokens of families that are over.
    pub(crate) buried: Vec<String>,
    /// What it heard last instead of an answer.
    pub(crate) unanswered: RefCell<String>,
}

impl Device {
    async fn live(mut self) -> Self {
        while !self.world.stopping.get() {
            if self.step().await == Outcome::Unknown {
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        }
        self
    }

    /// One thing that a device, or its thief, does.
    async fn step(&mut self) -> Outcome {
        let Some(newest) = self.received.last().cloned() else {
            // A refusal is no reason to guess faster than the throttle likes.
            tokio::time::sleep(self.lots.millis(1, 40)).await;
            return self.login().await;
        };
        match self.lots.below(100) {
            0..=69 => self.rotate(&newest).await,
            // The answer got lost, or so the device believes: it asks again with what it had before.
            70..=84 if self.received.len() > 1 && !self.presented.get() => {
                let before = self.received[self.received.len() - 2].clone();
                self.refresh(&before).await
            }
            // Three tabs.
            70..=94 => {
                let (one, two, three) =
                    tokio::join!(self.refresh(&newest), self.refresh(&newest), self.refresh(&newest));
                let mut answers = [one, two, three].into_iter();
                let answered = answers.find(|answer| *answer != Outcome::Unknown);
                self.took(answered.unwrap_or(Outcome::Unknown))
            }
            // A thief presents an old one.
            95..=97 if self.received.len() > 2 => {
                let old = self.received[self.received.len() - 3].clone();
                self.refresh(&old).await
            }
            98 => {
                let outcome = self.world.command(Act::RevokeFamily { token: newest }, None).await;
                if outcome == Outcome::Done {
                    self.bury()
                }
                outcome
            }
            _ => {
                tokio::time::sleep(self.lots.millis(1, 20)).await;
                self.rotate(&newest).await
            }
        }
    }

    /// Logs in, which begins another family.
    pub(crate) async fn login(&mut self) -> Outcome {
        let act = Act::Login { user: self.user.clone(), client: self.client.0.clone() };
        let form = [("grant_type", "password"), ("username", &self.user), ("password", PASSWORD)];
        let outcome = self.ask(act, &form).await;
        if let Outcome::Granted(token) = &outcome {
            self.received = vec![token.clone()];
            self.presented.set(false);
        }
        outcome
    }

    /// Presents the newest token as its owner does.
    pub(crate) async fn rotate(&mut self, newest: &str) -> Outcome {
        let outcome = self.refresh(newest).await;
        self.took(outcome)
    }

    fn took(&mut self, outcome: Outcome) -> Outcome {
        match &outcome {
            Outcome::Granted(token) => {
                self.received.push(token.clone());
                self.presented.set(false);
            }
            Outcome::Refused(_) => self.bury(),
            Outcome::Unknown | Outcome::Done => {}
        }
        outcome
    }

    /// The family is over, which is remembered.
    pub(crate) fn bury(&mut self) {
        self.buried.extend(self.received.pop());
        self.received.clear();
        self.buried.drain(..self.buried.len().saturating_sub(5));
    }

    /// Presents any token.
    pub(crate) async fn refresh(&self, token: &str) -> Outcome {
        if self.received.last().is_some_and(|newest| newest == token) {
            self.presented.set(true);
        }
        let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
        self.ask(Act::Refresh { token: token.to_owned() }, &form).await
    }

    async fn ask(&self, act: Act, form: &[(&str, &str)]) -> Outcome {
        let url = {
            let urls = self.world.urls.borrow();
            let Some(url) = urls.get(self.lots_of_urls(urls.len())) else { return Outcome::Unknown };
            format!("{url}/token")
        };
        let invoked = self.world.history.invoke(act);
        let outcome = self.answer(&url, form).await.unwrap_or_else(|error| {
            *self.unanswered.borrow_mut() = error.to_string();
            Outcome::Unknown
        });
        self.world.history.end(invoked, &outcome);
        outcome
    }

    /// Any of so many servers, another one each time.
    fn lots_of_urls(&self, count: usize) -> usize {
        self.world.history.operations().len() % count.max(1)
    }

    async fn answer(&self, url: &str, form: &[(&str, &str)]) -> reqwest::Result<Outcome> {
        let (id, secret) = &self.client;
        let request = self.http.post(url).basic_auth(id, Some(secret)).form(form).timeout(PATIENCE);
        let response = request.send().await?;
        let (status, body) = (response.status().as_u16(), response.text().await?);
        let member = |name: &str| -> String {
            let json: serde_json::Value = serde_json::from_str(&body).expect("an answer is JSON");
            json[name].as_str().unwrap_or_else(|| panic!("no {name} in {status} {body}")).to_owned()
        };
        Ok(match status {
            200 => Outcome::Granted(member("refresh_token")),
            400 | 401 => Outcome::Refused(member("error")),
            429 | 503 => {
                *self.unanswered.borrow_mut() = format!("{status} {body}");
                Outcome::Unknown
            }
            _ => panic!("{status} {body}"),
        })
    }
}
