//! Two instances on one Postgres whose clocks are five seconds apart: sessions, retries, the throttle and the keys go
//! right whichever of them is asked.

use grantd::app::clock::Clock;
use grantd::model::key::SigningAlgorithm;
use grantd::model::time::Ttl;

use crate::support::database::TestDatabase;
use crate::support::runner::trials;
use crate::support::server::{Answer, PASSWORD, PUBLIC, START, TestServer};

trials! {
    postgres: [
        sessions_pass_between_instances_whose_clocks_differ,
        a_retry_is_met_by_the_other_instance_and_not_for_much_longer,
        failed_logins_count_on_both_and_no_longer_than_they_should,
        keys_rotate_once_and_tokens_of_each_are_good_at_the_other,
    ],
}

const SKEW: u32 = 5;

/// The one whose clock is right, the one whose clock is ahead, and a client's secret.
struct Two {
    right: TestServer,
    ahead: TestServer,
    secret: String,
}

impl Two {
    async fn start(database: &TestDatabase, settings: &[(&str, &str)]) -> Self {
        let right = TestServer::start_at(database, settings, Clock::manual(START)).await;
        let secret = right.full_client("app").await;
        right.client("spa", PUBLIC).await;
        right.user("alice", &[]).await;
        let ahead = START.plus(Ttl::from_secs(SKEW));
        let ahead = TestServer::start_at(database, settings, Clock::manual(ahead)).await;
        Self { right, ahead, secret }
    }

    /// Either order of asking.
    fn orders(&self) -> [[&TestServer; 2]; 2] {
        [[&self.right, &self.ahead], [&self.ahead, &self.right]]
    }

    fn pass(&self, seconds: u32) {
        self.right.pass(seconds);
        self.ahead.pass(seconds);
    }

    async fn stop(self) {
        self.right.stop().await;
        self.ahead.stop().await;
    }
}

fn refresh_token(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.text("refresh_token")
}

async fn sessions_pass_between_instances_whose_clocks_differ(database: TestDatabase) {
    let two = Two::start(&database, &[("GRANTD_TOKENS__REFRESH_IDLE_TTL", "60s")]).await;
    let app = ("app", two.secret.as_str());
    for [one, other] in two.orders() {
        let mut token = refresh_token(&one.login(app, "alice").await);
        for _ in 0..6 {
            let successor = refresh_token(&other.refresh(app, &token).await);
            assert_eq!(
                refresh_token(&one.refresh(app, &token).await),
                successor,
                "a lost answer, asked again"
            );
            let next = refresh_token(&one.refresh(app, &successor).await);
            assert_eq!(refresh_token(&other.refresh(app, &successor).await), next);
            token = next;
            // Almost as long as a session may lie idle by either clock.
            two.pass(60 - 2 * SKEW);
        }
        two.pass(60 + SKEW);
        for server in [other, one] {
            assert_eq!(server.refresh(app, &token).await.refusal(), (400, "invalid_grant".into()));
        }
    }
    two.stop().await;
}

async fn a_retry_is_met_by_the_other_instance_and_not_for_much_longer(database: TestDatabase) {
    let two = Two::start(&database, &[("GRANTD_TOKENS__REFRESH_RETRY_WINDOW_PUBLIC", "20s")]).await;
    let login = async |server: &TestServer| {
        let form =
            [("grant_type", "password"), ("client_id", "spa"), ("username", "alice"), ("password", PASSWORD)];
        refresh_token(&server.token(&form).await)
    };
    let refresh = async |server: &TestServer, token: &str| {
        server.token(&[("grant_type", "refresh_token"), ("client_id", "spa"), ("refresh_token", token)]).await
    };
    for [one, other] in two.orders() {
        let token = login(one).await;
        let successor = refresh_token(&refresh(one, &token).await);
        two.pass(20 - SKEW - 1);
        assert_eq!(
            refresh_token(&refresh(other, &token).await),
            successor,
            "inside the window by either clock"
        );

        two.pass(1 + 2 * SKEW);
        let late = refresh(other, &token).await;

        assert_eq!(late.refusal(), (400, "invalid_grant".into()), "outside of it by either clock");
        assert_eq!(
            refresh(one, &successor).await.refusal(),
            (400, "invalid_grant".into()),
            "a reuse ends it"
        );
    }
    two.stop().await;
}

