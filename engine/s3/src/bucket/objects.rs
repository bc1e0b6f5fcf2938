//! Requests on objects.

use std::ops::Range;
use std::time::Duration;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::types::ChecksumMode;

use super::{Bucket, signed, unsigned};
use crate::error::{Kind, Refusal};
use crate::piece::Piece;
use crate::state::crc_text;

/// What S3 says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) size: u64,
    pub(crate) etag: String,
    /// The checksum of all its bytes, where S3 keeps one.
    crc: Option<String>,
}

impl Head {
    /// Whether it is an object of that size and checksum; a checksum that S3 does not have where it
    /// should is not that one.
    pub(crate) fn is(&self, bucket: &Bucket, size: u64, crc: u64) -> bool {
        let same = !bucket.has_checksums() || self.crc.as_deref() == Some(&crc_text(crc));
        self.size == size && same
    }

    /// The same where S3 may keep no checksum: one that it keeps must be right.
    pub(crate) fn may_be(&self, size: u64, crc: u64) -> bool {
        self.size == size && self.crc.as_ref().is_none_or(|kept| *kept == crc_text(crc))
    }

    /// The same of two objects that S3 has.
    pub(crate) fn is_copy_of(&self, other: &Self) -> bool {
        let (one, two) = (self.crc.as_ref(), other.crc.as_ref());
        self.size == other.size && one.zip(two).is_none_or(|(one, two)| one == two)
    }
}

impl Bucket {
    pub(crate) async fn head(&self, object: &str) -> Result<Option<Head>, Refusal> {
        let _turn = self.turn().await?;
        let request = self.client.head_object().bucket(&self.name).key(self.path(object));
        let mode = self.has_checksums().then_some(ChecksumMode::Enabled);
        let asked = request.set_checksum_mode(mode).customize().config_override(self.time_for(0));
        match asked.send().await.map_err(self.refused("HeadObject")) {
            Ok(head) => Ok(Some(Head {
                size: unsigned(head.content_length()),
                etag: head.e_tag().unwrap_or_default().to_owned(),
                crc: head.checksum_crc64_nvme().map(str::to_owned),
            })),
            Err(refusal) if refusal.kind == Kind::Missing => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// Puts a piece as an object where none is, or in any case.
    pub(crate) async fn put(
        &self,
        object: &str,
        piece: &Piece,
        only_new: bool,
    ) -> Result<(), Refusal> {
        let _turn = self.turn().await?;
        let request = self
            .client
            .put_object()
            .bucket(&self.name)
            .key(self.path(object))
            .content_length(signed(piece.length()))
            .set_checksum_crc64_nvme(self.checksum(piece.crc()))
            .set_server_side_encryption(self.encryption.clone())
            .set_ssekms_key_id(self.kms_key.clone())
            .set_storage_class(self.storage_class.clone())
            .set_if_none_match(only_new.then(|| "*".to_owned()))
            .body(piece.body());
        let sent = request.customize().config_override(self.time_for(piece.length())).send().await;
        sent.map(drop).map_err(self.refused("PutObject"))
    }

    /// Reads a range, of the object with that entity tag where one is given.
    pub(crate) async fn get(
        &self,
        object: &str,
        range: &Range<u64>,
        etag: Option<&str>,
    ) -> Result<GetObjectOutput, Refusal> {
        let _turn = self.turn().await?;
        let last = range.end.saturating_sub(1);
        let request = self
            .client
            .get_object()
            .bucket(&self.name)
            .key(self.path(object))
            .range(format!("bytes={}-{last}", range.start))
            .set_if_match(etag.map(str::to_owned));
        let sent = request.customize().config_override(self.time_for(0)).send().await;
        sent.map_err(self.refused("GetObject"))
    }

    pub(crate) async fn delete(&self, object: &str) -> Result<(), Refusal> {
        let _turn = self.turn().await?;
        let request = self.client.delete_object().bucket(&self.name).key(self.path(object));
        match request.customize().config_override(self.time_for(0)).send().await {
            Ok(_) => Ok(()),
            Err(error) => match self.refused("DeleteObject")(error) {
                refusal if refusal.kind == Kind::Missing => Ok(()),
                refusal => Err(refusal),
            },
        }
    }

    /// Copies an object of `size` in one go.
    pub(crate) async fn copy(&self, from: &str, to: &str, size: u64) -> Result<(), Refusal> {
        let _turn = self.turn().await?;
        let request = self
            .client
            .copy_object()
            .copy_source(self.source(from))
            .bucket(&self.name)
            .key(self.path(to))
            .set_server_side_encryption(self.encryption.clone())
            .set_ssekms_key_id(self.kms_key.clone())
            .set_storage_class(self.storage_class.clone());
        let sent = request.customize().config_override(self.time_to_copy(size)).send().await;
        sent.map(drop).map_err(self.refused("CopyObject"))
    }

    /// How a copy names what it copies: bucket and key, in the characters of a URL.
    pub(super) fn source(&self, object: &str) -> String {
        let mut source = String::new();
        for byte in format!("{}/{}", self.name, self.path(object)).bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => {
                    source.push(char::from(byte));
                }
                _ => source.extend(format!("%{byte:02X}").chars()),
            }
        }
        source
    }

    /// A URL that reads the object until `expires` from now.
    pub(crate) async fn presign(
        &self,
        object: &str,
        expires: Duration,
        content_type: &str,
    ) -> Result<String, Refusal> {
        let invalid = |error: aws_sdk_s3::presigning::PresigningConfigError| {
            Refusal::new(Kind::Permanent, format!("a URL can't live that long: {error}"))
        };
        let config = PresigningConfig::expires_in(expires).map_err(invalid)?;
        let request = self
            .client
            .get_object()
            .bucket(&self.name)
            .key(self.path(object))
            .response_content_type(content_type);
        let signed = request.presigned(config).await.map_err(self.refused("presigning"))?;
        Ok(signed.uri().to_owned())
    }
}
