//! Documents as people write them, right and wrong, and that what is written is read back.

use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::subsequence;

use super::*;
use crate::model::client::AuthMethod;
use crate::model::key::SigningAlgorithm;
use crate::model::time::Ttl;

const WHOLE: &str = r#"
[[roles]]
role = "editor"
scope = "notes:write"
description = "May change notes"

[[clients]]
client_id = "shop"
name = "Shop"
grant_types = ["password", "refresh_token", "token-exchange"]
scope = "b a"
audience = ["https://a.example", "urn:b"]
resource_servers = ["https://shop.example"]
may_act_for = ["https://c.example"]
token_endpoint_auth_methods = ["client_secret_post", "private_key_jwt"]
access_ttl = "5m"
refresh_ttl = "1d"
alg = "RS256"
trust_user_address = true
status = false
jwks = '{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'
dpop_bound_access_tokens = true
enabled = false

[[users]]
username = "Alice"
email = "alice@example.com"
name = "Alice Example"
roles = ["editor"]
enabled = true
"#;

fn given(text: &str) -> Result<Declared, Vec<String>> {
    read_as(text, Secrets::ByReference)
}

fn read_as(text: &str, secrets: Secrets) -> Result<Declared, Vec<String>> {
    read(text, "f", Path::new(""), secrets).map_err(|failure| {
        let sentence = failure.into_sentence();
        sentence.lines().filter(|line| line.starts_with("f:")).map(str::to_owned).collect()
    })
}

#[test]
fn every_key_is_read_and_what_is_left_out_is_as_nobody_had_said_it() {
    let whole = given(WHOLE).expect("right");

    let client = &whole.clients.as_ref().expect("a list")[0];
    let changed = client.registration.members().into_iter().zip(Registration::default().members());
    for ((member, is), (_, default)) in changed {
        assert_ne!(is, default, "{member} is in the document");
    }
    assert_eq!((client.enabled, &client.secret), (Some(false), &None));
    let user = &whole.users.as_ref().expect("a list")[0];
    assert_eq!((user.username.as_str(), user.enabled, &user.password), ("alice", Some(true), &None));
    assert_eq!(given(&write(&whole).expect("written")), Ok(whole));

    let least = "[[clients]]\nclient_id = \"a\"\ngrant_types = [\"password\"]";
    let least = given(least).expect("right");
    let client = &least.clients.as_ref().expect("a list")[0];
    let registration = Registration { grant_types: vec![GrantType::Password], ..Registration::default() };
    assert_eq!((&client.registration, client.enabled), (&registration, None));
    assert_eq!((&least.roles, &least.users), (&None, &None), "nothing is said of them");
    assert_eq!(
        given("users = []").map(|declared| declared.users),
        Ok(Some(Vec::new())),
        "there are to be none"
    );
}

#[test]
fn all_mistakes_are_told_at_once_each_with_its_line_and_what_was_meant() {
    let mistakes = given(
        r#"[[clients]]
client_id = "a b"
grant_typs = ["password"]
scope = 7
access_ttl = "soon"
audience = ["nowhere", "https://a.example", "here"]
status = "yes"

[[client]]
[[users]]
username = "alice"
rolls = ["a"]
[[users]]
username = "ALICE"
[[roles]]
role = "x"
"#,
    )
    .expect_err("wrong");

    let told = [
        "f:2: client_id: 'a b' is not a client id",
        "f:3: grant_typs: there is no such key: the nearest is grant_types",
        "f:4: scope: this is a text",
        "f:5: access_ttl: 'soon' is not a length of time",
        "f:6: audience: 'nowhere' is not an audience",
        "f:6: audience: 'here' is not an audience",
        "f:7: status: write true or false",
        "f:9: there is no 'client' here: the nearest is [[clients]]",
        "f:12: rolls: there is no such key: the nearest is roles",
        "f:13: 'alice' stands here twice",
        "f:15: scope: this is missing",
    ];
    assert_eq!(mistakes.len(), told.len(), "{mistakes:#?}");
    for (mistake, told) in mistakes.iter().zip(told) {
        assert!(mistake.starts_with(told), "{mistake} is not {told}");
    }
    for text in
        ["clients = 3", "clients = [1]", "[clients]\nx = 1", "[clients.shop]\n", "[[clients", "a.b.c = 1"]
    {
        assert_eq!(given(text).map_err(|mistakes| mistakes.len()), Err(1), "{text}");
    }
}

#[test]
fn a_secret_in_the_file_is_refused_without_being_repeated_and_taken_only_where_all_is_thrown_away() {
    let text = "[[clients]]\nclient_id = \"a\"\ngrant_types = [\"password\"]\nclient_secret = \"canary-secret\"\n\
                [[users]]\nusername = \"b\"\npassword = \"canary-password\"";

    let mistakes = given(text).expect_err("refused");

    assert!(mistakes[0].contains("f:4: ") && mistakes[0].contains("client_secret_file"), "{mistakes:?}");
    assert!(mistakes[1].contains("f:7: ") && mistakes[1].contains("set-password"), "{mistakes:?}");
    let told = mistakes.join("\n");
    assert!(!told.contains("canary"), "{told}");
    let broken = given("[[users]]\nusername = \"b\"\npassword = \"canary").expect_err("no TOML").join("\n");
    assert!(broken.starts_with("f:3: ") && !broken.contains("canary"), "{broken}");

    let seed = read_as(text, Secrets::InPlain).expect("taken");
    let exposed = |secret: &Option<PlainSecret>| secret.as_ref().map(|secret| secret.expose().to_owned());
    assert_eq!(exposed(&seed.clients.as_ref().expect("a list")[0].secret).as_deref(), Some("canary-secret"));
    assert_eq!(
        exposed(&seed.users.as_ref().expect("a list")[0].password).as_deref(),
        Some("canary-password")
    );
    assert!(!write(&seed).expect("written").contains("canary"), "what is written holds no secret");
}

