//! A database that takes no commit for a while, while more come than there are connections: each waits only
//! so long and is told when to come again; and once it moves, everything goes on, with all that was
//! acknowledged before and in the middle of it.

use std::sync::Mutex;
use std::thread::scope;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ureq::SendBody;

use super::Scene;
use super::nodes::{BYTES, digest, push, read_back};
use crate::http::{Client, expect};
use crate::registry::{HOME, PASSWORD, USER};

/// More than both nodes have connections to the database.
const CLIENTS: usize = 60;
/// How long the table is held: longer than a commit is tried here, of three statements of two seconds.
const HELD: Duration = Duration::from_secs(12);
const TABLE: &str = "strongroom_rows";

/// See the head of this file.
pub fn check(scene: &mut Scene) -> Result<()> {
    let address = scene.registry.address();
    let layer = b"what was there before the crowd".repeat(1000);
    let before = push(&scene.registry.client(), "before", &layer)?.context("nobody is away yet")?;

    let held = scene.registry.database()?.hold(TABLE, HELD)?;
    let answers = Mutex::new(Vec::new());
    scope(|scope| {
        for number in 0..CLIENTS {
            let (address, answers) = (&address, &answers);
            scope.spawn(move || {
                let answer = send(address, number);
                answers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(answer);
            });
        }
    });
    held.end()?;
    let answers = answers.into_inner().unwrap_or_default();
    let answers = answers.into_iter().collect::<Result<Vec<_>>>()?;
    let refused = answers.iter().filter(|(_, answer)| answer.status == 503).count();
    println!("{refused} of {CLIENTS} were asked to come again");
    ensure!(refused > 0, "all were served while the database stood still");

    let client = scene.registry.client();
    for (blob, answer) in &answers {
        let said = &answer.body;
        let fair = answer.status == 201 || answer.status == 503 && answer.says_when;
        ensure!(fair, "an answer that nobody can act on: {}, {said}", answer.status);
        if answer.status == 201 {
            let path = format!("/v2/{HOME}/nodes/blobs/{}", digest(blob));
            let read = expect(client.get(&path)?, 200)?.body_mut().read_to_vec()?;
            ensure!(read == *blob, "acknowledged, and other bytes are there");
        }
    }
    read_back(&client, "before", &before, &layer).context("what was acknowledged before")?;
    let after = push(&client, "after", &layer)?.context("it moves again, and refuses")?;
    read_back(&client, "after", &after, &layer)
}

/// What one of the crowd heard.
struct Answer {
    status: u16,
    says_when: bool,
    body: String,
}

/// Sends a blob that nobody sent before.
fn send(address: &str, number: usize) -> Result<(Vec<u8>, Answer)> {
    let client = Client::new(address, USER, PASSWORD);
    let blob = format!("what {number} of the crowd has").into_bytes();
    let path = format!("/v2/{HOME}/nodes/blobs/uploads/?digest={}", digest(&blob));
    let length = blob.len().to_string();
    let headers = [("content-type", BYTES), ("content-length", length.as_str())];
    let mut answer =
        client.send("POST", &path, &headers, SendBody::from_reader(&mut blob.as_slice()))?;
    let answer = Answer {
        status: answer.status().as_u16(),
        says_when: answer.headers().contains_key("retry-after"),
        body: answer.body_mut().read_to_string()?,
    };
    Ok((blob, answer))
}
