//! What a person should hear of before it is an error: `Warning: 299` (distribution spec, "Warnings").

use http::header::WARNING;
use strongroom_engine::Repository;
use strongroom_engine::tenancy::Usage;

use crate::reply::Reply;

/// From how many percent of its quota on an organisation is warned.
const FULL_PERCENT: u128 = 90;

/// The answer to a push, with a warning where little room is left. Where that can't be found out the
/// push is none the worse for it.
pub(crate) async fn warned(reply: Reply, repository: &Repository) -> Reply {
    match repository.usage().await {
        Ok(usage) => match nearly_full(&usage) {
            Some(text) => reply.with(WARNING, format_args!("299 - \"{text}\"")),
            None => reply,
        },
        Err(error) => {
            tracing::debug!(%error, "nobody can be warned of a full quota");
            reply
        }
    }
}

fn nearly_full(usage: &Usage) -> Option<String> {
    let (used, quota) = (usage.used_bytes, usage.quota_bytes?);
    let percent = u128::from(used) * 100 / u128::from(quota.max(1));
    (percent >= FULL_PERCENT).then(|| {
        format!("this organisation uses {percent} % of its quota: {used} of {quota} bytes")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_nine_tenths_is_warned_with_figures() {
        let text = |used_bytes, quota_bytes| nearly_full(&Usage { used_bytes, quota_bytes });
        assert_eq!(text(u64::MAX, None), None);
        assert_eq!(text(899, Some(1_000)), None);
        let said = "this organisation uses 90 % of its quota: 900 of 1000 bytes";
        assert_eq!(text(900, Some(1_000)).as_deref(), Some(said));
        assert!(text(0, Some(0)).is_none() && text(1, Some(0)).is_some());
        assert!(text(u64::MAX, Some(u64::MAX)).is_some());
    }
}
