//! What a request says, read by what its route declares: path, query, body.

use std::str::FromStr;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};
use strongroom_engine::seam::Timestamp;

use crate::problem::{Kind as Wrong, Problem};
use crate::routes::{Kind, Param, Places, Spec};

/// The largest body, in bytes.
pub(crate) const MAX_BODY: usize = 64 * 1024;
/// The items of a page where nobody says how many.
const USUAL_LIMIT: usize = 100;

/// What a request says, beside who sends it.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) places: Places,
    query: Vec<(&'static str, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Input {
    /// Reads the query by what the route takes: what it does not know is refused, as is what is there
    /// twice.
    pub(crate) fn new(
        spec: &Spec,
        places: Places,
        query: &str,
        headers: HeaderMap,
    ) -> Result<Self, Problem> {
        let mut read: Vec<(&'static str, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let Some(param) = spec.query.iter().find(|param| param.name == name) else {
                let known: Vec<_> = spec.query.iter().map(|param| param.name).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let name: String = name.chars().take(64).collect();
                let detail = format!("the query has {name:?}; what this takes is {known}");
                return Err(Problem::new(Wrong::BadRequest, detail));
            };
            if read.iter().any(|(known, _)| *known == param.name) {
                let detail = format!("the query has {} twice", param.name);
                return Err(Problem::new(Wrong::BadRequest, detail));
            }
            check(param, &value)?;
            read.push((param.name, value.into_owned()));
        }
        Ok(Self { places, query: read, headers, body: Bytes::new() })
    }

    /// What stands in the path for `name`, as it was written.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.places.iter().find(|(known, _)| *known == name).map_or("", |(_, text)| text)
    }

    /// Whether the path has a place for `name`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.places.iter().any(|(known, _)| *known == name)
    }

    /// What stands in the path for `name`.
    pub(crate) fn place<T: FromStr<Err: std::fmt::Display>>(
        &self,
        name: &str,
    ) -> Result<T, Problem> {
        self.text(name).parse().map_err(|error| {
            Problem::new(Wrong::BadRequest, format!("the path's {name} is no good: {error}"))
        })
    }

    /// A parameter of the query.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that is a flag.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.query(name) == Some("true")
    }

    /// A parameter that is a moment.
    pub(crate) fn time(&self, name: &str) -> Option<Timestamp> {
        self.query(name).and_then(time)
    }

    /// How many items a page has.
    pub(crate) fn limit(&self) -> usize {
        self.query("limit").and_then(|limit| limit.parse().ok()).unwrap_or(USUAL_LIMIT)
    }

    /// Where the page begins, as the listing it was given out by understands it.
    pub(crate) fn cursor(&self) -> Result<Option<String>, Problem> {
        let Some(text) = self.query("cursor") else { return Ok(None) };
        let bytes = const_hex::decode(text).ok();
        let cursor = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let bad = || Problem::new(Wrong::BadRequest, "the cursor is none that a page gave out");
        cursor.filter(|cursor| !cursor.chars().any(char::is_control)).ok_or_else(bad).map(Some)
    }

    /// The body.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let media_type = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = media_type.and_then(|value| value.split(';').next()).map(str::trim);
        if !essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
            let detail = "the body is JSON here: send it with Content-Type: application/json";
            return Err(Problem::new(Wrong::NotJson, detail));
        }
        let mut from = serde_json::Deserializer::from_slice(&self.body);
        let value = serde_path_to_error::deserialize(&mut from).map_err(|error| {
            let mut pointer = pointer(error.path());
            let error = error.into_inner();
            if error.is_data() {
                let detail = plain(&error);
                // Of these the path leads to what has, or should have, the field.
                let absent = ["missing field `", "duplicate field `"];
                let field = absent.iter().find_map(|start| detail.strip_prefix(start));
                if let Some(field) = field.and_then(|field| field.strip_suffix('`')) {
                    push(&mut pointer, field);
                }
                return Problem::field(pointer, detail);
            }
            Problem::new(Wrong::BadRequest, format!("the body is no JSON: {error}"))
        })?;
        from.end().map_err(|error| {
            Problem::new(Wrong::BadRequest, format!("there is more behind the JSON: {error}"))
        })?;
        Ok(value)
    }
}

