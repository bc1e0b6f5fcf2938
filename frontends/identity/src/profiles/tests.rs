//! One profile, one organisation: under races, kills and strangers.

use strongroom_engine::access::Role;

use super::*;
use crate::embedded::house::{House, operator};

fn jo() -> NewUser {
    NewUser {
        sub: "11111111-2222-3333-4444-555555555555".to_owned(),
        username: "Jo".to_owned(),
        email: Some("jo@acme.example".to_owned()),
        email_verified: true,
    }
}

async fn organisations(house: &House, user: &NewUser) -> Vec<String> {
    let principal = principal(&user.sub).unwrap();
    let page = house.engine.organisations_of(&operator(), &principal, None, 100).await.unwrap();
    page.items.iter().map(|organisation| organisation.name.to_string()).collect()
}

async fn lines(house: &House) -> usize {
    let query = TrailQuery { kinds: vec!["identity".to_owned()], ..TrailQuery::default() };
    house.engine.trail(&operator(), None, &query, None, 1000).await.unwrap().items.len()
}

#[tokio::test]
async fn many_calls_at_once_and_after_make_one_profile_and_one_organisation() {
    let house = House::new().await;
    let user = jo();
    let calls = (0..20).map(|_| ensure(&house.engine, &user, First::default()));
    let made = futures::future::join_all(calls).await;
    let first = made[0].as_ref().unwrap();
    for profile in &made {
        assert_eq!(profile.as_ref().unwrap(), first);
    }
    assert_eq!(first.organisation.as_str(), "jo");
    assert_eq!(first.principal.as_str(), format!("cognito:{}", user.sub));
    assert_eq!(organisations(&house, &user).await, ["jo"]);
    let before = lines(&house).await;
    assert_eq!(ensure(&house.engine, &user, First::default()).await.unwrap(), *first);
    assert_eq!(lines(&house).await, before, "what is made already leaves no line");
    let members =
        house.engine.members(&founder(&first.principal), &first.organisation, None, 10).await;
    let members = members.unwrap().items;
    assert_eq!(members.len(), 1);
    assert_eq!((&members[0].principal, members[0].role), (&first.principal, Some(Role::Admin)));
}

#[tokio::test]
async fn a_call_that_was_killed_is_finished_by_the_next() {
    let house = House::new().await;
    let user = jo();
    let records = house.engine.extension(NAMESPACE);
    let by = founder(&principal(&user.sub).unwrap());
    let name = names::candidate(&user, 0).unwrap();
    let pending = ProfileRecord::pending(&user, &name, Timestamp(1));
    let batch = Batch::new().absent(records::user(&user.sub));
    commit(&records, batch, &by, &user, &pending, Timestamp(1), "profile made").await.unwrap();
    // Killed here: it is not whole, and the next call goes on.
    assert_eq!(profile(&house.engine, &user.sub).await.unwrap(), None);
    // Killed after the organisation was made: it is found to be theirs.
    house.engine.create_organisation(&by, &name, None, Some(&by_id(&by))).await.unwrap();
    let made = ensure(&house.engine, &user, First::default()).await.unwrap();
    assert_eq!(made.organisation, name);
    assert_eq!(organisations(&house, &user).await, ["jo"]);
}

fn by_id(by: &Caller) -> PrincipalId {
    PrincipalId::new(by.principal.as_str()).unwrap()
}

#[tokio::test]
async fn an_organisation_that_others_made_is_not_taken_for_theirs() {
    let house = House::new().await;
    let user = jo();
    let principal = principal(&user.sub).unwrap();
    let name: OrganisationName = "jo".parse().unwrap();
    // A stranger has the name, and has made them its admin beforehand.
    house.engine.create_organisation(&operator(), &name, None, Some(&principal)).await.unwrap();
    let made = ensure(&house.engine, &user, First::default()).await.unwrap();
    assert_eq!(made.organisation.as_str(), "jo-2");
    let mut all = organisations(&house, &user).await;
    all.sort();
    assert_eq!(all, ["jo", "jo-2"]);
}

#[tokio::test]
async fn two_people_of_one_name_have_an_organisation_each() {
    let house = House::new().await;
    let other = NewUser { sub: "other".to_owned(), ..jo() };
    let (a, b) = (jo(), other);
    let (a, b) = tokio::join!(
        ensure(&house.engine, &a, First::default()),
        ensure(&house.engine, &b, First::default())
    );
    let mut names = [a.unwrap().organisation.to_string(), b.unwrap().organisation.to_string()];
    names.sort();
    assert_eq!(names, ["jo", "jo-2"]);
    assert_eq!(find(&house.engine, "jO").await.unwrap().len(), 2);
}

#[tokio::test]
async fn people_are_found_by_name_and_by_an_address_that_was_verified() {
    let house = House::new().await;
    let unverified = NewUser { email_verified: false, ..jo() };
    ensure(&house.engine, &unverified, First::default()).await.unwrap();
    assert_eq!(find(&house.engine, "jo@acme.example").await.unwrap(), []);
    assert_eq!(find(&house.engine, "JO").await.unwrap().len(), 1);
    let verified = ensure(&house.engine, &jo(), First::default()).await.unwrap();
    let found = find(&house.engine, "Jo@acme.example").await.unwrap();
    assert_eq!(found, std::slice::from_ref(&verified));
    // An access token tells no address: none is lost.
    let silent = NewUser { email: None, email_verified: false, ..jo() };
    assert_eq!(ensure(&house.engine, &silent, First::default()).await.unwrap(), verified);
    let moved = NewUser { email: Some("jo@new.example".to_owned()), ..jo() };
    ensure(&house.engine, &moved, First::default()).await.unwrap();
    assert_eq!(find(&house.engine, "jo@acme.example").await.unwrap(), []);
    assert_eq!(find(&house.engine, "jo@new.example").await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_can_be_no_person_is_refused() {
    let house = House::new().await;
    for sub in ["", "a/b", "A B", &"a".repeat(65)] {
        let user = NewUser { sub: sub.to_owned(), ..jo() };
        let refused = ensure(&house.engine, &user, First::default()).await;
        assert!(matches!(refused, Err(ProfilesError::Sub(_))), "{sub}: {refused:?}");
    }
    for username in ["", "a\nb", &"a".repeat(MAX_TEXT + 1)] {
        let user = NewUser { username: username.to_owned(), ..jo() };
        let refused = ensure(&house.engine, &user, First::default()).await;
        assert!(matches!(refused, Err(ProfilesError::Text { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn a_first_organisation_has_the_bound_that_is_set_when_it_is_made() {
    let house = House::new().await;
    let (bound, later) = (First { quota_bytes: Some(1_000) }, First { quota_bytes: Some(7) });
    let made = ensure(&house.engine, &jo(), bound).await.unwrap();
    ensure(&house.engine, &jo(), later).await.unwrap();
    let by = founder(&made.principal);
    let usage = house.engine.usage(&by, &made.organisation).await.unwrap();
    assert_eq!(usage.quota_bytes, Some(1_000));
}