#[test]
fn files_are_looked_for_beside_the_document() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("s"), "Zk3vQ8sT1xYb5nLw9RhCj2MdPf7GaEuo4iKNBVXO6ty\n")
        .expect("a file");
    let text = |file: &str| {
        format!(
            "[[clients]]\nclient_id = \"a\"\ngrant_types = [\"password\"]\nclient_secret_file = \"{file}\""
        )
    };

    let found = read(&text("s"), "f", directory.path(), Secrets::ByReference).expect("right");
    let missing = read(&text("t"), "f", directory.path(), Secrets::ByReference).expect_err("no file");

    let secret = found.clients.expect("a list").remove(0).secret.expect("a secret");
    assert_eq!(secret.expose(), "Zk3vQ8sT1xYb5nLw9RhCj2MdPf7GaEuo4iKNBVXO6ty", "less one line end");
    assert!(missing.into_sentence().contains("/t cannot be read"));
}

fn text() -> impl Strategy<Value = Option<String>> {
    of(prop_oneof![
        "\\PC{1,12}",
        "[\"'\\\\#\\[\\]= \t\r\n\u{0}-\u{20}\u{7f}-\u{a0}\u{202e}]{1,12}",
        "(?s).{1,8}"
    ])
}

fn names(pattern: &'static str) -> impl Strategy<Value = Vec<String>> {
    proptest::collection::btree_set(pattern, 0..4).prop_map(|names| names.into_iter().collect())
}

fn parsed<T: FromStr<Err: std::fmt::Debug>>(texts: &[String]) -> Vec<T> {
    texts.iter().map(|text| text.parse().expect("right")).collect()
}

prop_compose! {
    fn registrations()(
        name in text(),
        grant_types in subsequence(vec![GrantType::Password, GrantType::ClientCredentials], 1..=2),
        scope in names("[a-z:!#]{1,5}"),
        audience in names("urn:[a-z\\\\'\"]{1,6}"),
        resource_servers in names("urn:[a-z]{1,6}"),
        auth_methods in prop_oneof![
            Just(Registration::default().auth_methods),
            Just(vec![AuthMethod::ClientSecretPost, AuthMethod::ClientSecretBasic]),
            Just(vec![AuthMethod::ClientSecretBasic]),
        ],
        access_ttl in of(1u32..100_000),
        refresh_ttl in of(1u32..100_000),
        alg in of(prop_oneof![Just(SigningAlgorithm::Rs256), Just(SigningAlgorithm::EdDsa)]),
        (trust_user_address, status, dpop_bound) in any::<(bool, bool, bool)>(),
    ) -> Registration {
        Registration {
            name,
            grant_types,
            scope: scope.join(" ").parse().expect("right"),
            audience: parsed(&audience),
            resource_servers: parsed(&resource_servers),
            may_act_for: Vec::new(),
            auth_methods,
            access_ttl: access_ttl.map(Ttl::from_secs),
            refresh_ttl: refresh_ttl.map(Ttl::from_secs),
            alg,
            trust_user_address,
            status,
            jwks: None,
            dpop_bound,
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        roles in names("[A-Za-z0-9._~-]{1,6}"),
        clients in proptest::collection::btree_map("[A-Za-z0-9._~-]{1,6}", (registrations(), of(Just(false))), 0..4),
        users in names("[a-z0-9@.\u{e4}]{1,6}"),
        texts in proptest::array::uniform4(text()),
    ) {
        let [description, email, name, _] = texts;
        let role_names: Vec<crate::model::role::RoleName> = parsed(&roles);
        let scope: crate::model::scope::Scope = "a".parse().expect("right");
        let users = users.iter().filter_map(|user| user.parse().ok());
        let declared = Declared {
            roles: Some(role_names.iter().map(|role| DeclaredRole {
                name: role.clone(), scope: scope.clone(), description: description.clone(),
            }).collect()),
            clients: Some(clients.into_iter().map(|(id, (registration, enabled))| DeclaredClient {
                id: id.parse().expect("right"), registration, secret: None, enabled,
            }).collect()),
            users: Some(users.map(|username| DeclaredUser {
                username, email: email.clone(), name: name.clone(), roles: role_names.clone(),
                password: None, enabled: None,
            }).collect()),
        };

        let written = write(&declared).expect("written");

        prop_assert!(!written.contains('\u{202e}') && !written.contains('\u{1b}'), "safe to be looked at");
        prop_assert_eq!(given(&written), Ok(declared), "{}", written);
    }
}
