use crate::digest::Digest;

/// Why a manifest was refused. Paths are JSON paths, such as `$.layers[2].size`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// More bytes than [`super::Limits::max_bytes`].
    #[error("the manifest has {size} bytes; at most {max} are taken")]
    TooLarge {
        /// What it has.
        size: usize,
        /// What it may have.
        max: usize,
    },
    /// Objects and arrays inside each other beyond [`super::Limits::max_json_depth`].
    #[error("the manifest nests deeper than {max} levels (at byte {offset})")]
    TooDeep {
        /// The deepest that is taken.
        max: usize,
        /// The byte, counted from 0, where it becomes too deep.
        offset: usize,
    },
    /// More entries in an array or object than are taken.
    #[error("{path} has more than {max} {what}")]
    TooMany {
        /// Where.
        path: String,
        /// Of what: entries, annotations, bytes of annotations.
        what: &'static str,
        /// What it may have.
        max: usize,
    },
    /// Not JSON (RFC 8259, UTF-8).
    #[error("the manifest is not JSON: {reason} at line {line}, column {column}")]
    NotJson {
        /// What is wrong.
        reason: String,
        /// Counted from 1.
        line: usize,
        /// In bytes.
        column: usize,
    },
    /// Docker's schema 1, which no client needs any more and whose digest is not of its bytes.
    #[error(
        "Docker manifests of schema 1 are not taken; \
         push the image again with a client that writes schema 2 or OCI manifests"
    )]
    Schema1,
    /// The content type, or `mediaType`, is none of the four kinds.
    #[error("{found:?} is not the media type of a manifest or an index (of OCI, or Docker v2)")]
    UnsupportedMediaType {
        /// What was said, at most 100 characters of it.
        found: String,
    },
    /// The content type and `$.mediaType` disagree: two decoders would read two things.
    #[error("the content type is {content_type}, but $.mediaType is {media_type}")]
    MediaTypeMismatch {
        /// What the request said.
        content_type: &'static str,
        /// What the manifest says.
        media_type: &'static str,
    },
    /// Neither content type nor `mediaType`, and the fields leave it open.
    #[error("there is no content type and no $.mediaType, and the fields do not tell the kind")]
    UnknownKind,
    /// One digest is named twice, with two sizes or as two kinds of content.
    #[error("{first} and {second} name {digest} with two sizes or as two kinds of content")]
    Contradiction {
        /// The digest.
        digest: Digest,
        /// The path of the one descriptor.
        first: String,
        /// The path of the other.
        second: String,
    },
    /// A rule of the image specification is broken.
    #[error("{path} {rule}")]
    Invalid {
        /// Where.
        path: String,
        /// The rule, as the rest of a sentence.
        rule: String,
    },
}
