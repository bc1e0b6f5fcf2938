//! Requests for listings: nothing but sweeping leans on them.

use super::{Bucket, unsigned};
use crate::error::Refusal;

/// The most that S3 lists in one answer.
const PAGE: i32 = 1000;

/// A page of a listing: what it shows, in order, and whether there is more.
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// Present where there is more, behind this key.
    pub(crate) more_after: Option<String>,
}

impl Bucket {
    /// The objects below `prefix` that come after `after`, and their sizes.
    pub(crate) async fn list_objects(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<(String, u64)>, Refusal> {
        let _turn = self.turn().await?;
        let limit = i32::try_from(limit).unwrap_or(PAGE).clamp(1, PAGE);
        let request = self
            .client
            .list_objects_v2()
            .bucket(&self.name)
            .prefix(self.path(prefix))
            .max_keys(limit)
            .set_start_after(after.map(|after| self.path(after)));
        let sent = request.customize().config_override(self.time_for(0)).send().await;
        let listed = sent.map_err(self.refused("ListObjectsV2"))?;
        let last = listed.contents().last().and_then(|object| object.key());
        let truncated = listed.is_truncated().unwrap_or_default();
        let more_after = last.filter(|_| truncated).and_then(|last| self.object(last));
        let items = listed.contents().iter().filter_map(|object| {
            let key = self.object(object.key()?)?;
            Some((key.to_owned(), unsigned(object.size())))
        });
        Ok(Page { items: items.collect(), more_after: more_after.map(str::to_owned) })
    }

    /// The multipart uploads below `prefix` whose keys come after `after`: key and id.
    ///
    /// One page shows all uploads of its last key but where one key alone has more than a page.
    pub(crate) async fn list_uploads(
        &self,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<Page<(String, String)>, Refusal> {
        let _turn = self.turn().await?;
        let request = self
            .client
            .list_multipart_uploads()
            .bucket(&self.name)
            .prefix(self.path(prefix))
            .max_uploads(PAGE)
            .set_key_marker(after.map(|after| self.path(after)));
        let sent = request.customize().config_override(self.time_for(0)).send().await;
        let listed = sent.map_err(self.refused("ListMultipartUploads"))?;
        let mut items: Vec<(String, String)> = listed
            .uploads()
            .iter()
            .filter_map(|upload| {
                let key = self.object(upload.key()?)?;
                Some((key.to_owned(), upload.upload_id()?.to_owned()))
            })
            .collect();
        items.sort();
        let mut more_after = None;
        if listed.is_truncated().unwrap_or_default()
            && let Some((last, _)) = items.last().cloned()
        {
            let first_of_last = items.partition_point(|(key, _)| *key < last);
            if first_of_last > 0 {
                // Those of the last key may go on in the next page: it shows them all.
                items.truncate(first_of_last);
                more_after = items.last().map(|(key, _)| key.clone());
            } else {
                more_after = Some(last);
            }
        }
        Ok(Page { items, more_after })
    }
}
