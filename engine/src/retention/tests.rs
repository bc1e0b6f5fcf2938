//! Rules in a world: what goes, what stays, and what changes under the rules' hands.

use std::sync::Arc;
use std::time::Duration;

use super::{RetentionRule, TagRule, UntaggedRule};
use crate::Error;
use crate::access::Action;
use crate::digest::Digest;
use crate::gc::{CollectOptions, FsckOptions};
use crate::records::RegistryRecord;
use crate::retention::RetentionReport;
use crate::tests::support::{World, image};

const DAY: Duration = Duration::from_hours(24);

fn pushed_within(days: u32) -> TagRule {
    TagRule { keep_pushed_days: Some(days), ..TagRule::default() }
}

fn untagged(keep_days: u32) -> RetentionRule {
    RetentionRule::Untagged(UntaggedRule { repositories: None, keep_days })
}

async fn rules(world: &World, immutable: &[&str], rules: Vec<RetentionRule>) {
    let immutable_tags = immutable.iter().map(|text| text.parse().unwrap()).collect();
    let set = |record: &mut RegistryRecord| {
        record.immutable_tags = immutable_tags;
        record.retention = rules;
    };
    world.set_registry(set).await;
}

async fn apply(world: &World) -> RetentionReport {
    let (acme, main) = ("acme".parse().unwrap(), "main".parse().unwrap());
    world.engine.apply_retention(&world.caller, &acme, &main, None, None).await.unwrap()
}

