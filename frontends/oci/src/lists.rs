//! Lists in pages: tags and the catalog; and the ping.

use http::StatusCode;
use http::header::{CACHE_CONTROL, LINK};
use serde::Serialize;
use strongroom_engine::access::Caller;
use strongroom_engine::{Engine, MAX_PAGE, Page, Repository};

use crate::Input;
use crate::error::{Code, Failure};
use crate::query::{Query, escaped};
use crate::reply::{API_VERSION, API_VERSION_2, Reply};

#[derive(Serialize)]
struct Tags<'a> {
    name: String,
    tags: &'a [String],
}

#[derive(Serialize)]
struct Repositories<'a> {
    repositories: &'a [String],
}

/// `GET /v2/`
pub(crate) fn ping() -> Reply {
    let reply = Reply::new(StatusCode::OK).with_value(API_VERSION, API_VERSION_2);
    reply.json("application/json", &serde_json::json!({}))
}

/// `GET /v2/NAME/tags/list`
pub(crate) async fn tags(repository: &Repository, input: &Input) -> Result<Reply, Failure> {
    let limit = limit(&input.query)?;
    let page = repository.tags(input.query.get("last"), limit).await?;
    let name = repository.path().to_string();
    let (tags, next) = texts(page);
    let link = next.map(|last| format!("/v2/{name}/tags/list?last={}&n={limit}", escaped(&last)));
    Ok(list(link, limit, &Tags { name, tags: &tags }))
}

/// `GET /v2/_catalog`
pub(crate) async fn catalog(
    engine: &Engine,
    caller: &Caller,
    input: &Input,
) -> Result<Reply, Failure> {
    let limit = limit(&input.query)?;
    let page = engine.catalog(caller).page(input.query.get("last"), limit).await?;
    let (repositories, next) = texts(page);
    let link = next.map(|last| format!("/v2/_catalog?last={}&n={limit}", escaped(&last)));
    Ok(list(link, limit, &Repositories { repositories: &repositories }))
}

fn texts<T: ToString>(page: Page<T>) -> (Vec<String>, Option<String>) {
    (page.items.iter().map(T::to_string).collect(), page.next)
}

fn list(link: Option<String>, limit: usize, body: &impl Serialize) -> Reply {
    let reply = Reply::new(StatusCode::OK).with_static(CACHE_CONTROL, "private, no-cache");
    // A page of none leads nowhere.
    let link = link.filter(|_| limit > 0);
    let reply = match link {
        Some(link) => reply.with(LINK, format_args!("<{link}>; rel=\"next\"")),
        None => reply,
    };
    reply.json("application/json", body)
}

/// How many items were asked for, cut to what a page has at most. However large the number is:
/// nothing is made ready for it (threat C2).
pub(crate) fn limit(query: &Query) -> Result<usize, Failure> {
    let Some(text) = query.get("n") else { return Ok(MAX_PAGE) };
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        let message = "n is how many items a page has: digits only";
        return Err(Failure::new(StatusCode::BAD_REQUEST, Code::Unsupported, message));
    }
    Ok(text.parse().unwrap_or(MAX_PAGE).min(MAX_PAGE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threat_c2_a_page_is_bounded_whatever_is_asked() {
        for (text, expected) in [
            ("", Some(MAX_PAGE)),
            ("n=0", Some(0)),
            ("n=1", Some(1)),
            ("n=1000000000", Some(MAX_PAGE)),
            ("n=18446744073709551616", Some(MAX_PAGE)),
            ("n=-1", None),
            ("n=abc", None),
            ("n=", None),
            ("n=1.5", None),
        ] {
            assert_eq!(limit(&Query::parse(text)).ok(), expected, "{text}");
        }
    }
}
