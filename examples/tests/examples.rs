//! The examples do what they say.
#![allow(
    dead_code,
    clippy::unwrap_used,
    missing_docs,
    reason = "each example's main is replaced by a test's folder"
)]

#[path = "../authorizer.rs"]
mod authorizer;
#[path = "../embed.rs"]
mod embed;
#[path = "../events.rs"]
mod events;
#[path = "../graph.rs"]
mod graph;
#[path = "../resume.rs"]
mod resume;

macro_rules! runs {
    ($($test:ident = $example:ident),+ $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            let folder = tempfile::tempdir().unwrap();
            $example::run(folder.path()).await.unwrap();
        }
    )+};
}

runs! {
    a_file_goes_in_and_comes_out = embed,
    an_upload_goes_on_after_its_process = resume,
    what_is_named_stays = graph,
    the_trail_has_what_was_heard = events,
    the_house_rule_holds = authorizer,
}
