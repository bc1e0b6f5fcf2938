//! Requests on multipart uploads.

use std::ops::Range;

use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart};

use super::{Bucket, signed};
use crate::error::{Kind, Refusal};
use crate::piece::Piece;
use crate::state::{Part, crc_text};

impl Bucket {
    /// Begins an upload; returns its id. One whose reply was lost is swept. `checked`: each part
    /// comes with its checksum, which not every service has of a part that it copies.
    pub(crate) async fn create_upload(
        &self,
        object: &str,
        checked: bool,
    ) -> Result<String, Refusal> {
        let _turn = self.turn().await?;
        let checked = checked && self.has_checksums();
        let request = self
            .client
            .create_multipart_upload()
            .bucket(&self.name)
            .key(self.path(object))
            .set_checksum_algorithm(checked.then_some(ChecksumAlgorithm::Crc64Nvme))
            .set_checksum_type(checked.then_some(ChecksumType::FullObject))
            .set_server_side_encryption(self.encryption.clone())
            .set_ssekms_key_id(self.kms_key.clone())
            .set_storage_class(self.storage_class.clone());
        let sent = request.customize().config_override(self.time_for(0)).send().await;
        let created = sent.map_err(self.refused("CreateMultipartUpload"))?;
        match created.upload_id() {
            Some(id) if !id.is_empty() => Ok(id.to_owned()),
            _ => {
                Err(Refusal::new(Kind::Temporary, "CreateMultipartUpload was answered without id"))
            }
        }
    }

    /// Sends a part; what it returns S3 has confirmed, checksum and all.
    pub(crate) async fn upload_part(
        &self,
        object: &str,
        upload: &str,
        number: u16,
        piece: &Piece,
        checked: bool,
    ) -> Result<Part, Refusal> {
        let _turn = self.turn().await?;
        let request = self
            .client
            .upload_part()
            .bucket(&self.name)
            .key(self.path(object))
            .upload_id(upload)
            .part_number(i32::from(number))
            .content_length(signed(piece.length()))
            .set_checksum_crc64_nvme(self.checksum(piece.crc()).filter(|_| checked))
            .body(piece.body());
        let sent = request.customize().config_override(self.time_for(piece.length())).send().await;
        let etag = sent.map_err(self.refused("UploadPart"))?.e_tag().map(str::to_owned);
        part(number, piece.length(), piece.crc(), etag)
    }

    /// Makes a part from a range of an object, which must be the one with that entity tag.
    pub(crate) async fn copy_part(
        &self,
        from: (&str, &str, Range<u64>),
        object: &str,
        upload: &str,
        (number, crc): (u16, u64),
    ) -> Result<Part, Refusal> {
        let _turn = self.turn().await?;
        let (source, etag, range) = from;
        let size = range.end.saturating_sub(range.start);
        let request = self
            .client
            .upload_part_copy()
            .copy_source(self.source(source))
            .copy_source_if_match(etag)
            .copy_source_range(format!("bytes={}-{}", range.start, range.end.saturating_sub(1)))
            .bucket(&self.name)
            .key(self.path(object))
            .upload_id(upload)
            .part_number(i32::from(number));
        let sent = request.customize().config_override(self.time_to_copy(size)).send().await;
        let copied = sent.map_err(self.refused("UploadPartCopy"))?;
        let etag = copied.copy_part_result().and_then(|part| part.e_tag()).map(str::to_owned);
        part(number, size, crc, etag)
    }

    /// Makes an object of the parts, of `size` and, where they were checked, `crc`, where none is.
    /// Whatever this returns, the
    /// object decides whether it worked.
    pub(crate) async fn complete(
        &self,
        object: &str,
        upload: &str,
        parts: &[Part],
        size: u64,
        crc: Option<u64>,
    ) -> Result<(), Refusal> {
        let _turn = self.turn().await?;
        let crc = crc.filter(|_| self.has_checksums());
        let listed = parts.iter().map(|part| {
            CompletedPart::builder()
                .part_number(i32::from(part.number))
                .e_tag(&part.etag)
                .set_checksum_crc64_nvme(crc.map(|_| crc_text(part.crc)))
                .build()
        });
        let listed = CompletedMultipartUpload::builder().set_parts(Some(listed.collect())).build();
        let request = self
            .client
            .complete_multipart_upload()
            .bucket(&self.name)
            .key(self.path(object))
            .upload_id(upload)
            .multipart_upload(listed)
            .if_none_match("*")
            .set_mpu_object_size(self.has_checksums().then(|| signed(size)))
            .set_checksum_crc64_nvme(crc.map(crc_text))
            .set_checksum_type(crc.map(|_| ChecksumType::FullObject));
        let sent = request.customize().config_override(self.time_to_copy(size)).send().await;
        sent.map(drop).map_err(self.refused("CompleteMultipartUpload"))
    }

    /// Gives an upload up; one that is not there is given up already.
    pub(crate) async fn abort_upload(&self, object: &str, upload: &str) -> Result<(), Refusal> {
        let _turn = self.turn().await?;
        let request = self
            .client
            .abort_multipart_upload()
            .bucket(&self.name)
            .key(self.path(object))
            .upload_id(upload);
        match request.customize().config_override(self.time_for(0)).send().await {
            Ok(_) => Ok(()),
            Err(error) => match self.refused("AbortMultipartUpload")(error) {
                refusal if matches!(refusal.kind, Kind::NoUpload | Kind::Missing) => Ok(()),
                refusal => Err(refusal),
            },
        }
    }
}

fn part(number: u16, size: u64, crc: u64, etag: Option<String>) -> Result<Part, Refusal> {
    match etag {
        Some(etag) if !etag.is_empty() => Ok(Part { number, size, crc, etag }),
        _ => Err(Refusal::new(Kind::Temporary, "a part was confirmed without its entity tag")),
    }
}
