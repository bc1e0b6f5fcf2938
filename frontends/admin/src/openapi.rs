//! The description of the API (OpenAPI 3.1), made of the table of routes and the types they take and
//! give; there is nothing else it could say.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use http::{Method, StatusCode};
use strongroom_identity::Access;
use utoipa::ToSchema;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::Header;
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{
    ArrayBuilder, KnownFormat, Object, ObjectBuilder, SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Components, InfoBuilder, OpenApiBuilder, Ref, RefOr, Required, Schema, Server,
};

use crate::model;
use crate::problem::ProblemBody;
use crate::routes::{BASE, Kind, Param, Route, Spec, name};

/// The schemas that are named in the description.
type Schemas = BTreeMap<String, RefOr<Schema>>;

/// What a body is.
#[derive(Clone, Copy)]
pub struct Shape {
    media_type: &'static str,
    schema: fn(&mut Schemas) -> RefOr<Schema>,
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.media_type)
    }
}

/// JSON of this type.
pub(crate) fn of<T: ToSchema>() -> Shape {
    Shape { media_type: "application/json", schema: named::<T> }
}

/// A page of them.
pub(crate) fn page<T: ToSchema>() -> Shape {
    Shape { media_type: "application/json", schema: paged::<T> }
}

/// JSON of any form.
pub(crate) fn anything() -> Shape {
    Shape { media_type: "application/json", schema: |_| ObjectBuilder::new().build().into() }
}

/// A line of JSON for each line of the trail.
pub(crate) fn lines() -> Shape {
    let text = |_: &mut Schemas| Object::with_type(SchemaType::Type(Type::String)).into();
    Shape { media_type: "application/x-ndjson", schema: text }
}

fn named<T: ToSchema>(into: &mut Schemas) -> RefOr<Schema> {
    let mut all = Vec::new();
    T::schemas(&mut all);
    into.extend(all);
    into.insert(T::name().into_owned(), T::schema());
    Ref::from_schema_name(T::name()).into()
}

fn paged<T: ToSchema>(into: &mut Schemas) -> RefOr<Schema> {
    let next = ObjectBuilder::new()
        .schema_type(SchemaType::Array(vec![Type::String, Type::Null]))
        .description(Some("The `cursor` of the next page; null on the last one."));
    ObjectBuilder::new()
        .property("items", ArrayBuilder::new().items(named::<T>(into)))
        .property("next", next)
        .required("items")
        .required("next")
        .build()
        .into()
}

/// The description, as it is served.
pub(crate) fn description() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        build().to_pretty_json().expect("a description is JSON of our own making")
    });
    &TEXT
}

fn build() -> utoipa::openapi::OpenApi {
    let mut schemas = Schemas::new();
    let problem = named::<ProblemBody>(&mut schemas);
    let mut paths = PathsBuilder::new();
    for route in Route::ALL {
        let spec = route.spec();
        let item =
            PathItem::new(method(&spec.method), operation(*route, &spec, &mut schemas, &problem));
        paths = paths.path(spec.path, item);
    }
    let mut components = Components::new();
    components.schemas.extend(schemas);
    components
        .add_security_scheme("password", SecurityScheme::Http(Http::new(HttpAuthScheme::Basic)));
    components
        .add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Strongroom")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(
                    "Organisations, members, registries and what is in them. Sign in with a name and \
                     a password, or with a token; some routes take the password.",
                )),
        )
        .servers(Some([Server::new(BASE)]))
        .paths(paths)
        .components(Some(components))
        .build()
}

