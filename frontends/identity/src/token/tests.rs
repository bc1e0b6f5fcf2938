//! Good tokens, and everything that must not pass for one.

use serde_json::{Value, json};
use strongroom_engine::seam::{ManualClock, SeededEntropy, Timestamp};

use super::*;
use crate::scope;

const NOW: u64 = 1_800_000_000;

struct Fixture {
    tokens: Tokens,
    clock: Arc<ManualClock>,
    key: TokenKey,
}

fn fixture() -> Fixture {
    let clock = Arc::new(ManualClock::at(Timestamp(NOW * 1_000)));
    let entropy = Arc::new(SeededEntropy::new(1));
    let seams = Seams { clock: Arc::clone(&clock) as _, entropy };
    let key = TokenKey::generate(&seams);
    let keys = KeySet::new(key.clone(), vec![]);
    let tokens = Tokens::new("us", "reg.example", Duration::from_mins(5), keys, seams);
    Fixture { tokens, clock, key }
}

fn scopes() -> Vec<Scope> {
    scope::parse(["repository:acme/backend/api:pull,push"]).unwrap()
}

fn encode(value: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(value)
}

fn mac(message: &str, secret: &[u8]) -> String {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    encode(aws_lc_rs::hmac::sign(&key, message.as_bytes()).as_ref())
}

impl Fixture {
    fn header(&self) -> Value {
        json!({ "alg": "HS256", "typ": "JWT", "kid": self.key.id() })
    }

    fn claims() -> Value {
        json!({
            "iss": "us", "sub": "user:jo", "aud": "reg.example", "exp": NOW + 300, "nbf": NOW,
            "iat": NOW, "jti": "x", "access": [], "refused": []
        })
    }

    /// A token that says what it is told to, signed with our own key.
    fn signed(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
        let signature = mac(&message, self.key.expose());
        format!("{message}.{signature}")
    }

    fn with_claim(&self, name: &str, value: Option<Value>) -> Result<Arc<Granted>, TokenError> {
        let mut claims = Self::claims();
        let fields = claims.as_object_mut().unwrap();
        match value {
            Some(value) => fields.insert(name.to_owned(), value),
            None => fields.remove(name),
        };
        self.tokens.verify(&self.signed(&self.header().to_string(), &claims.to_string()))
    }
}

#[test]
fn a_token_says_who_and_what_until_its_time_is_over() {
    let fixture = fixture();
    let issued = fixture.tokens.issue("user:jo", &scopes(), &[]).unwrap();
    assert_eq!((issued.expires_in, issued.issued_at), (300, NOW));
    let granted = fixture.tokens.verify(&issued.token).unwrap();
    assert_eq!((granted.subject.as_str(), &granted.scopes), ("user:jo", &scopes()));
    fixture.clock.advance(Duration::from_secs(299));
    fixture.tokens.verify(&issued.token).unwrap();
    fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(fixture.tokens.verify(&issued.token), Err(TokenError::Time));
}

