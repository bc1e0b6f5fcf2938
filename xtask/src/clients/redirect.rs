//! A pull that is sent on to the bucket: by an address that needs no credentials, answers ranges, and
//! says what it serves.

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use ureq::SendBody;

use super::Scene;
use crate::http::{Client, expect, header};
use crate::registry::HOME;

/// See the head of this file.
pub fn check(scene: &mut Scene) -> Result<()> {
    let client = scene.registry.client();
    let content: Vec<u8> = (0..=255_u8).cycle().take(200_000).collect();
    let digest = format!("sha256:{}", const_hex::encode(Sha256::digest(&content)));
    let repository = format!("/v2/{HOME}/redirected");
    let length = content.len().to_string();
    let headers =
        [("content-type", "application/octet-stream"), ("content-length", length.as_str())];
    let push = format!("{repository}/blobs/uploads/?digest={digest}");
    let pushed = client.send("POST", &push, &headers, SendBody::from_reader(&mut &content[..]))?;
    expect(pushed, 201)?;

    let address = format!("{repository}/blobs/{digest}");
    let sent_on = expect(client.without_redirects().get(&address)?, 307)?;
    ensure!(header(&sent_on, "docker-content-digest")? == digest, "it tells another digest");
    let location = header(&sent_on, "location")?.to_owned();
    ensure!(!location.contains(&scene.registry.address()), "it leads back here: {location}");

    let anybody = Client::anonymous(&scene.registry.address());
    let range = [("range", "bytes=100-299")];
    let mut part = expect(anybody.send("GET", &location, &range, SendBody::none())?, 206)?;
    ensure!(header(&part, "content-type")? == "application/octet-stream", "another type");
    let part = part.body_mut().read_to_vec()?;
    ensure!(content.get(100..300) == Some(&part[..]), "other bytes came");
    let mut whole = expect(anybody.get(&location)?, 200)?;
    ensure!(whole.body_mut().read_to_vec()? == content, "other bytes came");

    // What signs the address is in it: another object's is refused.
    let other = location.replacen(&digest[7..15], "00000000", 1);
    ensure!(other != location, "the address does not name the object: {location}");
    let refused = anybody.get(&other).context("asking for another object")?;
    ensure!(refused.status() == 403, "the address opens other objects: {}", refused.status());
    Ok(())
}
