//! JSON as several decoders read it: objects whose known fields can mean one thing only.
//!
//! Values stay slices of the pushed bytes ([`RawValue`]) until a field is asked for: what is not
//! known costs no memory. Decoders differ in what they make of a repeated key (the first, the
//! last) and of a key in another case (Go's takes it for the known one), so both are refused.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Limits, ManifestError};

/// Where a value stands: the steps from the root, each borrowed from its caller's.
#[derive(Clone, Copy)]
pub(super) enum Path<'p> {
    Root,
    Field(&'p Path<'p>, &'p str),
    Item(&'p Path<'p>, usize),
}

impl<'p> Path<'p> {
    pub(super) fn field(&'p self, name: &'p str) -> Self {
        Self::Field(self, name)
    }

    pub(super) fn item(&'p self, index: usize) -> Self {
        Self::Item(self, index)
    }

    pub(super) fn invalid(&self, rule: impl Into<String>) -> ManifestError {
        ManifestError::Invalid { path: self.to_string(), rule: rule.into() }
    }

    fn too_many(&self, what: &'static str, max: usize) -> ManifestError {
        ManifestError::TooMany { path: self.to_string(), what, max }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        match self {
            Self::Root => f.write_str("$"),
            Self::Field(parent, name) if plain(name) => write!(f, "{parent}.{name}"),
            Self::Field(parent, name) => {
                // Annotation keys come from outside, of any length.
                let name: String = name.chars().take(100).collect();
                write!(f, "{parent}[{name:?}]")
            }
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// The whole document, of which nothing is decoded yet but all is known to be JSON.
pub(super) fn document<'a>(
    bytes: &'a [u8],
    limits: &Limits,
) -> Result<&'a RawValue, ManifestError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        ManifestError::NotJson {
            reason: "not UTF-8".to_owned(),
            line: before.split(|byte| *byte == b'\n').count(),
            column: before.len() - line_start + 1,
        }
    })?;
    check_depth(text, limits.max_json_depth)?;
    serde_json::from_str(text).map_err(|error| not_json(&error))
}

fn not_json(error: &serde_json::Error) -> ManifestError {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let place = format!(" at line {line} column {column}");
    let reason = text.strip_suffix(&place).unwrap_or(&text).to_owned();
    ManifestError::NotJson { reason, line, column }
}

/// Counts brackets outside of strings, before any parser can recurse into them.
fn check_depth(text: &str, max: usize) -> Result<(), ManifestError> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (offset, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                depth += 1;
                if depth > max {
                    return Err(ManifestError::TooDeep { max, offset });
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// An object of known shape: its known fields, each there at most once.
pub(super) struct Object<'a> {
    fields: Vec<(&'static str, &'a RawValue)>,
}

impl<'a> Object<'a> {
    /// Reads `raw`, which must be an object; fields not in `known` are passed over.
    pub(super) fn read(
        raw: &'a RawValue,
        path: &Path<'_>,
        known: &'static [&'static str],
    ) -> Result<Self, ManifestError> {
        if !raw.get().starts_with('{') {
            return Err(path.invalid("must be an object"));
        }
        let failure = Failure::new();
        let fields = walk(raw, path, &failure, Fields { path, known, failure: &failure })?;
        Ok(Self { fields })
    }

    /// The field, `null` included.
    pub(super) fn present(&self, name: &str) -> Option<&'a RawValue> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, raw)| *raw)
    }

    /// The field, where it says something: `null` is what Go's encoder makes of nothing.
    pub(super) fn optional(&self, name: &str) -> Option<&'a RawValue> {
        self.present(name).filter(|raw| raw.get() != "null")
    }

    /// The field, which must say something.
    pub(super) fn required(
        &self,
        path: &Path<'_>,
        name: &str,
    ) -> Result<&'a RawValue, ManifestError> {
        self.optional(name).ok_or_else(|| path.field(name).invalid("is required"))
    }
}

/// A text.
pub(super) fn string(raw: &RawValue, path: &Path<'_>) -> Result<String, ManifestError> {
    if !raw.get().starts_with('"') {
        return Err(path.invalid("must be a string"));
    }
    serde_json::from_str(raw.get()).map_err(|_| path.invalid("has a broken escape sequence"))
}

/// The values of an array, of which there may be at most `max`.
pub(super) fn array<'a>(
    raw: &'a RawValue,
    path: &Path<'_>,
    max: usize,
) -> Result<Vec<&'a RawValue>, ManifestError> {
    if !raw.get().starts_with('[') {
        return Err(path.invalid("must be an array"));
    }
    let failure = Failure::new();
    walk(raw, path, &failure, Items { path, max, failure: &failure })
}

/// Texts, of which there may be at most `max`.
pub(super) fn strings(
    raw: &RawValue,
    path: &Path<'_>,
    max: usize,
) -> Result<Vec<String>, ManifestError> {
    let items = array(raw, path, max)?;
    items.into_iter().enumerate().map(|(at, item)| string(item, &path.item(at))).collect()
}

