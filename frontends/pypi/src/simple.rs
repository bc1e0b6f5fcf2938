//! The Simple repository API: the list of projects, and the page of each.

use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, VARY};
use http::{HeaderValue, Response, StatusCode};
use strongroom_engine::access::Action;
use strongroom_http::Body;
use strongroom_http::conditional::{self, Precondition};
use strongroom_python::ProjectName;

use crate::error::{Failure, Reply};
use crate::gate::Asked;
use crate::negotiate::{self, Form};
use crate::pages::Page;
use crate::routes::Place;
use crate::{Inner, Input};

/// What is shown may change at any time, and is not everybody's: it is asked for again, which costs a
/// 304.
const REVALIDATE: &str = "private, no-cache";

/// `GET simple/`
pub(crate) async fn projects(
    service: &Inner,
    asked: &Asked,
    place: &Place,
    input: &Input,
) -> Result<Reply, Failure> {
    let listing = service.list(asked, place).await?;
    let form = form(input)?;
    let both = service.lists.shown(&listing).await?;
    page(both.form(form), form, input).await
}

/// `GET simple/PROJECT/`
pub(crate) async fn project(
    service: &Inner,
    asked: &Asked,
    place: &Place,
    name: &ProjectName,
    input: &Input,
) -> Result<Reply, Failure> {
    let repository = service.open(asked, place, name, Action::Pull).await?;
    let form = form(input)?;
    let shown = service.seen(asked, &repository, name).await?.shown;
    let path = format!("{}/{}", place.organisation, place.registry);
    let both = shown.pages(&path, input.base_url.as_deref()).await?;
    page(both.form(form), form, input).await
}

fn form(input: &Input) -> Result<Form, Failure> {
    negotiate::form(&input.headers, input.format.as_deref()).ok_or_else(|| {
        let text = "this page has the types application/vnd.pypi.simple.v1+json, \
                    application/vnd.pypi.simple.v1+html and text/html; none of them is accepted";
        Failure::new(StatusCode::NOT_ACCEPTABLE, text)
            .with(VARY, HeaderValue::from_static("Accept"))
    })
}

async fn page(page: &Page, form: Form, input: &Input) -> Result<Reply, Failure> {
    let gzip = negotiate::takes_gzip(&input.headers);
    let encoded = page.encoded(gzip).await?;
    let mut reply = match conditional::check(&input.headers, Some(&encoded.etag)) {
        Precondition::Holds => Response::new(Body::from(encoded.bytes)),
        Precondition::NotModified => with_status(StatusCode::NOT_MODIFIED),
        Precondition::Failed => with_status(StatusCode::PRECONDITION_FAILED),
    };
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(form.content_type()));
    headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(REVALIDATE));
    if gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if let Ok(etag) = HeaderValue::from_str(encoded.etag.as_str()) {
        headers.insert(ETAG, etag);
    }
    Ok(reply)
}

pub(crate) fn with_status(status: StatusCode) -> Reply {
    let mut reply = Response::new(Body::empty());
    *reply.status_mut() = status;
    reply
}
