use std::net::Ipv4Addr;
use std::sync::Arc;

use http::HeaderValue;
use http::header::AUTHORIZATION;
use strongroom_http::testing;

use super::*;
use crate::embedded::house::{House, PASSWORD};

fn context() -> Arc<RequestContext> {
    testing::context((Ipv4Addr::LOCALHOST, 7), None)
}

fn showing(header: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_str(header).unwrap());
    headers.insert(USER_AGENT, HeaderValue::from_str(&"x".repeat(1_000)).unwrap());
    headers
}

fn basic(password: &str) -> String {
    use base64::Engine as _;
    let pair = format!("ann:{password}");
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

#[tokio::test]
async fn whoever_is_vouched_for_is_known_to_the_context_and_where_they_are() {
    let house = House::new().await;
    let context = context();
    let admitted = admit(&house.identity, &showing(&basic(PASSWORD)), &context).await.unwrap();
    assert!(admitted.shown && !admitted.is_anonymous());
    assert_eq!(context.principal(), Some("user:ann"));
    let origin = &admitted.vouched.caller.origin;
    assert_eq!(origin.address, Some(Ipv4Addr::LOCALHOST.into()));
    assert_eq!(origin.request_id.as_deref(), Some(context.id().as_str()));
    assert_eq!(origin.user_agent.as_ref().map(String::len), Some(MAX_USER_AGENT));
}

#[tokio::test]
async fn only_who_shows_nothing_is_nobody() {
    let house = House::new().await;
    let nobody = admit(&house.identity, &HeaderMap::new(), &context()).await.unwrap();
    assert!(nobody.is_anonymous() && !nobody.shown);
    for header in ["Basic !", "Digest x", "Bearer", &basic("wrong horse")] {
        let refused = admit(&house.identity, &showing(header), &context()).await;
        let wrong = Err(GateError::Identity(IdentityError::Wrong));
        let unread = matches!(refused, Err(GateError::Credentials(_)));
        assert!(unread || refused == wrong, "{header}: {refused:?}");
    }
}
