//! The endpoint as clients use it: what goes in by HTTP, and what comes out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http_body_util::BodyExt;
use serde_json::Value;
use strongroom_http::testing::context;

use super::*;
use crate::account::Reach;
use crate::embedded::house::{House, PASSWORD, bearer};
use crate::profiles::First;

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    fn token(&self) -> &str {
        assert_eq!(self.status, 200, "{}", self.body);
        assert_eq!(self.body["token"], self.body["access_token"]);
        assert_eq!(self.body["token_type"], "Bearer");
        assert_eq!(self.body["expires_in"], 300);
        assert_eq!(self.body["issued_at"], "2023-11-14T22:13:20Z");
        self.body["token"].as_str().unwrap()
    }

    fn refusal(&self) -> (u16, &str, &str) {
        let entry = &self.body["errors"][0];
        assert_eq!(entry["message"], self.body["error_description"]);
        (self.status, self.body["error"].as_str().unwrap(), entry["code"].as_str().unwrap())
    }
}

fn asking(method: &str, query: &str) -> http::request::Builder {
    Request::builder().method(method).uri(format!("{PATH}?{query}"))
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

async fn send(house: &House, request: Request<RequestBody>) -> Answer {
    let context = context(([192, 0, 2, 1], 1), None);
    let providers =
        Identity::new(house.engine.clone(), house.identity.clone(), None, First::default());
    let response = answer(&providers, request, &context).await;
    assert_eq!(context.route(), "token");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    assert_eq!(parts.headers["cache-control"], "no-store");
    assert_eq!(parts.headers["content-type"], "application/json");
    let body = serde_json::from_slice(&body).unwrap();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

async fn get(house: &House, query: &str, authorization: Option<&str>) -> Answer {
    let mut request = asking("GET", query);
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    send(house, request.body(RequestBody::from(bytes::Bytes::new())).unwrap()).await
}

async fn post(house: &House, form: &str) -> Answer {
    let body = RequestBody::from(bytes::Bytes::copy_from_slice(form.as_bytes()));
    send(house, asking("POST", "").body(body).unwrap()).await
}

#[tokio::test]
async fn docker_signs_in_by_get_and_goes_on_by_its_refresh_token() {
    let house = House::new().await;
    let query = "account=ann&client_id=docker&offline_token=true&service=strongroom\
                 &scope=repository%3Aacme%2Fmain%2Fx%3Apull%2Cpush&scope=repository:acme/main/y:pull";
    let given = get(&house, query, Some(&basic("ann", PASSWORD))).await;
    house.sign_in(&bearer(given.token())).await.unwrap();
    let scope = "repository:acme/main/x:pull,push repository:acme/main/y:pull";
    assert_eq!(given.body["scope"], scope);
    let refresh = given.body["refresh_token"].as_str().unwrap();
    let form = format!(
        "grant_type=refresh_token&service=strongroom&client_id=docker&refresh_token={refresh}\
         &scope=repository:acme/main/x:pull"
    );
    let again = post(&house, &form).await;
    house.sign_in(&bearer(again.token())).await.unwrap();
    assert_eq!(again.body["scope"], "repository:acme/main/x:pull");
    assert_eq!(again.body["refresh_token"], refresh);
    // Whoever does not ask for one gets none.
    let brief = get(&house, "", Some(&basic("ann", PASSWORD))).await;
    brief.token();
    assert!(brief.body.get("refresh_token").is_none());
}

#[tokio::test]
async fn oauth_clients_sign_in_by_post() {
    let house = House::new().await;
    let password = "correct+horse";
    for (more, refresh) in [("&access_type=offline", true), ("&access_type=online", false)] {
        let form = format!("grant_type=password&username=ann&password={password}{more}");
        let given = post(&house, &form).await;
        house.sign_in(&bearer(given.token())).await.unwrap();
        assert_eq!(given.body.get("refresh_token").is_some(), refresh, "{more}");
    }
    let (_, token) = house.token("robot:ci", Reach::Everything, None).await;
    let given = post(&house, &format!("grant_type=password&username=ci&password={token}")).await;
    let caller = house.sign_in(&bearer(given.token())).await.unwrap();
    assert_eq!(caller.principal.as_str(), "robot:ci");
}

#[tokio::test]
async fn whoever_does_not_sign_in_gets_a_token_of_nobody() {
    let house = House::new().await;
    let given = get(&house, "scope=repository:acme/open/x:pull&offline_token=true", None).await;
    let caller = house.sign_in(&bearer(given.token())).await.unwrap();
    assert_eq!(caller.principal.as_str(), "anonymous");
    assert!(given.body.get("refresh_token").is_none());
}

#[tokio::test]
async fn a_secret_in_the_query_signs_nobody_in() {
    let house = House::new().await;
    let query = format!("account=ann&username=ann&password={PASSWORD}").replace(' ', "+");
    let given = get(&house, &query, None).await;
    let caller = house.sign_in(&bearer(given.token())).await.unwrap();
    assert_eq!(caller.principal.as_str(), "anonymous");
}

#[tokio::test]
async fn wrong_and_unreadable_credentials_are_401_alike() {
    let house = House::new().await;
    let long = "u".repeat(strongroom_http::auth::MAX_USER + 1);
    let answers = [
        get(&house, "", Some(&basic("ann", "wrong horse"))).await,
        get(&house, "", Some(&basic("nobody", PASSWORD))).await,
        get(&house, "", Some("Basic !!!")).await,
        get(&house, "", Some("Digest x")).await,
        post(&house, "grant_type=password&username=ann&password=wrong").await,
        post(&house, "grant_type=password&username=a%0Anb&password=wrong").await,
        post(&house, &format!("grant_type=password&username={long}&password=x")).await,
        post(&house, "grant_type=refresh_token&refresh_token=nonsense").await,
    ];
    for answer in answers {
        assert_eq!(answer.refusal(), (401, "invalid_grant", "UNAUTHORIZED"));
        assert_eq!(answer.body["error_description"], "the credentials are not valid");
        assert!(answer.headers["www-authenticate"].to_str().unwrap().starts_with("Basic "));
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_told_why() {
    let house = House::new().await;
    let large = format!("grant_type=password&username={}", "x".repeat(MAX_FORM));
    for (answer, expected) in [
        (get(&house, "scope=nonsense", None).await, (400, "invalid_scope", "UNSUPPORTED")),
        (post(&house, "").await, (400, "invalid_request", "UNSUPPORTED")),
        (
            post(&house, "grant_type=password&username=ann").await,
            (400, "invalid_request", "UNSUPPORTED"),
        ),
        (
            post(&house, "grant_type=client_credentials").await,
            (400, "unsupported_grant_type", "UNSUPPORTED"),
        ),
        (post(&house, &large).await, (413, "invalid_request", "SIZE_INVALID")),
    ] {
        assert_eq!(answer.refusal(), expected);
    }
    let put = asking("PUT", "").body(RequestBody::from(bytes::Bytes::new())).unwrap();
    let put = send(&house, put).await;
    assert_eq!(put.refusal(), (405, "invalid_request", "UNSUPPORTED"));
    assert_eq!(put.headers["allow"], "GET, POST");
}

#[tokio::test]
async fn who_guesses_is_429_and_told_when_to_come_again() {
    let house = House::new().await;
    let guess = basic("ann", "wrong horse");
    let mut last = get(&house, "", Some(&guess)).await;
    for _ in 0..20 {
        last = get(&house, "", Some(&guess)).await;
    }
    assert_eq!(last.refusal(), (429, "slow_down", "TOOMANYREQUESTS"));
    let wait: u64 = last.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=11).contains(&wait), "{wait}");
}

#[test]
fn what_is_away_is_503_and_its_reason_stays_here() {
    let response = not_vouched(&IdentityError::Unavailable("/secret/path".to_owned()));
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[RETRY_AFTER], "1");
    assert!(!format!("{:?}", response.body()).contains("secret"));
}