#[test]
fn the_claims_are_those_of_the_docker_token_spec() {
    let fixture = fixture();
    let issued = fixture.tokens.issue("user:jo", &scopes(), &[]).unwrap();
    let claims = URL_SAFE_NO_PAD.decode(issued.token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    let access =
        json!([{ "type": "repository", "name": "acme/backend/api", "actions": ["pull", "push"] }]);
    assert_eq!(claims["access"], access);
    assert_eq!((&claims["aud"], &claims["iss"]), (&json!("reg.example"), &json!("us")));
}

#[test]
fn keys_are_rotated_without_a_gap_and_a_dropped_one_is_refused() {
    let fixture = fixture();
    let old = fixture.tokens.issue("user:jo", &[], &[]).unwrap().token;
    let new = TokenKey::from_parts("new", [7; 32]);
    fixture.tokens.rotate(KeySet::new(new.clone(), vec![fixture.key.clone()]));
    let newer = fixture.tokens.issue("user:jo", &[], &[]).unwrap().token;
    fixture.tokens.verify(&old).unwrap();
    fixture.tokens.verify(&newer).unwrap();
    fixture.tokens.rotate(KeySet::new(new, vec![]));
    assert_eq!(fixture.tokens.verify(&old), Err(TokenError::UnknownKey));
    fixture.tokens.verify(&newer).unwrap();
}

#[test]
fn the_hand_made_token_of_these_tests_is_good() {
    let fixture = fixture();
    let token = fixture.signed(&fixture.header().to_string(), &Fixture::claims().to_string());
    fixture.tokens.verify(&token).unwrap();
}

#[test]
fn threat_a1_no_token_brings_its_own_key() {
    let fixture = fixture();
    let attacker = [9; 32];
    let jwk = json!({ "kty": "oct", "k": encode(&attacker), "alg": "HS256" });
    let cases = [
        ("jwk", jwk),
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/cert")),
        ("x5c", json!(["AAAA"])),
        ("x5t", json!("AAAA")),
        ("x5t#S256", json!("AAAA")),
        ("zip", json!("DEF")),
        ("b64", json!(false)),
    ];
    for (name, value) in cases {
        let mut header = fixture.header();
        header[name] = value;
        let (header, claims) = (header.to_string(), Fixture::claims().to_string());
        let message = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
        let forged = format!("{message}.{}", mac(&message, &attacker));
        assert_eq!(fixture.tokens.verify(&forged), Err(TokenError::Form), "{name}");
        let ours = fixture.signed(&header, &claims);
        assert_eq!(fixture.tokens.verify(&ours), Err(TokenError::Form), "{name}");
    }
}

#[test]
fn threat_a4_every_claim_must_be_there_and_of_its_very_type() {
    let fixture = fixture();
    for name in ["exp", "nbf", "iat"] {
        for odd in [
            json!(format!("{}", NOW + 300)),
            json!(1_800_000_300.5),
            json!(1.8e9),
            json!(-1),
            json!([NOW]),
            json!({}),
            json!(true),
            Value::Null,
        ] {
            let verdict = fixture.with_claim(name, Some(odd.clone()));
            assert_eq!(verdict, Err(TokenError::Form), "{name} {odd}");
        }
        let huge = fixture.with_claim(name, Some(json!(1_u64 << 63)));
        assert_eq!(huge, Err(TokenError::Time), "{name}");
    }
    for name in ["iss", "aud", "sub", "jti", "access", "refused"] {
        for odd in [json!(1), json!(["us"]), json!(["reg.example"]), json!({}), Value::Null] {
            fixture.with_claim(name, Some(odd)).unwrap_err();
        }
    }
    for name in ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "access", "refused"] {
        assert_eq!(fixture.with_claim(name, None), Err(TokenError::Form), "{name}");
    }
    let unknown = fixture.with_claim("scope", Some(json!("repository:*:*")));
    assert_eq!(unknown, Err(TokenError::Form));
    let twice = Fixture::claims().to_string().replace("\"exp\":", "\"exp\":9999999999,\"exp\":");
    let twice = fixture.signed(&fixture.header().to_string(), &twice);
    assert_eq!(fixture.tokens.verify(&twice), Err(TokenError::Form));
}

#[test]
fn times_that_make_no_sense_are_refused() {
    let fixture = fixture();
    let time = |name, value: u64| fixture.with_claim(name, Some(json!(value)));
    assert_eq!(time("exp", NOW), Err(TokenError::Time));
    assert_eq!(time("exp", NOW + 3_601), Err(TokenError::Time), "longer than any is good for");
    assert_eq!(time("nbf", NOW + LEEWAY + 1), Err(TokenError::Time));
    assert_eq!(time("iat", NOW + LEEWAY + 1), Err(TokenError::Time));
    assert_eq!(time("nbf", 0), Err(TokenError::Time));
    time("nbf", NOW + LEEWAY).unwrap();
}

#[test]
fn issuer_and_service_must_be_equal_not_alike() {
    let fixture = fixture();
    for (name, values) in [
        ("iss", ["us/", "US", "us.evil", "", "u", "us ", "evil@us"]),
        (
            "aud",
            ["reg.example/", "REG.example", "reg.example.evil", "", "reg", "*", "evil@reg.example"],
        ),
    ] {
        for value in values {
            let verdict = fixture.with_claim(name, Some(json!(value)));
            assert_eq!(verdict, Err(TokenError::Audience), "{name} {value}");
        }
    }
}

#[test]
fn threat_a5_alg_attacks() {
    let fixture = fixture();
    let claims = Fixture::claims().to_string();
    for alg in [
        "none", "None", "NONE", "nOnE", "", "hs256", "HS384", "HS512", "RS256", "RS384", "RS512",
        "PS256", "ES256", "ES384", "EdDSA", "ES256K", "HS256 ", "HS1", "A128KW", "dir",
    ] {
        let mut header = fixture.header();
        header["alg"] = json!(alg);
        let header = header.to_string();
        let signed = fixture.signed(&header, &claims);
        assert_eq!(fixture.tokens.verify(&signed), Err(TokenError::Form), "{alg}");
        let unsigned = format!("{}.{}.", encode(header.as_bytes()), encode(claims.as_bytes()));
        assert_eq!(fixture.tokens.verify(&unsigned), Err(TokenError::Form), "{alg} unsigned");
    }
    for alg in [Value::Null, json!(["HS256"]), json!(256), json!({ "a": "HS256" })] {
        let mut header = fixture.header();
        header["alg"] = alg.clone();
        let signed = fixture.signed(&header.to_string(), &claims);
        assert_eq!(fixture.tokens.verify(&signed), Err(TokenError::Form), "{alg}");
    }
}