/// Annotations: an object of texts, each key there once.
pub(super) fn annotations(
    raw: &RawValue,
    path: &Path<'_>,
    limits: &Limits,
) -> Result<BTreeMap<String, String>, ManifestError> {
    if !raw.get().starts_with('{') {
        return Err(path.invalid("must be an object"));
    }
    let failure = Failure::new();
    walk(raw, path, &failure, Texts { path, limits, failure: &failure })
}

/// The typed error of a visitor on its way past serde, which knows only texts.
type Failure = OnceCell<ManifestError>;

fn refuse<E: serde::de::Error>(failure: &Failure, error: ManifestError) -> E {
    // The first error ends the walk, so the cell is empty.
    let _ = failure.set(error);
    E::custom("refused")
}

fn walk<'a, V: Visitor<'a>>(
    raw: &'a RawValue,
    path: &Path<'_>,
    failure: &Failure,
    visitor: V,
) -> Result<V::Value, ManifestError> {
    serde_json::Deserializer::from_str(raw.get()).deserialize_any(visitor).map_err(|_| {
        // The grammar was checked with the whole document; escapes are only read with the text.
        let broken = || path.invalid("has a key with a broken escape sequence");
        failure.get().cloned().unwrap_or_else(broken)
    })
}

struct Fields<'v> {
    path: &'v Path<'v>,
    known: &'static [&'static str],
    failure: &'v Failure,
}

impl<'a> Visitor<'a> for Fields<'_> {
    type Value = Vec<(&'static str, &'a RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields: Self::Value = Vec::with_capacity(self.known.len());
        while let Some(key) = map.next_key_seed(KeyOf(self.known))? {
            match key {
                Key::Unknown => {
                    map.next_value::<IgnoredAny>()?;
                }
                Key::Known(name) if fields.iter().all(|(seen, _)| *seen != name) => {
                    fields.push((name, map.next_value()?));
                }
                Key::Known(name) => {
                    let error = self.path.field(name).invalid("stands there twice");
                    return Err(refuse(self.failure, error));
                }
                Key::Variant { found, known } => {
                    let rule = format!("must be written `{known}`: some decoders ignore the case");
                    return Err(refuse(self.failure, self.path.field(&found).invalid(rule)));
                }
            }
        }
        Ok(fields)
    }
}

enum Key {
    Known(&'static str),
    Variant { found: String, known: &'static str },
    Unknown,
}

struct KeyOf(&'static [&'static str]);

impl<'a> DeserializeSeed<'a> for KeyOf {
    type Value = Key;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyOf {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, found: &str) -> Result<Key, E> {
        if let Some(known) = self.0.iter().find(|known| **known == found) {
            return Ok(Key::Known(known));
        }
        Ok(match self.0.iter().find(|known| same_but_for_case(found, known)) {
            Some(known) => Key::Variant { found: found.to_owned(), known },
            None => Key::Unknown,
        })
    }
}

/// Whether a decoder that ignores case takes the one for the other. Go's folds as Unicode does:
/// two letters outside of ASCII are letters of ASCII to it, the long s and the Kelvin sign.
fn same_but_for_case(found: &str, known: &str) -> bool {
    let fold = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        _ => c.to_ascii_lowercase(),
    };
    found.chars().map(fold).eq(known.chars().map(fold))
}

struct Items<'v> {
    path: &'v Path<'v>,
    max: usize,
    failure: &'v Failure,
}

impl<'a> Visitor<'a> for Items<'_> {
    type Value = Vec<&'a RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            if items.len() == self.max {
                return Err(refuse(self.failure, self.path.too_many("entries", self.max)));
            }
            items.push(item);
        }
        Ok(items)
    }
}

struct Texts<'v> {
    path: &'v Path<'v>,
    limits: &'v Limits,
    failure: &'v Failure,
}

impl<'a> Visitor<'a> for Texts<'_> {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Self { path, limits, failure } = self;
        let mut texts = BTreeMap::new();
        let mut bytes = 0;
        while let Some(key) = map.next_key::<String>()? {
            let place = path.field(&key);
            if texts.contains_key(&key) {
                return Err(refuse(failure, place.invalid("stands there twice")));
            }
            if texts.len() == limits.max_annotations {
                let error = path.too_many("annotations", limits.max_annotations);
                return Err(refuse(failure, error));
            }
            let value = string(map.next_value()?, &place).map_err(|e| refuse(failure, e))?;
            bytes += key.len() + value.len();
            if bytes > limits.max_annotation_bytes {
                let error = path.too_many("bytes of annotations", limits.max_annotation_bytes);
                return Err(refuse(failure, error));
            }
            texts.insert(key, value);
        }
        Ok(texts)
    }
}