fn operation(
    route: Route,
    spec: &Spec,
    schemas: &mut Schemas,
    problem: &RefOr<Schema>,
) -> utoipa::openapi::path::Operation {
    let mut operation = OperationBuilder::new()
        .operation_id(Some(route.id()))
        .summary(Some(route.summary()))
        .tag(tag(spec.path));
    for name in spec.path.split('/').filter_map(name) {
        operation = operation.parameter(in_path(name));
    }
    for param in &spec.query {
        operation = operation.parameter(in_query(param));
    }
    let reads = spec.method == Method::GET;
    if spec.creates {
        operation = operation.parameter(header(
            "Idempotency-Key",
            text(1, 255).pattern(Some("^[!-~]+$")),
            "Names this creation: sent again with the same key within a day, it is answered the \
             same and done once.",
        ));
    }
    if spec.tagged && !reads {
        operation = operation.parameter(header(
            "If-Match",
            text(1, 1_024).pattern(Some("^[ -~]+$")),
            "Only where this is still the `ETag` of what is changed; else 412.",
        ));
    }
    if let Some(body) = spec.body {
        let content = ContentBuilder::new().schema(Some((body.schema)(schemas))).build();
        let body = RequestBodyBuilder::new().content(body.media_type, content);
        operation = operation.request_body(Some(body.required(Some(Required::True)).build()));
    }
    let mut done =
        ResponseBuilder::new().description(spec.status.canonical_reason().unwrap_or("Done"));
    if let Some(answer) = spec.answer {
        let content = ContentBuilder::new().schema(Some((answer.schema)(schemas))).build();
        done = done.content(answer.media_type, content);
    }
    if spec.tagged && spec.answer.is_some() {
        done = done.header("ETag", Header::new(Object::with_type(SchemaType::Type(Type::String))));
    }
    operation = operation.response(spec.status.as_str(), done);
    if spec.tagged && reads {
        let same = ResponseBuilder::new().description("It is what the client has already");
        operation = operation.response(StatusCode::NOT_MODIFIED.as_str(), same);
    }
    let refused = ContentBuilder::new().schema(Some(problem.clone())).build();
    let refused = ResponseBuilder::new()
        .description("It was refused, or failed; the problem says why")
        .content("application/problem+json", refused);
    operation = operation.response("default", refused);
    for scheme in if spec.access == Access::Open { &[][..] } else { &["password", "token"] } {
        let none: [&str; 0] = [];
        operation = operation.security(SecurityRequirement::new(*scheme, none));
    }
    operation.build()
}

/// What a route is about: the last part of its path that is the name of a collection.
fn tag(path: &'static str) -> &'static str {
    let words = path.split('/').filter(|word| !word.is_empty() && name(word).is_none());
    let known = [
        "tags",
        "manifests",
        "members",
        "robots",
        "tokens",
        "registries",
        "python",
        "audit",
        "users",
        "jobs",
        "webhooks",
        "workload-rules",
        "workload-issuers",
        "organisations",
    ];
    words.rev().find(|word| known.contains(word)).unwrap_or("installation")
}

fn method(method: &Method) -> HttpMethod {
    match *method {
        Method::POST => HttpMethod::Post,
        Method::PUT => HttpMethod::Put,
        Method::PATCH => HttpMethod::Patch,
        Method::DELETE => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}

fn text(least: usize, most: usize) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .min_length(Some(least))
        .max_length(Some(most))
}

fn header(name: &str, schema: ObjectBuilder, about: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(about))
        .schema(Some(schema.build()))
        .build()
}

fn in_path(name: &'static str) -> Parameter {
    let (pattern, most, about) = model::place(name);
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(about))
        .schema(Some(text(1, most).pattern(Some(pattern)).build()))
        .build()
}

fn in_query(param: &Param) -> Parameter {
    let of = |kind| ObjectBuilder::new().schema_type(SchemaType::Type(kind));
    let schema = match param.kind {
        Kind::Text(most) => text(1, most).pattern(Some("^[ -~]+$")),
        Kind::Count(most) => {
            #[expect(clippy::cast_precision_loss, reason = "the bounds of counts are small")]
            let most = most as f64;
            of(Type::Integer).minimum(Some(1.0)).maximum(Some(most))
        }
        Kind::Flag => of(Type::Boolean),
        Kind::OneOf(values) => of(Type::String).enum_values(Some(values.iter().copied())),
        Kind::Time => {
            of(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        }
    };
    ParameterBuilder::new()
        .name(param.name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(param.about))
        .schema(Some(schema.build()))
        .build()
}
