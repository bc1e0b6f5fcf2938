//! A plain client of the same service: no digest, no record, four parts at once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use strongroom_s3_testing::Server;

/// As large as the engine's.
const PART: usize = 16 << 20;

pub(super) struct Bare {
    client: Client,
    bucket: &'static str,
}

impl Bare {
    pub(super) fn of(server: &Server) -> Self {
        Self { client: server.client(), bucket: server.bucket() }
    }

    /// Uploads in parts, four at once; returns how long it took the service to make the object of them.
    pub(super) async fn upload(&self, key: &str, bytes: &Bytes) -> Result<Duration> {
        let begun = self.client.create_multipart_upload().bucket(self.bucket).key(key);
        let id = begun.send().await?.upload_id().context("an upload has an id")?.to_owned();
        let id = &id;
        let parts = (1_i32..).zip((0..bytes.len()).step_by(PART)).map(|(number, at)| async move {
            let body = bytes.slice(at..bytes.len().min(at + PART));
            let sent = self.client.upload_part().bucket(self.bucket).key(key).upload_id(id);
            let sent = sent.part_number(number).body(ByteStream::from(body)).send().await?;
            let part = CompletedPart::builder().part_number(number);
            anyhow::Ok(part.set_e_tag(sent.e_tag().map(str::to_owned)).build())
        });
        let parts: Vec<_> = futures::stream::iter(parts).buffered(4).try_collect().await?;
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let done = self.client.complete_multipart_upload().bucket(self.bucket).key(key);
        let last = Instant::now();
        done.upload_id(id).multipart_upload(parts).send().await?;
        Ok(last.elapsed())
    }

    /// Reads an object; returns how many bytes came.
    pub(super) async fn download(&self, key: &str) -> Result<usize> {
        let mut got = self.client.get_object().bucket(self.bucket).key(key).send().await?.body;
        let mut length = 0;
        while let Some(bytes) = got.try_next().await? {
            length += bytes.len();
        }
        Ok(length)
    }

    /// Puts a small object.
    pub(super) async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        let put = self.client.put_object().bucket(self.bucket).key(key);
        put.body(ByteStream::from(bytes)).send().await?;
        Ok(())
    }

    /// Takes an object away, so that the disk does not fill.
    pub(super) async fn delete(&self, key: &str) -> Result<()> {
        self.client.delete_object().bucket(self.bucket).key(key).send().await?;
        Ok(())
    }
}