#[test]
fn threat_a5_signatures_that_are_empty_cut_or_of_others_are_refused() {
    let fixture = fixture();
    let good = fixture.tokens.issue("user:jo", &scopes(), &[]).unwrap().token;
    let (message, signature) = good.rsplit_once('.').unwrap();
    let other_claims = Fixture::claims().to_string().replace("user:jo", "user:admin");
    let swapped = format!(
        "{}.{}.{signature}",
        message.split_once('.').unwrap().0,
        encode(other_claims.as_bytes())
    );
    for bad in [
        format!("{message}."),
        format!("{message}.{}", &signature[..signature.len() - 1]),
        format!("{message}.{signature}A"),
        format!("{message}.{signature}="),
        format!("{message}.{}", encode(&[0; 32])),
        format!("{message}.{}", mac(message, b"")),
        format!("{message}.{}", mac(message, fixture.key.id().as_bytes())),
        swapped,
    ] {
        let refused = fixture.tokens.verify(&bad).unwrap_err();
        assert!(matches!(refused, TokenError::Signature | TokenError::Form), "{bad}: {refused:?}");
    }
}

#[test]
fn threat_a6_every_crit_is_refused() {
    let fixture = fixture();
    for crit in [json!(["exp"]), json!(["b64"]), json!([]), json!("x"), Value::Null] {
        let mut header = fixture.header();
        header["crit"] = crit.clone();
        let signed = fixture.signed(&header.to_string(), &Fixture::claims().to_string());
        assert_eq!(fixture.tokens.verify(&signed), Err(TokenError::Form), "{crit}");
    }
}

#[test]
fn headers_must_have_their_three_fields_once() {
    let fixture = fixture();
    let kid = fixture.key.id();
    for header in [
        "{}".to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        json!({ "alg": "HS256", "kid": kid }).to_string(),
        json!({ "alg": "HS256", "typ": "at+jwt", "kid": kid }).to_string(),
        json!({ "alg": "HS256", "typ": "JWT" }).to_string(),
        json!({ "alg": "HS256", "typ": "JWT", "kid": [kid] }).to_string(),
        format!("{{\"alg\":\"HS256\",\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":\"{kid}\"}}"),
    ] {
        let signed = fixture.signed(&header, &Fixture::claims().to_string());
        assert_eq!(fixture.tokens.verify(&signed), Err(TokenError::Form), "{header}");
    }
    for kid in ["", "../key", "' or 1=1"] {
        let header = json!({ "alg": "HS256", "typ": "JWT", "kid": kid }).to_string();
        let signed = fixture.signed(&header, &Fixture::claims().to_string());
        assert_eq!(fixture.tokens.verify(&signed), Err(TokenError::UnknownKey), "{kid}");
    }
}

#[test]
fn threat_a9_dots_and_length_are_refused_before_anything_is_decoded() {
    let fixture = fixture();
    assert_eq!(fixture.tokens.verify(&".".repeat(1024 * 1024)), Err(TokenError::TooLong));
    assert_eq!(fixture.tokens.verify(&".".repeat(MAX_LENGTH)), Err(TokenError::Form));
    for bad in ["", ".", "..", "...", "a.b", "a.b.c.d", "not a token"] {
        assert_eq!(fixture.tokens.verify(bad), Err(TokenError::Form), "{bad}");
    }
}

#[test]
fn threat_c25_a_key_is_shown_by_no_debug() {
    let key = TokenKey::from_parts("id", [42; 32]);
    let shown = format!("{key:?} {:?}", KeySet::new(key.clone(), vec![]));
    assert!(!shown.contains("42"), "{shown}");
}

#[test]
fn what_grants_nothing_is_not_in_the_token() {
    let fixture = fixture();
    let none = scope::parse(["repository:a/b/c:own"]).unwrap();
    let issued = fixture.tokens.issue("user:jo", &none, &none).unwrap();
    let granted = fixture.tokens.verify(&issued.token).unwrap();
    assert!(granted.scopes.is_empty() && granted.sought.is_empty());
}

#[test]
fn what_was_refused_is_in_the_token_and_grants_nothing() {
    let fixture = fixture();
    let asked = scope::parse(["repository:a/b/c:push"]).unwrap();
    let issued = fixture.tokens.issue("user:jo", &scopes(), &asked).unwrap();
    let granted = fixture.tokens.verify(&issued.token).unwrap();
    assert_eq!(granted.scopes, scopes());
    assert_eq!(*granted.sought, [scopes(), asked].concat());
}