async fn failed_logins_count_on_both_and_no_longer_than_they_should(database: TestDatabase) {
    let two = Two::start(&database, &[]).await;
    let app = ("app", two.secret.as_str());
    let guess = async |server: &TestServer| {
        let form = [("grant_type", "password"), ("username", "alice"), ("password", "a wrong guess")];
        server.token_as(app, &form).await
    };
    // A delay shorter than the skew is over at once by the clock that is ahead; both must refuse soon all the same.
    let mut refused = 0;
    for turn in 0..30 {
        let status = guess(if turn % 2 == 0 { &two.right } else { &two.ahead }).await.status;
        refused = if status == 429 { refused + 1 } else { 0 };
        assert!(status == 429 || (status == 400 && turn < 12), "{status} to guess {turn}");
        if refused == 2 {
            break;
        }
    }
    assert_eq!(refused, 2, "neither takes any more guesses");

    let mut longest = 0;
    for server in [&two.right, &two.ahead] {
        let delayed = server.login(app, "alice").await;
        assert_eq!(delayed.status, 429, "{delayed:?}");
        let seconds: u32 = delayed.header("retry-after").parse().expect("whole seconds");
        assert!((1..=900 + SKEW).contains(&seconds), "{seconds}");
        longest = longest.max(seconds);
    }
    two.pass(longest + SKEW);
    for server in [&two.ahead, &two.right] {
        assert_eq!(server.login(app, "alice").await.status, 200, "the delay is over by either clock");
    }
    two.stop().await;
}

async fn keys_rotate_once_and_tokens_of_each_are_good_at_the_other(database: TestDatabase) {
    let settings = [
        ("GRANTD_KEYS__ROTATE_EVERY", "100s"),
        ("GRANTD_KEYS__PUBLISH_BEFORE", "50s"),
        ("GRANTD_TOKENS__ACCESS_TTL", "10s"),
    ];
    let two = Two::start(&database, &settings).await;
    let app = ("app", two.secret.as_str());
    let signer = |server: &TestServer| {
        server.app.signer(SigningAlgorithm::Es256).expect("a key that signs").kid().to_string()
    };
    let mut signers = vec![signer(&two.right)];

    for second in 1..=60 {
        two.pass(10);
        for server in if second % 2 == 0 { [&two.right, &two.ahead] } else { [&two.ahead, &two.right] } {
            server.app.keep_keys_in_order().await.expect("keys in order");
        }
        for server in [&two.right, &two.ahead] {
            server.app.reload().await.expect("readable");
        }
        let [mine, other] = [&two.right, &two.ahead].map(signer);
        assert_eq!(mine, other, "both sign with one key");
        assert_eq!(two.right.app.ring().jwks(), two.ahead.app.ring().jwks());
        if signers.last() != Some(&mine) {
            assert!(!signers.contains(&mine), "no key comes back");
            signers.push(mine);
        }
        for [one, other] in two.orders() {
            let token = one.token_as(app, &[("grant_type", "client_credentials")]).await.text("access_token");
            let report = other.app.inspect_token(&token).await.expect("inspected");
            assert!(report.is_valid(), "{report:?}");
        }
        let keys = two.right.app.list_keys().await.expect("readable");
        let count = |state| keys.iter().filter(|key| key.state.name() == state).count();
        assert_eq!((count("active"), count("pending")), (1, 1), "{keys:?}");
    }

    // A key more or less, by what is added so that verifiers have seen it.
    assert!((5..=7).contains(&signers.len()), "one rotation every 100 s, not one by each clock: {signers:?}");
    two.stop().await;
}
