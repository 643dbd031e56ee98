const ISSUER: &str = {{ self.0.issuer }};
const AUDIENCE: &str = {{ self.0.audience }}; // this service; a token for another one is not for us
const JWKS_URI: &str = {{ self.0.jwks_uri }};
// Never what the token says; a client with another --alg needs that here, too.
const ALGORITHMS: &[Algorithm] = &[{{ self.0.algorithms("Algorithm::", "") }}];
// A revoked token is good here until it expires: keep tokens.access_ttl short, ask /introspect, or
// read the status list as grantd's examples/validators do.

/// RFC 9068 §2.2: a token without one of those that are no options is refused.
#[derive(Deserialize)]
#[expect(dead_code, reason = "they must be there all the same")]
struct Claims {
    sub: String,
    client_id: String,
    iat: u64,
    jti: String,
    scope: Option<String>,
    cnf: Option<serde_json::Value>,
}

/// What to answer instead, RFC 6750 §3.
#[derive(Debug)]
struct Refused {
    status: u16,
    error: &'static str,
    header: (&'static str, String),
}

fn refused(status: u16, error: &'static str, challenge: &str) -> Refused {
    let challenge = format!("Bearer realm=\"{ISSUER}\"{challenge}");
    Refused {
        status,
        error,
        header: ("www-authenticate", challenge),
    }
}

fn invalid_token<E>(_why: E) -> Refused {
    refused(401, "invalid_token", ", error=\"invalid_token\"")
}

/// The claims of the token in an Authorization header, if it is good and has every scope of `scope`.
async fn check(authorization: Option<&str>, scope: &str) -> Result<Claims, Refused> {
    let sent = authorization.and_then(|sent| sent.split_once(' '));
    let Some((_, token)) = sent.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) else {
        return Err(refused(401, "invalid_token", "")); // no error for who sent no token
    };
    let header = decode_header(token).map_err(invalid_token)?;
    // RFC 9068 §4: an ID token, or another JWT of the same issuer, is no access token.
    let typ = header.typ.unwrap_or_default().to_ascii_lowercase();
    let is_access_token = matches!(typ.as_str(), "at+jwt" | "application/at+jwt");
    if !is_access_token || header.crit.is_some() || !ALGORITHMS.contains(&header.alg) {
        return Err(invalid_token("another kind of token"));
    }
    let key = key(&header.kid.unwrap_or_default()).await?;
    let mut rules = Validation::new(header.alg); // which is one of ours, and of the key's family
    rules.leeway = 5; // seconds
    rules.validate_nbf = true;
    rules.set_issuer(&[ISSUER]);
    rules.set_audience(&[AUDIENCE]);
    rules.set_required_spec_claims(&["iss", "aud", "exp", "sub"]); // by default only exp
    let claims = decode::<Claims>(token, &key, &rules)
        .map_err(invalid_token)?
        .claims;
    if claims.cnf.is_some() {
        // Bound to a key (DPoP): who sends it as a bearer token may have stolen it.
        return Err(invalid_token("a bound token"));
    }
    let held: Vec<&str> = claims
        .scope
        .as_deref()
        .unwrap_or_default()
        .split(' ')
        .collect();
    if !scope.split_whitespace().all(|one| held.contains(&one)) {
        let challenge = format!(", error=\"insufficient_scope\", scope=\"{scope}\"");
        return Err(refused(403, "insufficient_scope", &challenge));
    }
    Ok(claims)
}

#[derive(Default)]
struct Keys {
    set: Option<JwkSet>,
    fetched: Option<Instant>,
    tried: Option<Instant>,
}

/// The key of this id. The keys are fetched anew after 5 minutes, for one may have been retired, and
/// for an unknown id; but no more often than every 5 s, for anybody can invent one.
async fn key(kid: &str) -> Result<DecodingKey, Refused> {
    static KEYS: LazyLock<Mutex<Keys>> = LazyLock::new(Mutex::default);
    let past = |at: Option<Instant>, secs| at.is_none_or(|at| at.elapsed().as_secs() >= secs);
    let mut keys = KEYS.lock().await;
    let known = keys.set.as_ref().is_some_and(|set| set.find(kid).is_some());
    if (!known || past(keys.fetched, 300)) && past(keys.tried, 5) {
        keys.tried = Some(Instant::now());
        if let Ok(set) = fetch().await {
            (keys.set, keys.fetched) = (Some(set), keys.tried);
        }
    }
    let Some(set) = keys.set.as_ref().filter(|_| !past(keys.fetched, 300)) else {
        // The token may be good: a 401 would log people out.
        let header = ("retry-after", "5".to_owned());
        return Err(Refused {
            status: 503,
            error: "temporarily_unavailable",
            header,
        });
    };
    let key = set
        .find(kid)
        .ok_or_else(|| invalid_token("an unknown kid"))?;
    DecodingKey::from_jwk(key).map_err(invalid_token)
}

async fn fetch() -> reqwest::Result<JwkSet> {
    static HTTP: LazyLock<reqwest::Client> = LazyLock::new(reqwest::Client::new);
    let asked = HTTP.get(JWKS_URI).timeout(Duration::from_secs(3)).send();
    asked.await?.error_for_status()?.json().await
}