/// What is wrong, without where: the pointer says that.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

fn push(pointer: &mut String, name: &str) {
    pointer.push('/');
    pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
}

fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => push(&mut pointer, &index.to_string()),
            Segment::Map { key } => {
                push(&mut pointer, key);
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

fn time(text: &str) -> Option<Timestamp> {
    let at: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(at.as_millisecond()).ok().map(Timestamp)
}

fn check(param: &Param, value: &str) -> Result<(), Problem> {
    let right = match param.kind {
        Kind::Text(most) => {
            let fits =
                (1..=most).contains(&value.len()) && value.bytes().all(|b| (32..127).contains(&b));
            (!fits).then(|| format!("1 to {most} printable ASCII characters"))
        }
        Kind::Count(most) => {
            let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
            let fits = digits && value.parse::<u64>().is_ok_and(|n| (1..=most).contains(&n));
            (!fits).then(|| format!("a whole number from 1 to {most}"))
        }
        Kind::Flag => (!matches!(value, "true" | "false")).then(|| "true or false".to_owned()),
        Kind::OneOf(values) => (!values.contains(&value)).then(|| values.join(" or ")),
        Kind::Time => {
            time(value).is_none().then(|| "a time such as 2026-01-31T12:00:00Z".to_owned())
        }
    };
    match right {
        None => Ok(()),
        Some(right) => {
            let detail = format!("the query's {} is {right}", param.name);
            Err(Problem::new(Wrong::BadRequest, detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::routes::Route;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[serde(rename = "a/b")]
        _name: u8,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        _list: Vec<Inner>,
    }

    fn input(body: &'static str) -> Input {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, "application/json; charset=utf-8".parse().unwrap());
        Input {
            places: Vec::new(),
            query: Vec::new(),
            headers,
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    #[test]
    fn threat_b9_an_unknown_field_is_refused_and_named() {
        for (body, pointer) in [
            (r#"{"_list":[{"a/b":1},{"a/b":"x"}]}"#, "/_list/1/a~1b"),
            (r#"{"_list":[{"a/b":1,"operator":true}]}"#, "/_list/0/operator"),
            (r#"{"_list":[],"operator":true}"#, "/operator"),
            (r#"{"_list":[],"_list":[]}"#, "/_list"),
            ("{}", "/_list"),
        ] {
            let problem = input(body).json::<Outer>().unwrap_err();
            assert_eq!(problem.kind, Wrong::Invalid, "{body}: {problem:?}");
            assert_eq!(problem.errors[0].pointer, pointer, "{body}: {problem:?}");
        }
        for body in ["", "{", "nul", r#"{"_list":[]} x"#] {
            let problem = input(body).json::<Outer>().unwrap_err();
            assert_eq!(problem.kind, Wrong::BadRequest, "{body}: {problem:?}");
        }
        assert!(input(r#"{"_list":[]}"#).json::<Outer>().is_ok());
    }

    #[test]
    fn threat_c19_only_what_a_route_declares_filters_or_sorts() {
        let read = |query: &str| {
            Input::new(&Route::ListTrail.spec(), Vec::new(), query, HeaderMap::new()).map(drop)
        };
        for good in ["", "principal=user:ann&order=oldest", "limit=1000&from=2026-01-31T12:00:00Z"]
        {
            assert!(read(good).is_ok(), "{good}");
        }
        for bad in [
            "sort=password",
            "principal__startswith=a",
            "order=id;drop",
            "order=",
            "limit=0",
            "limit=1001",
            "limit=-1",
            "limit=1e3",
            "from=yesterday",
            "kind=a&kind=b",
            "principal=%00",
            "cursor=",
            "hash=1",
            "Limit=1",
        ] {
            assert_eq!(read(bad).unwrap_err().kind, Wrong::BadRequest, "{bad}");
        }
    }
}