async fn plan(world: &World) -> Vec<(String, Option<String>, bool)> {
    let (acme, main) = ("acme".parse().unwrap(), "main".parse().unwrap());
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = world
            .engine
            .plan_retention(&world.caller, &acme, &main, None, after.as_deref(), 3)
            .await
            .unwrap();
        for item in page.items {
            let tag = item.tag.map(|tag| tag.to_string());
            all.push((item.repository.to_string(), tag, item.manifest_too));
        }
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

async fn tags(world: &World, name: &str) -> Vec<String> {
    let repository = world.open(name, Action::List).await.unwrap();
    let page = repository.tags(None, 1000).await.unwrap();
    page.items.iter().map(ToString::to_string).collect()
}

async fn has(world: &World, name: &str, digest: &Digest) -> bool {
    let repository = world.open(name, Action::List).await.unwrap();
    match repository.manifest_info(&digest.to_string().parse().unwrap()).await {
        Ok(_) => true,
        Err(Error::ManifestUnknown { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

async fn is_clean(world: &World) {
    let report = world.engine.fsck(&FsckOptions::default().deep(), &|_| {}).await.unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
}

/// An index of one image, with an annotation so that it is another one for each note.
async fn push_index(
    world: &World,
    name: &str,
    child: &Digest,
    size: usize,
    tags: &[&str],
) -> Digest {
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{child}","size":{size}}}]}}"#
    );
    let push = crate::ManifestPush {
        bytes: text.into(),
        content_type: Some("application/vnd.oci.image.index.v1+json".to_owned()),
        digest: None,
        tags: tags.iter().map(|tag| tag.parse().unwrap()).collect(),
    };
    let repository = world.open(name, Action::Push).await.unwrap();
    repository.push_manifest(&push).await.unwrap().digest
}

#[tokio::test]
async fn what_expires_goes_with_its_manifest_and_the_plan_said_so() {
    let world = World::new().await;
    let old = world.push_image("api", b"old", "v1").await;
    world.push_image("api", b"old", "also-v1").await;
    world.clock.advance(10 * DAY);
    let young = world.push_image("api", b"young", "v2").await;
    rules(&world, &[], vec![RetentionRule::Tags(pushed_within(7))]).await;
    let planned = plan(&world).await;
    let api = || "api".to_owned();
    let wanted = [(api(), Some("also-v1".to_owned()), true), (api(), Some("v1".to_owned()), true)];
    assert_eq!(planned, wanted);
    assert_eq!(tags(&world, "api").await, ["also-v1", "v1", "v2"], "a plan changes nothing");

    let report = apply(&world).await;

    assert_eq!((report.tags, report.manifests), (2, 1));
    assert_eq!(tags(&world, "api").await, ["v2"]);
    assert!(!has(&world, "api", &old).await && has(&world, "api", &young).await);
    assert_eq!(plan(&world).await, []);
    is_clean(&world).await;
}

#[tokio::test]
async fn a_pull_keeps_and_is_noted_once_an_hour() {
    let world = World::new().await;
    let digest = world.push_image("api", b"pulled", "v1").await;
    world.push_image("api", b"not pulled", "v2").await;
    let rule = TagRule { keep_pulled_days: Some(7), ..pushed_within(1) };
    rules(&world, &[], vec![RetentionRule::Tags(rule)]).await;
    world.clock.advance(10 * DAY);
    let pulled_at = async || {
        world.engine.flush().await.unwrap();
        let repository = world.open("api", Action::List).await.unwrap();
        repository.manifest_info(&digest.to_string().parse().unwrap()).await.unwrap().pulled_at
    };
    world.digest_of("api", "v1").await.unwrap();
    let first = pulled_at().await.expect("it was pulled");
    world.clock.advance(Duration::from_mins(59));
    world.digest_of("api", "v1").await.unwrap();
    assert_eq!(pulled_at().await, Some(first), "to the hour");
    world.clock.advance(Duration::from_mins(2));
    world.digest_of("api", "v1").await.unwrap();
    assert!(pulled_at().await > Some(first));

    apply(&world).await;

    assert_eq!(tags(&world, "api").await, ["v1"]);
    is_clean(&world).await;
}

#[tokio::test]
async fn what_an_index_names_stays_and_what_has_no_tag_goes_by_its_age() {
    let world = World::new().await;
    let config = world.push_blob("api", b"{}").await;
    let layer = world.push_blob("api", b"layer").await;
    let text = image(&config, 2, &layer, 5);
    let child = world.push_manifest("api", &text, &["child"]).await.unwrap();
    let index = push_index(&world, "api", &child, text.len(), &["index"]).await;
    let alone = world.push_image("api", b"other", "alone").await;
    let repository = world.open("api", Action::Delete).await.unwrap();
    repository.delete_tag(&"alone".parse().unwrap()).await.unwrap();
    world.clock.advance(10 * DAY);
    let rule = TagRule { tags: Some("child".parse().unwrap()), ..pushed_within(1) };
    rules(&world, &[], vec![RetentionRule::Tags(rule), untagged(7)]).await;
    let wanted =
        [("api".to_owned(), Some("child".to_owned()), false), ("api".to_owned(), None, true)];
    assert_eq!(plan(&world).await, wanted);

    let report = apply(&world).await;

    assert_eq!((report.tags, report.manifests), (1, 1));
    assert_eq!(tags(&world, "api").await, ["index"]);
    assert!(has(&world, "api", &child).await && has(&world, "api", &index).await);
    assert!(!has(&world, "api", &alone).await);
    is_clean(&world).await;
}

#[tokio::test]
async fn what_refers_to_it_goes_along_and_a_second_push_keeps_what_has_no_tag() {
    let world = World::new().await;
    let subject = world.push_image("api", b"subject", "v1").await;
    let config = world.push_blob("api", b"{}").await;
    let layer = world.push_blob("api", b"signature").await;
    let size = {
        let repository = world.open("api", Action::List).await.unwrap();
        repository.manifest_info(&subject.to_string().parse().unwrap()).await.unwrap().size
    };
    let plain = image(&config, 2, &layer, 9);
    let about = format!(
        r#","subject":{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{subject}","size":{size}}}}}"#
    );
    let signature = format!("{}{about}", plain.strip_suffix('}').unwrap());
    let signature = world.push_manifest("api", &signature, &[]).await.unwrap();
    let again = world.push_manifest("api", &plain, &[]).await.unwrap();
    world.clock.advance(10 * DAY);
    rules(&world, &[], vec![untagged(7)]).await;
    // The signature is about something that is here, and the other is about to be named again.
    world.push_manifest("api", &plain, &[]).await.unwrap();
    assert_eq!(apply(&world).await.manifests, 0);
    rules(&world, &[], vec![RetentionRule::Tags(pushed_within(7))]).await;

    let report = apply(&world).await;

    assert_eq!((report.tags, report.manifests), (1, 2));
    assert!(!has(&world, "api", &signature).await && has(&world, "api", &again).await);
    is_clean(&world).await;
}

#[tokio::test]
async fn a_budget_ends_a_run_which_the_next_goes_on_with() {
    let world = World::new().await;
    for repository in ["a", "b", "c"] {
        for number in 0..100_u32 {
            let tag = format!("t{number:03}");
            world.push_image(repository, &number.to_be_bytes(), &tag).await;
        }
    }
    world.clock.advance(10 * DAY);
    let rule = TagRule { keep_last: Some(1), ..TagRule::default() };
    rules(&world, &[], vec![RetentionRule::Tags(rule)]).await;
    let (acme, main) = ("acme".parse().unwrap(), "main".parse().unwrap());
    let (mut after, mut runs, mut tags_gone) = (None, 0, 0);
    loop {
        let run = world
            .engine
            .apply_retention(&world.caller, &acme, &main, after.as_deref(), Some(50))
            .await
            .unwrap();
        assert!(run.looked_at < 50 + 2 * super::look::AT_ONCE as u64);
        tags_gone += run.tags;
        runs += 1;
        after = run.next;
        if after.is_none() {
            break;
        }
    }
    assert!(runs >= 3, "{runs}");
    assert_eq!(tags_gone, 297);
    for repository in ["a", "b", "c"] {
        assert_eq!(tags(&world, repository).await, ["t099"]);
    }
    is_clean(&world).await;
}

/// A tag that moves while the rules are at it stays where it was moved to, and so does what it pointed
/// at: here between condemning that and removing it.
#[tokio::test]
async fn a_tag_that_moves_meanwhile_stays() {
    let world = Arc::new(World::new().await);
    let old = world.push_image("api", b"old", "v1").await;
    let new = world.push_image("api", b"new", "other").await;
    world.clock.advance(10 * DAY);
    let rule = TagRule { tags: Some("v1".parse().unwrap()), ..pushed_within(1) };
    rules(&world, &[], vec![RetentionRule::Tags(rule)]).await;
    world.gate.arm_commit();
    let running = tokio::spawn({
        let world = Arc::clone(&world);
        async move { apply(&world).await }
    });
    world.gate.reached().await;
    assert_eq!(world.push_image("api", b"new", "v1").await, new);
    world.gate.open();
    let report = running.await.unwrap();
    assert_eq!((report.tags, report.manifests, report.changed), (0, 0, 1));
    assert_eq!(world.digest_of("api", "v1").await.unwrap(), new);
    assert!(has(&world, "api", &old).await);
    is_clean(&world).await;
}

/// A pull that is noted between the look and the removal keeps what was pulled.
#[tokio::test]
async fn what_is_pulled_meanwhile_stays() {
    let world = Arc::new(World::new().await);
    let old = world.push_image("api", b"old", "v1").await;
    world.clock.advance(10 * DAY);
    let rule = TagRule { keep_pulled_days: Some(1), ..TagRule::default() };
    rules(&world, &[], vec![RetentionRule::Tags(rule)]).await;
    world.gate.arm_commit();
    let running = tokio::spawn({
        let world = Arc::clone(&world);
        async move { apply(&world).await }
    });
    world.gate.reached().await;
    world.digest_of("api", "v1").await.unwrap();
    world.engine.flush().await.unwrap();
    world.gate.open();
    assert_eq!(running.await.unwrap().manifests, 0);
    assert_eq!(world.digest_of("api", "v1").await.unwrap(), old);
    is_clean(&world).await;
}

/// Rules, collections, pushes and a quota at once: the counter is right (I5), and what is protected
/// stays.
#[tokio::test]
async fn threat_38_rules_with_collection_and_quota_keep_what_is_protected() {
    let world = Arc::new(World::new().await);
    world.set_quota(64 << 10).await;
    let kept = world.push_image("api", b"release", "release-1").await;
    let rule = TagRule { keep_last: Some(2), ..TagRule::default() };
    let all = vec![RetentionRule::Tags(rule), untagged(1)];
    rules(&world, &["release-*"], all).await;
    let pushing = tokio::spawn({
        let world = Arc::clone(&world);
        async move {
            let mut refused = 0_u32;
            for round in 0..60_u32 {
                let repository = world.open("api", Action::Push).await.unwrap();
                let bytes = vec![u8::try_from(round).unwrap(); 4096];
                let digest = Digest::of(crate::digest::Algorithm::Sha256, &bytes);
                let body = crate::tests::support::body(&bytes);
                match repository.push_blob(&digest, None, body).await {
                    Ok(_) => {}
                    Err(Error::QuotaExceeded { .. }) => {
                        refused += 1;
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        continue;
                    }
                    Err(error) => panic!("{error}"),
                }
                let config = world.push_blob("api", b"{}").await;
                let text = image(&config, 2, &digest, bytes.len());
                let tag = format!("build-{round}");
                match world.push_manifest("api", &text, &[&tag]).await {
                    Ok(_) | Err(Error::QuotaExceeded { .. } | Error::References { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
                world.clock.advance(Duration::from_hours(12));
            }
            refused
        }
    });
    while !pushing.is_finished() {
        apply(&world).await;
        world.engine.collect(&CollectOptions::everything(), &|_| {}).await.unwrap();
        tokio::task::yield_now().await;
    }
    pushing.await.unwrap();
    world.clock.advance(3 * DAY);
    apply(&world).await;
    for _ in 0..3 {
        world.engine.collect(&CollectOptions::everything(), &|_| {}).await.unwrap();
        world.clock.advance(Duration::from_hours(2));
    }
    assert_eq!(world.digest_of("api", "release-1").await.unwrap(), kept);
    assert_eq!(tags(&world, "api").await.len(), 3);
    is_clean(&world).await;
}

#[tokio::test]
async fn the_collection_applies_the_rules_and_the_trail_says_who() {
    let world = World::new().await;
    world.push_image("api", b"old", "v1").await;
    world.push_image("api", b"old", "keep").await;
    world.clock.advance(10 * DAY);
    let rule = TagRule { tags: Some("v*".parse().unwrap()), ..pushed_within(1) };
    rules(&world, &[], vec![RetentionRule::Tags(rule)]).await;
    let mut events = world.engine.subscribe();

    let dry = world.engine.collect(&CollectOptions::everything().dry_run(), &|_| {}).await.unwrap();
    assert_eq!(dry.expired_tags, 0);
    let report = world.engine.collect(&CollectOptions::everything(), &|_| {}).await.unwrap();

    assert_eq!((report.expired_tags, report.expired_manifests), (1, 0));
    let event = events.try_recv().unwrap();
    assert_eq!((event.kind.name(), event.principal.as_str()), ("tag_deleted", "system"));
    assert_eq!(tags(&world, "api").await, ["keep"]);
}

#[tokio::test]
async fn rules_that_say_nothing_or_too_much_are_refused() {
    let world = World::new().await;
    let (acme, main) = ("acme".parse().unwrap(), "main".parse().unwrap());
    let keep_last = Some(super::MAX_KEEP_LAST + 1);
    let bad = [
        vec![RetentionRule::Tags(TagRule::default())],
        vec![RetentionRule::Tags(TagRule { keep_last, ..TagRule::default() })],
        vec![RetentionRule::Tags(pushed_within(0))],
        vec![untagged(0)],
        vec![untagged(1); super::MAX_RULES + 1],
    ];
    for rules in bad {
        let planned =
            world.engine.plan_retention(&world.caller, &acme, &main, Some(&rules), None, 10).await;
        let error = planned.unwrap_err();
        assert!(matches!(&error, Error::Invalid(why) if why.contains("retention")), "{error}");
    }
}
