//! Manifests and tags as the listings for people tell of them.

use super::support::{World, image};
use crate::access::Action;
use crate::manifest::ManifestKind;

#[tokio::test]
async fn manifests_and_tags_are_told_page_by_page() {
    let world = World::new().await;
    let first = world.push_image("api", b"first", "v1").await;
    world.push_image("api", b"first", "latest").await;
    let second = world.push_image("api", b"second", "v2").await;
    let config = world.push_blob("api", b"{}").await;
    let layer = world.push_blob("api", b"large").await;
    let mut text = image(&config, 2, &layer, 5);
    text.push_str(&" ".repeat(4096));
    let large = world.push_manifest("api", &text, &[]).await.unwrap();
    world.set_registry(|record| record.immutable_tags = vec!["v1".parse().unwrap()]).await;
    let repository = world.open("api", Action::List).await.unwrap();

    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = repository.manifests(after.as_deref(), 2).await.unwrap();
        assert!(page.items.len() <= 2);
        all.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let facts: Vec<_> =
        all.iter().map(|one| (one.digest, one.content_bytes, one.tags.len(), one.kind)).collect();
    let kind = ManifestKind::OciImage;
    let wanted = [(first, Some(7), 2, kind), (second, Some(8), 1, kind), (large, None, 0, kind)];
    assert_eq!(facts, wanted);
    let tags: Vec<_> = all[0].tags.iter().map(ToString::to_string).collect();
    assert_eq!(tags, ["latest", "v1"]);
    assert!(repository.manifests(Some("no cursor"), 2).await.is_err());

    let page = repository.tag_infos(None, 2).await.unwrap();
    let told = |tags: &[crate::TagInfo]| {
        tags.iter().map(|t| (t.tag.to_string(), t.digest, t.immutable)).collect::<Vec<_>>()
    };
    let wanted = [("latest".to_owned(), first, false), ("v1".to_owned(), first, true)];
    assert_eq!(told(&page.items), wanted);
    assert_eq!(page.next.as_deref(), Some("v1"));
    let page = repository.tag_infos(page.next.as_deref(), 2).await.unwrap();
    assert_eq!(told(&page.items), [("v2".to_owned(), second, false)]);
    assert_eq!(page.next, None);
}
