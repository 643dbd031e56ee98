//! The ceilings that answer over HTTP: the least that a server in actix-web can do for the same request.
//!
//! Run as `--ceiling` and the bytes of each of [`DOCUMENTS`], a process of its own with the allocator of grantd. A token request is
//! parsed, its client's secret compared by its SHA-256, claims of the same members signed with a key that was parsed
//! once, and the JSON written; documents are fixed bytes. Nothing is counted, logged, checked or cached.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Result, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use actix_web::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, PRAGMA};
use actix_web::web::{Bytes, Data, Form, get, post};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use crate::rig::wire::{basic, write_token_request};

/// What a client of the ceiling says for grantd's `gcs_…`: as long as one.
const SECRET: &str = "gcs_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const ISSUER: &str = "http://127.0.0.1:8080";
const STATUS_LIST: &str = "http://127.0.0.1:8080/status/0";

/// What is served as fixed bytes.
pub(crate) const DOCUMENTS: [&str; 3] =
    ["/.well-known/jwks.json", "/.well-known/oauth-authorization-server", "/status/0"];
/// How long each of [`DOCUMENTS`] is, in bytes.
pub(crate) type Lengths = [usize; 3];

/// A ceiling program that runs; killed when dropped.
pub(crate) struct Ceiling {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Ceiling {
    /// Starts it where the current thread may run, with documents of these lengths.
    pub(crate) fn start(lengths: Lengths) -> Self {
        let own = std::env::current_exe().expect("the path of this bench");
        let mut command = Command::new(own);
        command.arg("--ceiling").args(lengths.map(|length| length.to_string())).stdout(Stdio::piped());
        let mut child = command.spawn().expect("this bench starts itself");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line.trim().parse().expect("the address of the ceiling program");
        Self { child, address }
    }

    /// The request for a token of `algorithm`.
    pub(crate) fn token_request(algorithm: &str) -> Vec<u8> {
        let mut request = Vec::new();
        write_token_request(&mut request, &basic(algorithm, SECRET), "grant_type=client_credentials");
        request
    }
}

impl Drop for Ceiling {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program itself; prints its address and serves until it is killed.
pub(crate) fn serve(lengths: Lengths) -> Result<()> {
    let state = Data::new(State::new(lengths));
    actix_web::rt::System::new().block_on(async move {
        let server = HttpServer::new(move || {
            let app = App::new().app_data(state.clone()).route("/token", post().to(token));
            let documents = (0..).zip(DOCUMENTS);
            documents.fold(app, |app, (at, path)| {
                app.route(
                    path,
                    get().to(move |state: Data<State>| async move { fixed(&state.documents[at]) }),
                )
            })
        });
        let server = server.workers(1).bind(("127.0.0.1", 0))?;
        let mut stdout = std::io::stdout();
        writeln!(stdout, "{}", server.addrs()[0])?;
        stdout.flush()?;
        server.run().await
    })
}

struct State {
    clients: HashMap<String, Client>,
    random: SystemRandom,
    documents: [Bytes; DOCUMENTS.len()],
}

struct Client {
    id: &'static str,
    secret: [u8; 32],
    key: Key,
    /// The header of its tokens in base64url, and the full stop behind it.
    header: String,
}

enum Key {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

#[derive(Deserialize)]
struct TokenForm {
    grant_type: String,
    scope: Option<String>,
}

/// The members of grantd's claims for client_credentials.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    exp: i64,
    iat: i64,
    jti: &'a str,
    client_id: &'a str,
    scope: &'a str,
    status: Status<'a>,
}

#[derive(Serialize)]
struct Status<'a> {
    status_list: StatusListRef<'a>,
}

#[derive(Serialize)]
struct StatusListRef<'a> {
    idx: u32,
    uri: &'a str,
}

#[derive(Serialize)]
struct Answer<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: i64,
    scope: &'a str,
}

impl State {
    fn new(lengths: Lengths) -> Self {
        let ecdsa = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let keys = [
            ("ES256", Key::Ecdsa(ecdsa)),
            ("EdDSA", Key::Ed25519(Ed25519KeyPair::generate().expect("a key"))),
            ("RS256", Key::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"))),
        ];
        let clients = keys.map(|(id, key)| (id.to_owned(), Client::new(id, key)));
        let documents = lengths.map(|length| Bytes::from(vec![b' '; length]));
        Self { clients: clients.into(), random: SystemRandom::new(), documents }
    }

    fn client(&self, request: &HttpRequest) -> Option<&Client> {
        let said = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
        let pair = String::from_utf8(STANDARD.decode(said.strip_prefix("Basic ")?).ok()?).ok()?;
        let (id, secret) = pair.split_once(':')?;
        let client = self.clients.get(id)?;
        let said = digest(&SHA256, secret.as_bytes());
        bool::from(said.as_ref().ct_eq(&client.secret)).then_some(client)
    }
}

impl Client {
    fn new(id: &'static str, key: Key) -> Self {
        let kid = URL_SAFE_NO_PAD.encode([7; 32]);
        let header = format!(r#"{{"typ":"at+jwt","alg":"{id}","kid":"{kid}"}}"#);
        let secret = digest(&SHA256, SECRET.as_bytes()).as_ref().try_into().expect("32 bytes");
        Self { id, secret, key, header: format!("{}.", URL_SAFE_NO_PAD.encode(header)) }
    }

    fn token(&self, scope: &str, random: &SystemRandom) -> Option<String> {
        let mut id = [0; 18];
        random.fill(&mut id[6..]).ok()?;
        let iat = now();
        let claims = Claims {
            iss: ISSUER,
            sub: self.id,
            aud: ISSUER,
            exp: iat + 600,
            iat,
            jti: &URL_SAFE_NO_PAD.encode(id),
            client_id: self.id,
            scope,
            status: Status { status_list: StatusListRef { idx: 3149, uri: STATUS_LIST } },
        };
        let mut token = String::with_capacity(1024);
        token.push_str(&self.header);
        URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(&claims).ok()?, &mut token);
        let mut signature = [0; 256];
        let message = token.as_bytes();
        let length = match &self.key {
            Key::Ecdsa(pair) => put(&mut signature, pair.sign(random, message).ok()?.as_ref()),
            Key::Ed25519(pair) => put(&mut signature, pair.sign(message).as_ref()),
            Key::Rsa(pair) => {
                pair.sign(&RSA_PKCS1_SHA256, random, message, &mut signature).ok()?;
                signature.len()
            }
        };
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(&signature[..length], &mut token);
        Some(token)
    }
}

async fn token(request: HttpRequest, form: Form<TokenForm>, state: Data<State>) -> HttpResponse {
    let Some(client) = state.client(&request).filter(|_| form.grant_type == "client_credentials") else {
        return HttpResponse::Unauthorized().finish();
    };
    let scope = form.scope.as_deref().unwrap_or("read");
    let Some(token) = client.token(scope, &state.random) else {
        return HttpResponse::InternalServerError().finish();
    };
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((PRAGMA, "no-cache"))
        .json(Answer { access_token: &token, token_type: "Bearer", expires_in: 600, scope })
}

fn fixed(document: &Bytes) -> HttpResponse {
    HttpResponse::Ok().insert_header((CONTENT_TYPE, "application/json")).body(document.clone())
}

fn put(into: &mut [u8], bytes: &[u8]) -> usize {
    into[..bytes.len()].copy_from_slice(bytes);
    bytes.len()
}

#[expect(clippy::disallowed_methods, reason = "no test moves the time of a ceiling")]
fn now() -> i64 {
    chrono::Utc::now().timestamp()
}
